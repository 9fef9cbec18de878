"""Where the agent's CPU goes: each stage of a message's way by itself, with the product's own code and real data.

CPU seconds of this process, so that what the database server does is not in it.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

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
MESSAGES, BATCH, CHUNK = 100_000, 2000, 16_384  # a TLS record holds 16 kB
DEVICES = 20
OPTIONS = SessionOptions("bench", "u", "p", "tenants/#", 4000, 2**20, 2**40, 30, 60)
PLAIN = "create table if not exists public.bench_plain (like public.telemetry including defaults)"
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


async def _awaited(what: str, work: "asyncio.Future[None] | object") -> Row:
    began, wall = time.process_time(), time.perf_counter()
    await work  # type: ignore[misc]
    cpu, seconds = time.process_time() - began, time.perf_counter() - wall
    return {
        "what": what,
        "cpu_us_per_message": round(cpu / MESSAGES * 1e6, 2),
        "rows_per_second": round(MESSAGES / seconds),
    }


async def _copy(connection: "asyncpg.Connection[asyncpg.Record]", readings: Sequence[Reading]) -> None:
    """The floor of what a client can do: binary COPY into a table without a key, nobody asks for duplicates."""
    for start in range(0, len(readings), BATCH):
        records = [reading[:9] for reading in readings[start : start + BATCH]]
        await connection.copy_records_to_table("bench_plain", records=records, columns=COLUMNS, schema_name="public")


async def _copy_then_insert(connection: "asyncpg.Connection[asyncpg.Record]", readings: Sequence[Reading]) -> None:
    """The other way to find duplicates: COPY beside the table, then INSERT from there."""
    await connection.execute("create temp table beside (like public.telemetry)")
    for start in range(0, len(readings), BATCH):
        records = [(r[0], r[1], r[2] + 1, *r[3:9]) for r in readings[start : start + BATCH]]  # none is stored yet
        async with connection.transaction():
            await connection.copy_records_to_table("beside", records=records, columns=COLUMNS)
            await connection.execute(
                "insert into public.telemetry select * from beside on conflict do nothing; truncate beside"
            )


async def stages(on: Rig) -> list[Row]:
    """One row a stage, in the order of a message's way; the last two are what storing costs with and without keys."""
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
        rows.append(await _awaited("rows to the database, and its answer", _insert(db, readings)))
    rows.append(_timed("acknowledge", lambda: _ack(session, deliveries)))
    connection = await asyncpg.connect(on.stack.cluster.superuser_url(on.stack.database))
    await connection.execute(PLAIN)
    rows.append(await _awaited("for comparison: COPY, no key, no duplicates found", _copy(connection, readings)))
    await connection.execute("drop table public.bench_plain")
    rows.append(await _awaited("tried: COPY beside, then INSERT, no counts", _copy_then_insert(connection, readings)))
    await connection.close()
    return rows


def _ack(session: Session, deliveries: Sequence[Delivery]) -> None:
    for start in range(0, len(deliveries), BATCH):
        session.ack(deliveries[start : start + BATCH])
