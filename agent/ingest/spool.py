"""What could not be written to the database yet: an SQLite file, fsynced before anything in it is acknowledged."""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, TypeVarTuple

from agent.ingest.delivery import Delivery
from store.message import message_hash

Args = TypeVarTuple("Args")
Result = TypeVar("Result")

PAGE = 4096
SCHEMA = """
create table if not exists spool (
  id integer primary key autoincrement,
  hash integer not null,
  topic text not null,
  payload blob not null,
  qos integer not null,
  received_at real not null,
  since real
);
"""
INDEX = """
drop index if exists spool_hash;
create index if not exists spool_arrivals on spool (received_at, hash);
"""
APPEND = "insert into spool (hash, topic, payload, qos, received_at, since) values (?, ?, ?, ?, ?, ?)"
OLDEST = "select id, topic, payload, qos, received_at, since from spool order by id limit ?"
ROWS = "select coalesce((select max(id) from spool) - (select min(id) from spool) + 1, 0)"  # ids have no gaps
REMOVE = "delete from spool where id <= ?"
HOLDING = "select hash from spool where received_at >= ? and hash in (select value from json_each(?))"


class SpoolError(Exception):
    """The file cannot be opened; the message says why."""


class SpoolFullError(Exception):
    """No room left: neither under spool.max_bytes nor, perhaps, on the disk. Nothing was appended."""


class SpoolDamagedError(Exception):
    """The file is no longer a database that can be read."""


@dataclass(frozen=True, slots=True)
class SpoolBatch:
    """The oldest deliveries, and the id up to which they can be removed."""

    deliveries: list[Delivery]
    last_id: int


class Spool:
    """Bounded in bytes by SQLite itself. Every method but the constructor leaves the event loop free."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Raises SpoolError. A damaged file is set aside, and kept for a person to look at."""
        self.path = path
        self.max_bytes = max_bytes
        self._db: sqlite3.Connection | None = None
        self.set_aside: Path | None = None
        self._lock = asyncio.Lock()
        try:
            self._begin()
        except sqlite3.DatabaseError as error:
            if not _damaged(error):
                raise SpoolError(f"cannot open {path}: {error}") from error
            self.set_aside = self.replace()

    def replace(self) -> Path:
        """Set the file aside, with everything that belongs to it, and begin a new one. Returns where it went."""
        if self._db is not None:
            self._db.close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        for suffix in ("-wal", "-shm", ""):  # a write-ahead log without its database would be thrown away
            part = self.path.with_name(self.path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        self._begin()
        return aside

    def _begin(self) -> None:
        self._db, self.rows = _open(self.path, self.max_bytes)
        self.bytes = self._used()

    async def append(self, deliveries: Sequence[Delivery]) -> None:
        """Add deliveries, on disk when this returns. Raises SpoolFullError, and then nothing was added."""
        await self._locked(self._append, deliveries)

    async def oldest(self, rows: int, max_bytes: int) -> SpoolBatch | None:
        """The oldest deliveries, at most so many and so large, but at least one; None when the spool is empty."""
        return await self._locked(self._oldest, rows, max_bytes)

    async def remove(self, batch: SpoolBatch) -> None:
        """Forget a batch that oldest() gave and that is stored elsewhere now. Raises SpoolFullError on a full disk."""
        await self._locked(self._remove, batch)

    async def holding(self, hashes: Collection[int], since: float) -> set[int]:
        """Which message hashes are in the spool and arrived since then, in seconds since 1970."""
        return await self._locked(self._holding, hashes, since) if self.rows and hashes else set()

    def close(self) -> None:
        self._connection.close()

    @property
    def _connection(self) -> sqlite3.Connection:
        assert self._db is not None
        return self._db

    async def _locked(self, work: Callable[[*Args], Result], *args: *Args) -> Result:
        async with self._lock:
            try:
                return await asyncio.to_thread(work, *args)
            except sqlite3.DatabaseError as error:
                if _damaged(error):
                    raise SpoolDamagedError(f"{self.path}: {error}") from error
                raise SpoolFullError(f"{self.path}: {error}") from error

    def _append(self, deliveries: Sequence[Delivery]) -> None:
        rows = [
            (message_hash(d.topic, d.payload), d.topic, d.payload, d.qos, d.received_at, d.since) for d in deliveries
        ]
        with self._connection as db:
            db.executemany(APPEND, rows)
        self.rows += len(rows)
        self.bytes = self._used()

    def _oldest(self, rows: int, max_bytes: int) -> SpoolBatch | None:
        found: list[Delivery] = []
        last_id = size = 0
        for row_id, topic, payload, qos, received_at, since in self._connection.execute(OLDEST, (rows,)):
            size += len(payload) + len(topic)
            if found and size > max_bytes:
                break
            found.append(Delivery(topic, payload, qos, None, 0, received_at, since))
            last_id = row_id
        return SpoolBatch(found, last_id) if found else None

    def _remove(self, batch: SpoolBatch) -> None:
        with self._connection as db:
            db.execute(REMOVE, (batch.last_id,))
        self.rows -= len(batch.deliveries)
        self.bytes = self._used()

    def _holding(self, hashes: Collection[int], since: float) -> set[int]:
        """Reads the index of arrivals since then. One by hash alone would answer at once, but is written all over: 30
        bytes for each byte that is kept, once it is larger than the cache, and small disks have no time for that."""
        found = self._connection.execute(HOLDING, (since, json.dumps(list(hashes))))
        return {wanted for (wanted,) in found}

    def _used(self) -> int:
        pages = self._connection.execute("pragma page_count").fetchone()[0]
        free = self._connection.execute("pragma freelist_count").fetchone()[0]
        return int((pages - free) * PAGE)


def _damaged(error: sqlite3.DatabaseError) -> bool:
    """The file itself is broken, as opposed to no room, no right, or a disk that fails."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _open(path: Path, max_bytes: int) -> tuple[sqlite3.Connection, int]:
    """The file, and how many rows it holds. synchronous=FULL: a commit is on disk when it returns, in WAL mode too."""
    db = sqlite3.connect(path, check_same_thread=False)
    db.executescript(f"pragma page_size = {PAGE}; pragma journal_mode = wal; pragma synchronous = full;")
    db.execute(f"pragma max_page_count = {max(max_bytes // PAGE, 16)}")
    db.execute("pragma journal_size_limit = 8388608")
    db.executescript(SCHEMA)
    rows = int(db.execute(ROWS).fetchone()[0])
    if not rows:  # a full file, or a full disk, has no room for another index
        db.executescript(INDEX)
    path.chmod(0o600)
    return db, rows


def waiting(path: Path) -> int | None:
    """How many messages are in a spool that nobody has open; None when it cannot be read. Changes nothing."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return None
    if not path.exists():
        return 0
    try:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return int(db.execute(ROWS).fetchone()[0])
    except sqlite3.Error:
        return None
