"""Store or spool, then acknowledge: the pipeline on a real database."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from agent.ingest.decode import Limits
from agent.ingest.delivery import Delivery
from agent.ingest.inbox import Inbox
from agent.ingest.pipeline import DrainLimit, Pipeline, with_sane_arrival
from agent.ingest.places import Places, UnknownDevices
from agent.ingest.spool import Spool
from agent.ingest.topics import TopicTemplate
from agent.ingest.writer import Names, Writer
from stack.proxy import Proxy
from store import directory
from store.db import Db, connected
from store.target import parse_target
from tests.servers import Database

TOPIC = "tenants/acme/devices/d1/t"
TEMPLATE = TopicTemplate("tenants/{tenant}/devices/{device}/{channel...}")
NOW = datetime.now(UTC).timestamp() // 10 * 10


def message(payload: bytes, at: float = NOW, since: float | None = None, topic: str = TOPIC) -> Delivery:
    return Delivery(topic, payload, 1, 1, 1, at, since)


@dataclass
class Rig:
    """A pipeline with everything real but the broker."""

    pipeline: Pipeline
    inbox: Inbox
    spool: Spool
    db: Db
    database: Database
    acked: list[Delivery] = field(default_factory=list)

    def send(self, *items: Delivery) -> None:
        self.pipeline.received(list(items), sum(d.size for d in items))

    async def until_acked(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.acked) < count:
                await asyncio.sleep(0.005)

    async def until_drained(self) -> None:
        async with asyncio.timeout(60):
            while self.spool.rows:
                await asyncio.sleep(0.01)

    async def deliver(self, *items: Delivery) -> None:
        wanted = len(self.acked) + len(items)
        self.send(*items)
        await self.until_acked(wanted)

    async def payloads(self) -> list[object]:
        return [row[0] for row in await self.database.fetch("select payload::text from public.telemetry order by 1")]

    async def reasons(self) -> list[object]:
        return [row[0] for row in await self.database.fetch("select reason from iot.dead_letters order by 1")]

    def settled(self) -> None:
        count = self.pipeline.accounting
        assert count.unsettled() == self.pipeline.pending()
        assert count.drain_balance() == 0


@asynccontextmanager
async def rig(
    database: Database,
    spool_path: Path,
    socket_dir: Path | None = None,
    unknown: UnknownDevices = UnknownDevices.REJECT,
    spool_bytes: int = 2**24,
) -> AsyncIterator[Rig]:
    url = await database.agent_url("iot_agent_rig", socket_dir)
    async with connected(parse_target(url), Names("rig", "1").session_name) as db:
        inbox = Inbox(500, 2**20, 0.01)
        spool = Spool(spool_path / "spool.sqlite", spool_bytes)
        writer = Writer(db, Names("rig", "1"), TEMPLATE, ["raw/#"], Limits(), Places(db, unknown))
        pipeline = Pipeline(inbox, writer, spool, write_timeout=2.0)
        found = Rig(pipeline, inbox, spool, db, database)
        tasks = [asyncio.create_task(pipeline.run(found.acked.extend)), asyncio.create_task(pipeline.recover())]
        try:
            yield found
            found.settled()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            spool.close()


@pytest_asyncio.fixture
async def ready(embedded_database: Database) -> Database:
    """A database with tenant acme, device d1 and partitions around now."""
    async with connected(parse_target(embedded_database.owner_url), "test", 2) as db:
        tenant_id = await directory.create_tenant(db, "acme", "Acme")
        await directory.register(db, [(tenant_id, "d1")])
        today = datetime.fromtimestamp(NOW, UTC).date()
        await db.execute("select iot.ensure_partitions($1, $2)", today - timedelta(days=7), today + timedelta(days=2))
    return embedded_database


async def test_good_and_bad_end_as_rows_and_dead_letters(ready: Database, tmp_path: Path) -> None:
    async with rig(ready, tmp_path) as r:
        await r.deliver(
            message(b'{"n":1}'),
            message(b"{"),
            message(b"\x01\x02", topic="tenants/acme/devices/d1/raw/x"),
            message(b"1", topic="tenants/nobody/devices/d1/t"),
            message(b"1", topic="tenants/acme/devices/d9/t"),
            message(b"1", topic="elsewhere"),
            message(b'{"n":1}'),
        )
        count = r.pipeline.accounting
        assert (count.inserted, count.duplicates, count.dead_letters) == (2, 1, 4)
        assert await r.reasons() == ["not-json", "topic", "unknown-device", "unknown-tenant"]
        assert await ready.fetch("select payload_raw from public.telemetry where payload is null") == [(b"\x01\x02",)]


async def test_one_row_that_only_the_database_refuses_does_not_hold_up_the_others(
    ready: Database, tmp_path: Path
) -> None:
    await ready.fetch(
        "alter table public.telemetry add constraint no_seven check (payload::text <> '{\"n\": 7}') not valid"
    )
    async with rig(ready, tmp_path) as r:
        await r.deliver(*(message(b'{"n":%d}' % n) for n in range(500)))
        assert r.pipeline.accounting.inserted == 499
        assert await r.reasons() == ["refused-by-database"]
        assert await ready.fetch("select payload from iot.dead_letters") == [(b'{"n":7}',)]


async def test_nothing_but_poison_is_settled_in_a_few_round_trips(ready: Database, tmp_path: Path) -> None:
    await ready.fetch(
        "alter table public.telemetry add constraint no_bad check (payload::text not like '%bad%') not valid"
    )
    async with rig(ready, tmp_path) as r:
        bad = [message(b'{"bad":%d}' % n) for n in range(490)]
        await r.deliver(*bad, *(message(b'{"good":%d}' % n) for n in range(10)))
        assert (r.pipeline.accounting.inserted, r.pipeline.accounting.dead_letters, r.spool.rows) == (10, 490, 0)
        assert r.pipeline.health.database_error is None


async def test_names_beyond_the_cache_are_found_all_the_same(
    ready: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ingest.places.MOST_NAMES", 3)
    async with rig(ready, tmp_path) as r:
        for n in range(4):
            unknown = [message(b"1", topic=f"tenants/acme/devices/x{n}-{i}/t") for i in range(3)]
            await r.deliver(message(b'{"n":%d}' % n), *unknown)
        assert (r.pipeline.accounting.inserted, r.pipeline.accounting.dead_letters) == (4, 12)


async def test_an_unknown_device_is_registered_when_configured(ready: Database, tmp_path: Path) -> None:
    async with rig(ready, tmp_path, unknown=UnknownDevices.REGISTER) as r:
        await r.deliver(
            message(b"1", topic="tenants/acme/devices/new-1/t"),
            message(b"1", topic="tenants/acme/devices/Bad_Name/t"),
            message(b"1", topic="tenants/nobody/devices/d1/t"),
        )
        assert r.pipeline.accounting.inserted == 1
        assert await r.reasons() == ["unknown-device", "unknown-tenant"]


async def test_a_missing_partition_is_made_on_the_way(ready: Database, tmp_path: Path) -> None:
    day = datetime.fromtimestamp(NOW, UTC).date()
    async with rig(ready, tmp_path) as r:
        await ready.fetch(f"drop table iot_part.telemetry_{day:%Y%m%d}")
        await r.deliver(message(b'{"n":1}'))
        assert r.pipeline.accounting.inserted == 1


async def test_a_redelivery_across_a_bucket_edge_is_a_duplicate(ready: Database, tmp_path: Path) -> None:
    async with rig(ready, tmp_path) as r:
        await r.deliver(message(b'{"t":1}', NOW - 5), message(b'{"t":2}', NOW - 5))
        await r.deliver(message(b'{"t":1}', NOW + 25, since=NOW - 60), message(b'{"t":2}', NOW + 25))
        assert await r.payloads() == ['{"t": 1}', '{"t": 2}', '{"t": 2}'], "an equal new reading is no redelivery"
        assert (r.pipeline.accounting.inserted, r.pipeline.accounting.duplicates) == (3, 1)
        counted = await ready.fetch("select sum(inserted), sum(duplicates) from iot.ingest_minute")
        assert counted == [(3, 1)]


async def test_a_sequence_number_collapses_over_midnight(ready: Database, tmp_path: Path) -> None:
    midnight = NOW // 86_400 * 86_400
    async with rig(ready, tmp_path) as r:
        await r.deliver(message(b'{"seq":1}', midnight - 60))
        await r.deliver(message(b'{"seq":1}', midnight + 60), message(b'{"seq":2}', midnight + 60))
        assert await r.payloads() == ['{"seq": 1}', '{"seq": 2}']


async def test_a_sequence_number_collapses_over_two_midnights_when_redelivered(ready: Database, tmp_path: Path) -> None:
    async with rig(ready, tmp_path) as r:
        first = NOW - 2.5 * 86_400
        await r.deliver(message(b'{"seq":1}', first))
        await r.deliver(message(b'{"seq":1}', NOW, since=first - 5))
        assert await r.payloads() == ['{"seq": 1}']


async def test_a_timestamp_that_left_the_window_meanwhile_is_still_the_same_row(
    ready: Database, tmp_path: Path
) -> None:
    async with rig(ready, tmp_path) as r:
        payload = b'{"ts":%d}' % (NOW - 6.99 * 86_400)
        await r.deliver(message(payload, NOW - 3600))
        await r.deliver(message(payload, NOW, since=NOW - 3700))
        assert (r.pipeline.accounting.inserted, r.pipeline.accounting.duplicates) == (1, 1)


async def test_a_copy_that_is_still_unsettled_holds_the_horizon(ready: Database, tmp_path: Path) -> None:
    async with rig(ready, tmp_path) as r:
        r.pipeline._current = [message(b"1", NOW, since=NOW - 300)]
        assert r.pipeline.settled_before() == NOW - 300
        r.pipeline._current = ()
        assert abs(r.pipeline.settled_before() - time.time()) < 1


def test_arrivals_of_a_wrong_clock_do_not_block_the_spool() -> None:
    for wrong in (0.0, NOW + 3600, NOW - 400 * 86_400):
        assert with_sane_arrival(message(b"1", wrong), NOW).received_at == NOW
    assert with_sane_arrival(message(b"1", NOW - 86_400), NOW).received_at == NOW - 86_400


def test_the_drain_takes_less_at_once_when_the_database_is_slow() -> None:
    limit = DrainLimit()
    for _ in range(20):
        limit = limit.smaller()
    assert (limit.rows, limit.bytes) == (1, 65_536)
    for _ in range(20):
        limit = limit.larger()
    assert limit == DrainLimit()


async def test_the_spool_takes_over_and_drains_in_order(ready: Database, tmp_path: Path) -> None:
    socket_dir = ready.cluster.directory / f"x{ready.name}"
    socket_dir.mkdir()
    proxy = Proxy(ready.cluster.socket_dir / ".s.PGSQL.5432", socket_dir / ".s.PGSQL.5432")
    async with proxy.running(), rig(ready, tmp_path, socket_dir) as r:
        await r.deliver(message(b'{"n":0}'))
        proxy.refusing = True
        proxy.close()
        await r.deliver(*(message(b'{"n":%d}' % n) for n in range(1, 1200)), message(b"{"))
        assert r.spool.rows == 1200
        assert r.pipeline.health.database_error is not None
        proxy.refusing = False
        await r.until_drained()
        await r.deliver(message(b'{"n":5000}'))
        assert len(await r.payloads()) == 1201
        assert await r.reasons() == ["not-json"]
        count = r.pipeline.accounting
        assert (count.inserted, count.spooled, count.drained_inserted, count.drained_dead_letters) == (2, 1200, 1199, 1)
        assert r.pipeline.health.database_error is None


async def test_a_database_that_hangs_is_left_after_the_timeout(ready: Database, tmp_path: Path) -> None:
    socket_dir = ready.cluster.directory / f"x{ready.name}"
    socket_dir.mkdir()
    proxy = Proxy(ready.cluster.socket_dir / ".s.PGSQL.5432", socket_dir / ".s.PGSQL.5432")
    async with proxy.running(), rig(ready, tmp_path, socket_dir) as r:
        await r.deliver(message(b'{"n":0}'))
        proxy.stalled = True
        began = time.monotonic()
        await r.deliver(message(b'{"n":1}'))
        assert time.monotonic() - began < 10
        assert r.spool.rows == 1
        proxy.stalled = False
        await r.until_drained()
        assert await r.payloads() == ['{"n": 0}', '{"n": 1}']


async def test_a_redelivery_of_what_is_still_spooled_is_not_stored_twice(ready: Database, tmp_path: Path) -> None:
    """The agent died between the spool's fsync and the acknowledgement."""
    async with rig(ready, tmp_path) as r:
        r.pipeline._away.set()
        await r.deliver(message(b'{"t":1}', NOW - 30))
        r.pipeline._away.set()
        await r.deliver(message(b'{"t":1}', NOW + 25, since=NOW - 60), message(b'{"t":2}', NOW + 25, since=NOW - 60))
        await r.until_drained()
        await r.deliver(message(b'{"t":1}', NOW + 45, since=NOW - 60))
        assert await r.payloads() == ['{"t": 1}', '{"t": 2}']


