"""Where the agent's CPU goes: each stage of a message's way by itself, with the product's own code and real data.

CPU seconds of this process, so that what the database server does is not in it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias, cast

import asyncpg
import mqtt5

from agent.ingest.decode import Limits, decode
from agent.ingest.delivery import Delivery
from agent.ingest.options import SessionOptions
from agent.ingest.session import Session
from agent.ingest.topics import Route
from bench.publisher import PAYLOAD
from bench.rig import Rig, database
from store import directory, partitions, telemetry
from store.db import Db
from store.directory import Place
from store.message import message_hash
from store.telemetry import Reading

Row = dict[str, object]
Record = tuple[object, ...]
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
MESSAGES, BATCH, CHUNK = 100_000, 2000, 16_384  # a TLS record holds 16 kB
DEVICES = 20
TURNS = 3
OPTIONS = SessionOptions("bench", "u", "p", "tenants/#", 4000, 2**20, 2**40, 30, 60)
TABLES = """
create table if not exists public.bench_plain (like public.telemetry including defaults);
create temp table beside (like public.telemetry)"""
FROM_BESIDE = """
with stored as (
  insert into public.telemetry select * from beside on conflict do nothing returning tenant_id)
insert into iot.ingest_minute (tenant_id, minute, agent_id, inserted, duplicates)
select tenant_id, date_trunc('minute', now()), 'bench', coalesce(inserted, 0), received - coalesce(inserted, 0)
from (select tenant_id, count(*) as received from beside group by 1) r
left join (select tenant_id, count(*) as inserted from stored group by 1) s using (tenant_id)
on conflict (tenant_id, minute, agent_id) do update
  set inserted = ingest_minute.inserted + excluded.inserted,
      duplicates = ingest_minute.duplicates + excluded.duplicates;
