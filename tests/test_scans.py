"""What the console and the alerts ask costs what they show, and not what the table holds: by the plans that ran.

PostgreSQL's auto_explain writes down every statement with its plan, also those inside of functions.
"""

import json
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import sql
from agent.alerts.book import Book
from agent.alerts.evaluator import Evaluator
from agent.alerts.history import History
from agent.alerts.sources import Limits, Sources
from alerting import rules
from alerting.model import Defaults
from probes.catalogue import World, ask
from probes.shipped import rules_file
from stack.local import short_directory
from stack.postgres import Cluster, debian_binaries
from store import directory, migrate
from store.db import connected
from store.members import Role
from store.target import parse_target
from tests.consoles import console, until
from tests.servers import Database

EXPLAIN = {
    "shared_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_format": "json",
    "log_min_messages": "log",
}
DEVICES, DAYS, A_DAY = 100, 4, 60_000
# rows of some days, as a fleet of devices sends them; half of them are another tenant's
FILL = """
insert into public.telemetry (tenant_id, bucket, msg_hash, ts, device_id, topic, qos, payload)
select d.tenant_id, to_timestamp(floor(extract(epoch from x.ts) / 10) * 10), x.n * 7919::bigint, x.ts, d.device_id, 't', 1,
       '{"temperature": 21.5}'
from (select n, now() - n * (interval '1 day' * $1 / $2) as ts from generate_series(1, $2::int) n) x
join (select tenant_id, device_id, row_number() over (order by device_id) as k from iot.devices where tenant_id > 0) d
  on d.k = 1 + x.n % $3"""
MINUTES = """
insert into iot.ingest_minute (tenant_id, minute, agent_id, inserted)
select t.tenant_id, date_trunc('minute', now()) - n * interval '1 minute', 'a', 40
from generate_series(0, 1440 * $1::int) n, iot.tenants t where t.tenant_id > 0"""
MOST_ROWS = 1000  # that a statement may read from a partition: an hour has more
PARTITION = re.compile(r"telemetry_\d+|telemetry")