async def test_what_is_spooled_while_the_database_comes_back_is_drained(ready: Database, tmp_path: Path) -> None:
    """It was on its way to the spool when recover() saw the database answer and nothing in the spool."""
    async with rig(ready, tmp_path) as r:
        r.pipeline.accounting.received += 1
        assert await r.pipeline._spooled([message(b'{"t":1}', NOW)])
        await r.until_drained()
        assert await r.payloads() == ['{"t": 1}']


async def test_what_was_stored_before_and_spooled_after_is_not_stored_twice(ready: Database, tmp_path: Path) -> None:
    """The agent died between commit and acknowledgement, and the database was gone when the message came again."""
    async with rig(ready, tmp_path) as r:
        await r.deliver(message(b'{"t":1}', NOW - 30))
        await r.spool.append([message(b'{"t":1}', NOW + 25, since=NOW - 60)])
        r.pipeline._away.set()
        await r.until_drained()
        assert await r.payloads() == ['{"t": 1}']
        assert r.pipeline.accounting.drained_duplicates == 1


async def test_with_database_and_spool_gone_nothing_is_acknowledged(ready: Database, tmp_path: Path) -> None:
    socket_dir = ready.cluster.directory / f"x{ready.name}"
    socket_dir.mkdir()
    proxy = Proxy(ready.cluster.socket_dir / ".s.PGSQL.5432", socket_dir / ".s.PGSQL.5432")
    async with proxy.running(), rig(ready, tmp_path, socket_dir, spool_bytes=2**18) as r:
        proxy.refusing = True
        big = [message(b'"%04d%s"' % (n, b"x" * 2000)) for n in range(1000)]
        r.send(*big)
        async with asyncio.timeout(60):
            while r.pipeline.health.holding_since is None:
                await asyncio.sleep(0.01)
        acked = len(r.acked)
        assert acked == r.spool.rows < 1000
        r.settled()
        proxy.refusing = False
        await r.until_acked(1000)
        await r.until_drained()
        assert await ready.fetch("select count(*) from public.telemetry") == [(1000,)]
        assert r.pipeline.health.holding_since is None
        assert r.pipeline.health.spool_error is None


