import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from agent.ingest import spool as spool_module
from agent.ingest.delivery import Delivery
from agent.ingest.spool import Spool, SpoolDamagedError, SpoolError, SpoolFullError, waiting
from store.message import message_hash

MIB = 2**20


def deliveries(first: int, count: int, size: int = 100) -> list[Delivery]:
    return [
        Delivery(f"t/{n}", b"x" * size, 1, n, 7, float(n), None if n % 2 else 5.0) for n in range(first, first + count)
    ]


def kept(items: list[Delivery]) -> list[Delivery]:
    """As they come back: nothing of the connection survives, everything else does."""
    return [d._replace(packet_id=None, epoch=0) for d in items]


async def test_gives_back_in_order_what_it_was_given(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite", 2**20)
    await spool.append(deliveries(0, 5))
    await spool.append(deliveries(5, 5))
    batch = await spool.oldest(7, MIB)
    assert batch is not None
    assert batch.deliveries == kept(deliveries(0, 7))
    await spool.append(deliveries(10, 1))
    await spool.remove(batch)
    rest = await spool.oldest(100, MIB)
    assert rest is not None
    assert rest.deliveries == kept(deliveries(7, 4))
    await spool.remove(rest)
    assert spool.rows == 0
    assert await spool.oldest(1, MIB) is None
    spool.close()


async def test_survives_a_process_that_dies(tmp_path: Path) -> None:
    first = Spool(tmp_path / "spool.sqlite", 2**20)
    await first.append(deliveries(0, 3))
    second = Spool(tmp_path / "spool.sqlite", 2**20)  # first was never closed
    batch = await second.oldest(10, MIB)
    assert batch is not None
    assert second.rows == 3
    assert batch.deliveries == kept(deliveries(0, 3))
    first.close()
    second.close()


async def test_knows_which_messages_it_holds(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite", 2**20)
    hashes = [message_hash(d.topic, d.payload) for d in deliveries(0, 3)]
    assert await spool.holding(hashes, 0.0) == set()
    await spool.append(deliveries(1, 1))
    assert await spool.holding(hashes, 0.0) == {hashes[1]}
    assert await spool.holding(set(), 0.0) == set()
    spool.close()


async def test_looks_no_further_back_than_asked(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite", MIB)
    kept = deliveries(0, 1)[0]
    arrivals = (5.0, 1000.0, 1004.0, 90_000.0)  # the last one by a clock that was ahead
    copies = [kept._replace(payload=b"%d" % n, received_at=at) for n, at in enumerate(arrivals)]
    await spool.append(copies)
    hashes = [message_hash(d.topic, d.payload) for d in copies]
    assert await spool.holding(hashes, 1000.0) == set(hashes[1:])
    assert await spool.holding(hashes[:3], 1005.0) == set()
    plan = spool._connection.execute("explain query plan " + spool_module.HOLDING, (0.0, "[1]")).fetchall()
    assert "SEARCH spool USING COVERING INDEX spool_arrivals (received_at>?)" in [step for *_, step in plan]
    spool.close()


async def test_a_full_file_of_an_earlier_version_keeps_its_index_until_it_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    old = Spool(path, MIB)
    old._connection.executescript("drop index spool_arrivals; create index spool_hash on spool (hash)")
    stored = 0
    with suppress(SpoolFullError):
        while stored < 100_000:
            await old.append(deliveries(stored, 100, size=10))
            stored += 100
    old.close()
    with closing(Spool(path, MIB)) as spool:
        assert (spool.rows, spool.set_aside) == (stored, None)
        known = message_hash("t/7", b"x" * 10)
        assert await spool.holding([known, known + 1], 0.0) == {known}
        plan = spool._connection.execute("explain query plan " + spool_module.HOLDING, (0.0, "[1]")).fetchall()
        assert [step for *_, step in plan if "USING INDEX spool_hash (hash=?)" in step], plan
        batch = await spool.oldest(stored, MIB)
        assert batch is not None
        await spool.remove(batch)
        assert spool.rows == 0
    with closing(Spool(path, MIB)) as spool:
        names = spool._connection.execute("select name from sqlite_master where type = 'index'").fetchall()
        assert names == [("spool_arrivals",)]


async def test_is_bounded_and_loses_nothing_when_full(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite", 2**20)
    stored = 0
    with suppress(SpoolFullError):
        while stored < 100_000:
            await spool.append(deliveries(stored, 100, size=1000))
            stored += 100
    assert 500 <= stored < 2000
    assert spool.rows == stored
    assert spool.bytes <= 2**20
    assert (tmp_path / "spool.sqlite").stat().st_size <= 2**20
    batch = await spool.oldest(stored + 100, 10 * MIB)
    assert batch is not None
    assert batch.deliveries == kept(deliveries(0, stored, size=1000))
    await spool.remove(batch)
    await spool.append(deliveries(0, 100, size=1000))  # the room is free again
    spool.close()
    with closing(Spool(tmp_path / "spool.sqlite", 2**20)) as again:
        assert (again.rows, waiting(tmp_path / "spool.sqlite")) == (100, 100)
    with closing(sqlite3.connect(tmp_path / "spool.sqlite")) as db:
        assert db.execute("select count(*) from spool").fetchone() == (100,)


async def test_everything_is_on_disk_before_it_returns(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite", 2**20)
    db = sqlite3.connect(tmp_path / "spool.sqlite")
    assert spool._connection.execute("pragma synchronous").fetchone() == (2,)  # FULL
    assert db.execute("pragma journal_mode").fetchone() == ("wal",)
    db.close()
    spool.close()


async def test_a_batch_is_limited_in_bytes_but_never_empty(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite", MIB)
    await spool.append(deliveries(0, 5, size=1000))
    for limit, count in ((10, 1), (2500, 2), (MIB, 5)):
        batch = await spool.oldest(100, limit)
        assert batch is not None
        assert len(batch.deliveries) == count
    spool.close()


async def test_a_file_that_is_no_database_is_set_aside_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    path.write_bytes(b"this is not a database " * 1000)
    spool = Spool(path, MIB)
    assert spool.set_aside is not None
    assert spool.set_aside.read_bytes().startswith(b"this is not")
    await spool.append(deliveries(0, 1))
    assert spool.rows == 1
    spool.close()


async def test_damage_inside_is_noticed_and_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    spool = Spool(path, 16 * MIB)
    await spool.append(deliveries(0, 2000, size=1000))
    spool.close()
    content = bytearray(path.read_bytes())
    content[8192:-8192] = b"\xff" * (len(content) - 16_384)
    path.write_bytes(content)
    spool = Spool(path, 16 * MIB)
    if spool.set_aside is None:  # the pages it had to read at the start happened to be whole
        with pytest.raises(SpoolDamagedError):
            await spool.oldest(2000, 16 * MIB)
        aside = spool.replace()
    else:
        aside = spool.set_aside
    assert aside.stat().st_size == len(content)
    assert await spool.oldest(1, MIB) is None
    spool.close()


def test_a_file_we_may_not_open_is_no_reason_to_set_it_aside(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite"
    path.mkdir()
    with pytest.raises(SpoolError, match="cannot open"):
        Spool(path, MIB)
    assert list(tmp_path.iterdir()) == [path]


def test_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.sqlite", 2**20)
    assert (tmp_path / "spool.sqlite").stat().st_mode & 0o077 == 0
    spool.close()
