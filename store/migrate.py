"""Apply numbered migrations: each file once, in one transaction, under a lock that only migrators want."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sql import Migration
from store.db import Db
from store.errors import Misconfigured, StoreError, Unavailable

# No CREATE SCHEMA IF NOT EXISTS: it asks for rights on the database even when the schema is there.
BOOTSTRAP = """
do $$ begin
  if to_regnamespace('iot') is null then create schema iot; end if;
end $$;
create table if not exists iot.migrations (
  number int primary key,
  name text not null,
  checksum text not null,
  applied_at timestamptz not null default now(),
  applied_by text not null default session_user
);
create table if not exists iot.migration_lock ()"""
APPLIED = "select number, name, checksum from iot.migrations order by number"
HAS_TABLE = "select to_regclass('iot.migrations') is not null"
# A table of its own, so that migrations may alter every other one.
LOCK = "lock table iot.migration_lock in exclusive mode nowait"
RECORD = "insert into iot.migrations (number, name, checksum) values ($1, $2, $3)"
EXISTING = """
select c.reltuples::bigint as rows,
       (select string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by a.attnum)
        from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns
from pg_class c
where c.oid = to_regclass('public.telemetry')
  and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'msg_hash')"""
ADOPTED_NAME = "telemetry_legacy"
ADOPTED_NAME_TAKEN = f"select to_regclass('public.{ADOPTED_NAME}') is not null"
ADOPT = f"alter table public.telemetry rename to {ADOPTED_NAME}"


@dataclass(frozen=True, slots=True)
class ExistingTable:
    """A public.telemetry that is not ours; rows is the planner's estimate, -1 when never analysed."""

    rows: int
    columns: str


async def existing_telemetry(db: Db) -> ExistingTable | None:
    found = await db.row(EXISTING)
    return ExistingTable(**found) if found else None


async def pending(db: Db, wanted: Sequence[Migration]) -> list[Migration]:
    """Migrations still to apply. Raises Misconfigured when the database knows other files than we do."""
    if not await db.value(HAS_TABLE):
        return list(wanted)
    applied = {row["number"]: row for row in await db.rows(APPLIED)}
    known = {migration.number: migration for migration in wanted}
    for number, row in applied.items():
        if number not in known:
            raise Misconfigured(f"the database has migration {number:04} {row['name']}, this version has not: upgrade")
        if row["checksum"] != known[number].checksum:
            raise Misconfigured(f"migration {number:04} {row['name']} was edited after it had been applied: restore it")
    return [migration for migration in wanted if migration.number not in applied]


async def migrate(
    db: Db,
    wanted: Sequence[Migration],
    *,
    adopt_existing: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> list[Migration]:
    """Bring the database to the newest schema; returns what was applied. Safe to run by several at once.

    Raises:
        Misconfigured: a foreign public.telemetry is in the way, or the files do not fit the database.
        Unavailable: another migrator kept the lock for a minute.
    """
    await _make_room(db, adopt_existing, report)
    await _bootstrap(db)
    done = []
    async with db.connection() as runner, db.transaction() as guard:
        await _lock(guard)
        for migration in await pending(runner, wanted):
            report(f"applying {migration.number:04} {migration.name}")
            await _apply(runner, migration)
            done.append(migration)
    return done


async def _bootstrap(db: Db) -> None:
    if await db.value(HAS_TABLE):
        return
    try:
        await db.execute(BOOTSTRAP)
    except StoreError:  # two first migrators at once: one of them loses, and finds the table made
        if not await db.value(HAS_TABLE):
            raise


async def _make_room(db: Db, adopt: bool, report: Callable[[str], None]) -> None:
    found = await existing_telemetry(db)
    if found is None:
        return
    what = f"public.telemetry exists already (about {found.rows} rows; columns: {found.columns})"
    if not adopt:
        raise Misconfigured(f"{what}. Nothing was changed. --adopt-existing renames it to public.{ADOPTED_NAME}")
    if await db.value(ADOPTED_NAME_TAKEN):
        raise Misconfigured(f"{what}, and public.{ADOPTED_NAME} too: rename one of them yourself")
    report(f"{what}: renaming it to public.{ADOPTED_NAME}; its rows and grants stay as they are")
    await db.execute(ADOPT)


async def _lock(guard: Db, attempts: int = 240) -> None:
    """Never waits inside PostgreSQL: a waiting LOCK would hold up a CREATE INDEX CONCURRENTLY of the holder."""
    for _ in range(attempts):
        try:
            async with guard.savepoint():
                return await guard.execute(LOCK)
        except Unavailable:
            await asyncio.sleep(0.25)
    raise Unavailable("another migration holds the lock since a minute; see pg_stat_activity")


async def _apply(runner: Db, migration: Migration) -> None:
    try:
        if not migration.transactional:
            await runner.execute(migration.text)
            await runner.execute(RECORD, migration.number, migration.name, migration.checksum)
            return
        async with runner.savepoint():
            await runner.execute(migration.text)
            await runner.execute("reset role")
            await runner.execute(RECORD, migration.number, migration.name, migration.checksum)
    except StoreError as error:
        raise type(error)(
            f"migration {migration.number:04} {migration.name} failed and was rolled back: {error}"
        ) from error
