"""What alerting costs: 1 000 rules, 10 000 devices, by the evaluation; and how it grows with the fleet."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

import sql
from agent.alerts.book import Book
from agent.alerts.evaluator import Evaluator
from agent.alerts.history import History
from agent.alerts.sources import Limits, Sources
from alerting import rules
from alerting.model import Defaults, TemplateModel
from alerting.rules import Rule
from stack.local import AGENT_LOGIN, DATABASE, short_directory
from stack.postgres import Cluster, embedded_binaries
from store import directory as names
from store import migrate, people
from store.db import Db, connected
from store.target import parse_target

Row = dict[str, object]
ROUNDS = 7
FILL = """
insert into public.telemetry (tenant_id, bucket, msg_hash, ts, device_id, topic, qos, payload)
select d.tenant_id, to_timestamp(floor(extract(epoch from at) / 10) * 10), d.device_id * 1000000 + n, at,
       d.device_id, 't', 1, jsonb_build_object('temperature', 20 + n % 5)
from iot.devices d cross join generate_series(1, $1) as n
cross join lateral (select $2::timestamptz - n * interval '30 seconds' as at) t where d.tenant_id > 0"""


@asynccontextmanager
async def filled(tenants: int, devices: int, rows: int) -> AsyncIterator[tuple[Db, int]]:
    """A database with devices dealt out to tenants and rows of the last minutes for each; and its server's pid."""
    place = short_directory("iot-bench")
    cluster = Cluster(place / "pg", embedded_binaries(), {"shared_buffers": "512MB", "max_wal_size": "4GB"})
    try:
        await cluster.start()
        await cluster.create_database(DATABASE)
        async with connected(parse_target(cluster.owner_url(DATABASE)), "bench", 2) as owner:
            await migrate.migrate(owner, sql.migrations())
            now = datetime.now(UTC)
            await owner.execute("select iot.ensure_partitions($1, $2)", now.date() - timedelta(days=2), now.date())
            for number in range(tenants):
                tenant_id = await names.create_tenant(owner, f"t{number}", f"t{number}")
                each = devices // tenants
                await names.register(owner, [(tenant_id, f"d{n}") for n in range(each)])
            password = await people.put_agent(owner, AGENT_LOGIN)
            superuser = cluster.superuser_url(DATABASE)
            async with connected(parse_target(superuser), "fill", 1) as writer:
                await writer.execute("set statement_timeout = 0")
                await writer.execute(FILL, rows, now)
                await writer.execute("analyze")
        async with connected(parse_target(cluster.url(AGENT_LOGIN, password, DATABASE)), "bench agent", 3) as db:
            yield db, cluster.pid
    finally:
        await asyncio.to_thread(cluster.stop)
        shutil.rmtree(place, ignore_errors=True)


def tenant_rules(tenants: int, limit: float) -> list[Rule]:
    """One rule for each tenant, over all its devices."""
    shape = TemplateModel.model_validate(
        {"id": "hot", "alert": "Hot", "expr": f"max(telemetry.temperature[5m]) > {limit}", "runbook": "x"}
    )
    return [rules.template_rule(f"t{n}", shape, Defaults(), {}) for n in range(tenants)]


def silence_rule() -> Rule:
    rule = "{id: silent, alert: Silent, runbook: x, expr: 'age(telemetry.last_seen) > 15m'}"
    text = f"version: 1\ngroups: [{{name: d, rules: [{rule}]}}]"
    return rules.load(text).rules[0]


async def measure(what: str, wanted: list[Rule], db: Db, server: int, place: Path) -> Row:
    """Medians of an evaluation of all rules: wall time, CPU of ours, CPU of the database."""
    evaluator = Evaluator(db, "bench", Book(place))
    walls, ours, theirs, series = [], [], [], 0
    for number in range(ROUNDS):
        sources = Sources(db, History("bench", {}), Limits(1e12), time.time() + number)
        began, cpu, load = time.perf_counter(), time.process_time(), _cpu(server)
        await evaluator.shared(wanted, sources)
        walls.append(time.perf_counter() - began)
        ours.append(time.process_time() - cpu)
        theirs.append(_cpu(server) - load)
    series = int(str(await db.value("select coalesce(sum(series), 0)::bigint from iot.alert_runtime")))
    await db.execute("delete from iot.alert_runtime")
    await db.execute("delete from iot.alert_instances")
    return {
        "what": what,
        "rules": len(wanted),
        "series": series,
        "wall_ms": _median_ms(walls),
        "agent_cpu_ms": _median_ms(ours),
        "database_cpu_ms": _median_ms(theirs),
    }


def _cpu(server: int) -> float:
    """CPU seconds of the server and its sessions."""
    processes = [psutil.Process(server), *psutil.Process(server).children(recursive=True)]
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def _median_ms(seconds: list[float]) -> float:
    return round(sorted(seconds)[len(seconds) // 2] * 1000, 1)


async def run(quick: bool) -> list[Row]:
    found: list[Row] = []
    place = short_directory("iot-bench-book")
    for devices in (100, 10_000) if quick else (100, 10_000, 100_000):
        tenants = min(1000, devices // 10)
        async with filled(tenants, devices, 10) as (db, server):
            found.append(await measure("nothing fires", tenant_rules(tenants, 100), db, server, place))
            found.append(await measure("silence of devices", [silence_rule()], db, server, place))
            if devices <= 10_000:
                found.append(await measure("every device fires", tenant_rules(tenants, 1), db, server, place))
    shutil.rmtree(place, ignore_errors=True)
    return found


def table(found: list[Row]) -> str:
    lines = [f"{'':22}{'rules':>7}{'series':>9}{'wall':>12}{'agent CPU':>12}{'database CPU':>14}{'us a series':>13}"]
    for row in found:
        each = float(str(row["agent_cpu_ms"])) * 1000 / max(1, int(str(row["series"])))
        lines.append(
            f"{row['what']:22}{row['rules']:>7}{row['series']:>9}{row['wall_ms']:>9} ms{row['agent_cpu_ms']:>9} ms"
            f"{row['database_cpu_ms']:>11} ms{each:>13.1f}"
        )
    return "\n".join(lines)