truncate beside"""
COLUMNS = ["tenant_id", "bucket", "msg_hash", "ts", "device_id", "topic", "qos", "payload", "payload_raw"]


class _Transport(asyncio.Transport):
    """Takes what is written."""

    def write(self, data: object) -> None:
        """Nothing."""

    def is_closing(self) -> bool:
        return False


@dataclass
class _Receiver:
    """Keeps what arrives."""

    deliveries: list[Delivery]

    def received(self, deliveries: list[Delivery], size: int) -> None:
        self.deliveries += deliveries

    def settled_before(self) -> float:
        return 0.0

    def lost(self, epoch: int) -> None:
        """Nothing."""


def _wire() -> bytes:
    """Publish packets as the broker sends them."""
    now = int(time.time() * 1000)
    packets = [
        mqtt5.PublishPacket(
            f"tenants/acme/devices/dev-{n % DEVICES + 1:04}/telemetry", PAYLOAD % (now + n, n),
            qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=n % 60_000 + 1,
        ).write()
        for n in range(MESSAGES)
    ]  # fmt: skip
    return b"".join(packets)


def _timed(what: str, work: Callable[[], object]) -> Row:
    began = time.process_time()
    work()
    return {"what": what, "cpu_us_per_message": round((time.process_time() - began) / MESSAGES * 1e6, 2)}


def _parse_only(wire: bytes) -> None:
    """The codec alone, which is Rust."""
    view, offset = memoryview(wire), 0
    while offset < len(view):
        _, size = mqtt5.read(view[offset:])
        offset += size


def _feed(session: Session, wire: bytes) -> None:
    for start in range(0, len(wire), CHUNK):
        session.data_received(wire[start : start + CHUNK])


def _decoded(deliveries: Sequence[Delivery], places: dict[str, Place]) -> list[Reading]:
    routes = {topic: Route("acme", topic.split("/")[3], "telemetry", False) for topic in places}
    limits = Limits()
    found = [decode(delivery, routes[delivery.topic], places[delivery.topic], limits) for delivery in deliveries]
    return cast("list[Reading]", found)


async def _insert(db: Db, readings: Sequence[Reading]) -> None:
    for start in range(0, len(readings), BATCH):
        await telemetry.insert(db, readings[start : start + BATCH], "bench")


async def _awaited(what: str, work: Awaitable[None]) -> Row:
    began, wall = time.process_time(), time.perf_counter()
    await work
    cpu, seconds = time.process_time() - began, time.perf_counter() - wall
    return {
        "what": what,
        "cpu_us_per_message": round(cpu / MESSAGES * 1e6, 2),
        "rows_per_second": round(MESSAGES / seconds),
    }


async def _copy(connection: Connection, records: Sequence[Record]) -> None:
    """The floor of what a client can do: binary COPY into a table without a key, nobody asks for duplicates."""
    for start in range(0, len(records), BATCH):
        await connection.copy_records_to_table(
            "bench_plain", records=records[start : start + BATCH], columns=COLUMNS, schema_name="public"
        )


async def _copy_then_insert(connection: Connection, records: Sequence[Record]) -> None:
    """The other way to find duplicates: COPY beside the table, then INSERT from there, and the same counts."""
    for start in range(0, len(records), BATCH):
        async with connection.transaction():
            await connection.copy_records_to_table("beside", records=records[start : start + BATCH], columns=COLUMNS)
            await connection.execute(FROM_BESIDE)


async def _ways(on: Rig, db: Db, readings: Sequence[Reading]) -> list[Row]:
    """Ways into the database in turns, because a shared machine swings; of each the turn that took least CPU."""
    connection = await asyncpg.connect(on.stack.cluster.superuser_url(on.stack.database))
    await connection.execute(TABLES)
    turns: list[tuple[Row, ...]] = []
    for turn in range(TURNS):
        fresh = [r._replace(msg_hash=r.msg_hash + 2 * turn) for r in readings]
        records = [(*r[:2], r[2] + 1, datetime.fromtimestamp(r[3], UTC), *r[4:9]) for r in fresh]
        turns.append(
            (
                await _awaited("rows to the database, and its answer", _insert(db, fresh)),
                await _awaited("for comparison: COPY, no key, no duplicates found", _copy(connection, records)),
                await _awaited("tried: COPY beside, then INSERT from there", _copy_then_insert(connection, records)),
            )
        )
    await connection.execute("drop table public.bench_plain")
    await connection.close()
    return [min(way, key=lambda row: float(str(row["cpu_us_per_message"]))) for way in zip(*turns, strict=True)]


async def stages(on: Rig) -> list[Row]:
    """One row a stage, in the order of a message's way; the last two are other ways into the database."""
    wire = _wire()
    receiver = _Receiver([])
    session = Session(OPTIONS, 1, 0.0, receiver)
    session.connection_made(_Transport())
    rows = [
        _timed("MQTT packets to objects, the codec alone", lambda: _parse_only(wire)),
        _timed("packets to deliveries, the codec included", lambda: _feed(session, wire)),
    ]
    deliveries = receiver.deliveries
    rows.append(
        _timed("of which: hash of topic and payload", lambda: [message_hash(d.topic, d.payload) for d in deliveries])
    )
    async with database(on.stack) as db:
        names = {delivery.topic: ("acme", delivery.topic.split("/")[3]) for delivery in deliveries}
        await directory.register(db, [(1, device) for _, device in names.values()])
        found = await directory.find(db, list(names.values()))
        places = {topic: found[name] for topic, name in names.items()}
        readings: list[Reading] = []
        rows.append(
            _timed(
                "validate JSON, hash, key: deliveries to rows", lambda: readings.extend(_decoded(deliveries, places))
            )
        )
        await partitions.ensure(db, readings[0].bucket.date(), readings[-1].bucket.date())
        stored, *others = await _ways(on, db, readings)
    return [*rows, stored, _timed("acknowledge", lambda: _ack(session, deliveries)), *others]


def _ack(session: Session, deliveries: Sequence[Delivery]) -> None:
    for start in range(0, len(deliveries), BATCH):
        session.ack(deliveries[start : start + BATCH])