@pytest.mark.parametrize("way", ["read-only", "frozen", "locked"])
async def test_a_database_that_takes_no_writes_is_survived(ready: Database, tmp_path: Path, way: str) -> None:
    async with rig(ready, tmp_path) as r:
        await r.deliver(message(b'{"n":0}'))
        undo = await _hinder(ready, way)
        await r.deliver(*(message(b'{"n":%d}' % n) for n in range(1, 50)))
        assert r.spool.rows == 49
        await undo()
        await r.until_drained()
        assert len(await r.payloads()) == 50


async def _hinder(database: Database, way: str):  # type: ignore[no-untyped-def]
    """Make the database useless in one way; returns what makes it well again."""
    if way == "read-only":
        connection = await database.superuser()
        await connection.execute(f'alter database "{database.name}" set default_transaction_read_only = on')
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'iot-agent rig 1'"
        )

        async def undo() -> None:
            await connection.execute(f'alter database "{database.name}" reset default_transaction_read_only')
            await connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'iot-agent rig 1'"
            )
            await connection.close()

    elif way == "locked":
        connection = await database.superuser()
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("lock table public.telemetry in access exclusive mode")

        async def undo() -> None:
            await transaction.rollback()
            await connection.close()

    else:
        pids = await database.fetch("select pid from pg_stat_activity where application_name = 'iot-agent rig 1'")
        for (pid,) in pids:
            os.kill(int(str(pid)), signal.SIGSTOP)

        async def undo() -> None:
            for (pid,) in pids:
                os.kill(int(str(pid)), signal.SIGCONT)

    return undo


async def test_every_batch_is_acknowledged_in_order_and_once(ready: Database, tmp_path: Path) -> None:
    async with rig(ready, tmp_path) as r:
        sent: Sequence[Delivery] = [message(b'{"n":%d}' % n)._replace(packet_id=n) for n in range(3000)]
        for first in range(0, 3000, 170):
            r.send(*sent[first : first + 170])
        await r.until_acked(3000)
        assert r.acked == list(sent)


async def test_closing_stores_what_was_received(ready: Database, tmp_path: Path) -> None:
    async with rig(ready, tmp_path) as r:
        r.send(*(message(b'{"n":%d}' % n) for n in range(700)))
        r.inbox.close()
        await r.until_acked(700)
        assert len(await r.payloads()) == 700