@pytest_asyncio.fixture(scope="module")
async def filled() -> AsyncIterator[Database]:
    place = short_directory("iot-scans")
    cluster = Cluster(place / "pg", debian_binaries(), EXPLAIN)
    await cluster.start()
    await cluster.create_database("iot")
    found = Database(cluster, "iot")
    async with connected(parse_target(found.owner_url), "test", 3) as db:
        await migrate.migrate(db, sql.migrations())
        for slug in ("acme", "globex"):
            tenant = await directory.create_tenant(db, slug, slug)
            await directory.register(db, [(tenant, f"d{n}") for n in range(DEVICES // 2)])
        await db.execute("select iot.ensure_partitions(current_date - $1::int, current_date + 1)", DAYS + 1)
    superuser = await found.superuser()
    await superuser.execute("set auto_explain.log_min_duration = -1")
    await superuser.execute(FILL, DAYS, DAYS * A_DAY, DEVICES, timeout=120)
    await superuser.execute(MINUTES, DAYS)
    await superuser.execute("analyze")
    await superuser.close()
    yield found
    cluster.stop()
    shutil.rmtree(place, ignore_errors=True)


class Watch:
    """Plans that the server writes from now on."""

    def __init__(self, database: Database) -> None:
        self._log = database.cluster.directory / "postgres.log"
        self._from = self._log.stat().st_size

    def plans(self) -> Iterator[dict[str, Any]]:
        with self._log.open(errors="replace") as stream:
            stream.seek(self._from)
            text = stream.read()
        for part in text.split("plan:\n")[1:]:
            lines = part.splitlines()
            end = next((n for n, line in enumerate(lines) if line in ("}", "\t}")), None)
            if end is not None:
                yield json.loads("\n".join(line.removeprefix("\t") for line in lines[: end + 1]))

    def wasteful(self) -> list[str]:
        """Scans of telemetry that read more than anybody looks at, whatever is sorted or counted away above them."""
        return [
            f"{node['Node Type']} read {_read(node):.0f} rows: {plan['Query Text'][:300]}"
            for plan in self.plans()
            for node in _nodes(plan["Plan"])
            if PARTITION.fullmatch(str(node.get("Relation Name", ""))) and _read(node) > MOST_ROWS
        ]


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _read(node: dict[str, Any]) -> float:
    """Rows that a scan gave, and those that it read and threw away."""
    names = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return sum(float(node.get(name, 0)) for name in names) * float(node.get("Actual Loops", 0))


def test_a_scan_of_the_whole_table_is_seen() -> None:
    """This test of the test: what it looks for is there when somebody asks for too much."""
    scan = {"Node Type": "Seq Scan", "Relation Name": "telemetry_20261126", "Actual Rows": 60_000, "Actual Loops": 1}
    assert _read(scan) == 60_000
    assert _read({"Node Type": "Index Scan", "Actual Rows": 5, "Rows Removed by Filter": 2, "Actual Loops": 3}) == 21


async def test_the_watch_sees_what_the_server_does(filled: Database) -> None:
    watch = Watch(filled)
    async with connected(parse_target(filled.owner_url), "test", 1) as db:
        await db.value("select count(*) from public.telemetry where payload ->> 'temperature' = 'x'")
    assert len(watch.wasteful()) >= DAYS


@pytest.mark.parametrize(("tenant", "role"), [("platform", Role.OWNER), ("acme", Role.VIEWER)])
async def test_the_console_reads_what_it_shows(filled: Database, tmp_path: Path, tenant: str, role: Role) -> None:
    url = await filled.person_url(f"iot_u_{tenant}", tenant, role)
    watch = Watch(filled)
    async with console(url, tmp_path) as (app, pilot):
        await until(pilot, app, "acme/d")  # newest rows
        for key in ("2", "3", "4", "5", "6", "7", "1"):
            await pilot.press(key)
            await pilot.pause(0.5)
        await pilot.press("2")
        await until(pilot, app, "d1")
        await pilot.press("enter")
        await pilot.pause(0.5)
    assert len(list(watch.plans())) > 20
    assert watch.wasteful() == []


async def test_alerts_read_what_they_judge(filled: Database, tmp_path: Path) -> None:
    """All shipped rules, and one on numbers in payloads for a tenant."""
    loaded = rules.load(rules_file().read_text())
    body = {"alert": "Hot", "expr": "max(telemetry.temperature[5m]) > 60", "labels": {"severity": "warning"}}
    mine = rules.tenant_rule("acme", {"id": "hot", "runbook": "vm-pressure", **body}, Defaults(), {})
    watch = Watch(filled)
    async with connected(parse_target(await filled.agent_url()), "test", 2) as db:
        now = float(str(await db.value("select extract(epoch from now())::float8")))
        evaluator = Evaluator(db, "a", Book(tmp_path))
        for rule in (*loaded.rules, mine):
            sources = Sources(db, History("a", {}), Limits(1e9), now)
            await evaluator.now(rule, sources)
    assert len(list(watch.plans())) > 10
    assert watch.wasteful() == []


CHECKS = {
    "ingest.fresh": {"max_seconds": 60}, "letters.few": {}, "db.isolation": {}, "device.ready": {"tenant": "acme", "device": "d1"},
    "creds.applied": {}, "db.one_writer": {}, "cost.steady": {},
}  # fmt: skip


async def test_checks_read_little(filled: Database) -> None:
    target = parse_target(await filled.person_url("iot_u_checks", "platform"))
    watch = Watch(filled)
    async with connected(target, "test", 2) as db:
        for name, arguments in CHECKS.items():
            await ask(World(db, target), name, arguments)  # type: ignore[arg-type]
    assert watch.wasteful() == []
