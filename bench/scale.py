"""What a growing table and fleet cost: the console's queries, the alerts' queries, and a batch of inserts."""

import asyncio
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from agent.alerts.book import Book
from agent.alerts.evaluator import Evaluator
from agent.alerts.history import History
from agent.alerts.sources import Limits, Sources
from alerting import rules
from probes.shipped import rules_file
from stack.local import LocalStack, fleet, short_directory
from stack.postgres import Cluster, embedded_binaries
from store import directory, partitions, telemetry
from store import fleet as fleets
from store.db import Db, connected
from store.target import parse_target
from store.telemetry import Reading
from tui.feed import Feed, News
from tui.panes.alerts import Alerts
from tui.panes.devices import READINGS, Devices

Row = dict[str, object]
Work = Callable[[], Awaitable[object]]
FIRST_DEVICES = 100
# rows in the table, devices of the fleet, one after the other in one database
STEPS = ((0, 100), (5_000_000, 100), (50_000_000, 100), (50_000_000, 10_000), (50_000_000, 100_000))
QUICK_STEPS = ((0, 100), (500_000, 100), (500_000, 10_000))
WRITERS, CHUNK, DAYS = 2, 500_000, 5
RUNS, MOST_SECONDS = 7, 20.0  # of each question; a slow one is not asked so often
BATCH = 2000
# Rows $1 to $2 of $3, spread over the days before today, by the devices that there are.
FILL = """
insert into public.telemetry (tenant_id, bucket, msg_hash, ts, device_id, topic, qos, payload)
select d.tenant_id, to_timestamp(floor(extract(epoch from s.t) / 10) * 10), s.n * 7919::bigint, s.t, d.device_id,
       'tenants/acme/devices/dev-0001/telemetry', 1,
       '{"ts": 1795450173151, "seq": 23, "rssi": -66, "battery": 4.098, "temperature": 21.5}'
from (select n, now() - interval '1 hour' - (1 - n::float8 / $3) * interval '1 day' * $4 as t
      from generate_series($1::bigint, $2::bigint) n) s
join (select tenant_id, device_id, row_number() over (order by device_id) - 1 as k
      from iot.devices where tenant_id > 0) d on d.k = s.n % $5
on conflict do nothing"""
# Every device was heard in the last minutes, as in a fleet that lives.
LIVE = """
insert into public.telemetry (tenant_id, bucket, msg_hash, ts, device_id, topic, qos, payload)
select d.tenant_id, to_timestamp(floor(extract(epoch from s.t) / 10) * 10), -(d.device_id * 1000::bigint + n), s.t,
       d.device_id, 't', 1, '{"temperature": 21.5}'
from iot.devices d cross join generate_series(1, 5) n
cross join lateral (select now() - n * interval '1 minute' as t) s where d.tenant_id > 0
on conflict do nothing"""


@dataclass(frozen=True, slots=True)
class Table:
    """A database alone, without a broker. person: what an owner of the service sees. agent: as the agent's login."""

    stack: LocalStack
    superuser: str
    person: Db
    agent: Db


@asynccontextmanager
async def tables() -> AsyncIterator[Table]:
    place = short_directory("iot-bench")
    cluster = Cluster(place / "pg", embedded_binaries(), {"shared_buffers": "512MB", "max_wal_size": "8GB"})
    stack = LocalStack(place, cluster)
    try:
        await cluster.start()
        await stack.prepare(fleet(FIRST_DEVICES))
        async with (
            connected(parse_target(stack.owner_url), "bench", 2) as person,
            connected(parse_target(stack.agent_url), "bench", 2) as agent,
        ):
            today = datetime.now(UTC).date()
            await partitions.ensure(agent, today - timedelta(days=DAYS + 1), today + timedelta(days=1))
            yield Table(stack, cluster.superuser_url(stack.database), person, agent)
    finally:
        await asyncio.to_thread(stack.stop)
        shutil.rmtree(place, ignore_errors=True)


async def run(quick: bool) -> list[Row]:
    """quick: half a million rows, ten thousand devices."""
    found: list[Row] = []
    rows, devices = 0, FIRST_DEVICES
    async with tables() as table:
        for wanted_rows, wanted_devices in QUICK_STEPS if quick else STEPS:
            await _fill(table, rows, wanted_rows)
            await _grow(table, devices, wanted_devices)
            rows, devices = wanted_rows, wanted_devices
            for what, work in _questions(table).items():
                found.append({"rows": rows, "devices": devices, "what": what} | await _timed(work))
    return found


@asynccontextmanager
async def _writer(table: Table) -> AsyncIterator[Db]:
    """One that may take its time."""
    async with connected(parse_target(table.superuser), "fill", 1) as db:
        await db.execute("set statement_timeout = 0")
        yield db


async def _fill(table: Table, first: int, last: int) -> None:
    """Rows first+1 to last, by some connections at a time."""
    chunks = iter(range(first + 1, last + 1, CHUNK))

    async def write() -> None:
        async with _writer(table) as db:
            for start in chunks:
                end = min(start + CHUNK - 1, last)
                await db.execute(FILL, start, end, float(last), float(DAYS), FIRST_DEVICES)
            await db.execute("analyze")

    await asyncio.gather(*(write() for _ in range(WRITERS)))


async def _grow(table: Table, first: int, last: int) -> None:
    tenants = [
        row["tenant_id"] for row in await table.person.rows("select tenant_id from iot.tenants where tenant_id > 0")
    ]
    new = [(tenants[n % len(tenants)], f"new-{n}") for n in range(first, last)]
    async with _writer(table) as db:
        await directory.register(db, new)
        await db.execute(LIVE)
        await db.execute("analyze")


def _questions(table: Table) -> dict[str, Work]:
    """By name, in the order in which they are asked."""
    feed, devices, alerts = Feed(table.person, _nobody), Devices(), Alerts()
    return {
        "console: Overview": feed.ask,
        "console: Devices, all of them": lambda: devices.load(table.person),
        "console: one device's newest rows": lambda: _newest_of_one(table.person),
        "console: Alerts": lambda: alerts.load(table.person),
        "agent: all shipped rules": lambda: _evaluated(table),
        f"agent: store {BATCH} rows": lambda: telemetry.insert(table.agent, _batch(), "bench"),
    }


def _nobody(news: News) -> None:
    """What the feed tells of its connection."""


async def _newest_of_one(db: Db) -> object:
    row = await db.row("select tenant_id, device_id from iot.devices where name = 'dev-0001' limit 1")
    assert row is not None
    return await fleets.readings(db, row["tenant_id"], row["device_id"], READINGS)


async def _evaluated(table: Table) -> None:
    loaded = rules.load(rules_file().read_text())
    now = time.time()
    evaluator = Evaluator(table.agent, "bench", Book(table.stack.state))
    await evaluator.shared(loaded.rules, Sources(table.agent, History("bench", {}), Limits(1e12), now))


def _batch() -> list[Reading]:
    """New ones each time: of this moment, by one device."""
    now = datetime.now(UTC).replace(microsecond=0)
    bucket = now - timedelta(seconds=now.second % 10)
    base = time.time_ns()
    payload = '{"ts": 1795450173151, "seq": 23, "rssi": -66, "battery": 4.098, "temperature": 21.5}'
    topic = "tenants/acme/devices/dev-0001/telemetry"
    return [Reading(1, bucket, base + n, now.timestamp(), 1, topic, 1, payload, None, False) for n in range(BATCH)]


async def _timed(work: Work) -> Row:
    """The middle one and the longest of some runs, in milliseconds; and the first, which reads from disk."""
    began = time.perf_counter()
    await work()
    first = time.perf_counter() - began
    walls: list[float] = []
    while len(walls) < RUNS and (not walls or time.perf_counter() - began < MOST_SECONDS):
        at = time.perf_counter()
        await work()
        walls.append(time.perf_counter() - at)
    middle, worst = statistics.median(walls), max(walls)
    return {"first_ms": _ms(first), "median_ms": _ms(middle), "worst_ms": _ms(worst)}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def table(found: list[Row]) -> str:
    """The last column: against the same question at the first step."""
    small = {row["what"]: float(str(row["median_ms"])) for row in reversed(found)}
    lines = [f"{'':36}{'rows':>12}{'devices':>9}{'first ms':>10}{'median ms':>11}{'worst ms':>10}{'ratio':>8}"]
    for row in sorted(found, key=lambda row: list(reversed(small)).index(row["what"])):
        ratio = float(str(row["median_ms"])) / small[row["what"]]
        lines.append(
            f"{row['what']:36}{row['rows']:>12,}{row['devices']:>9,}{row['first_ms']:>10}{row['median_ms']:>11}"
            f"{row['worst_ms']:>10}{ratio:>8.1f}"
        )
    return "\n".join(lines)
