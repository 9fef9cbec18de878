import asyncio
from pathlib import Path

import pytest

import sql
from store import migrate
from store.db import connected
from store.errors import Denied, Misconfigured, StoreError
from store.target import parse_target
from tests.servers import Database

CATALOG = {
    "columns": """select table_schema, table_name, ordinal_position, column_name, data_type, is_nullable,
                         column_default, is_identity, collation_name
                  from information_schema.columns where table_schema in ('iot', 'iot_part', 'public') order by 1, 2, 3""",
    "constraints": """select conrelid::regclass::text, conname, pg_get_constraintdef(oid) from pg_constraint
                      where connamespace in ('iot'::regnamespace, 'public'::regnamespace) order by 1, 2""",
    "indexes": "select schemaname, indexname, indexdef from pg_indexes where schemaname in ('iot', 'public') order by 1, 2",
    "policies": "select tablename, policyname, roles::text, cmd, qual, with_check from pg_policies order by 1, 2",
    "functions": """select proname, pg_get_functiondef(oid), proacl::text from pg_proc
                    where pronamespace in ('iot'::regnamespace, 'iot_priv'::regnamespace) order by 1, 2""",
    "tables": """select relname, relkind::text, relacl::text, relrowsecurity, reloptions::text, relowner::regrole::text
                 from pg_class where relnamespace in ('iot'::regnamespace, 'public'::regnamespace) order by 1""",
    "column grants": "select attrelid::regclass::text, attname, attacl::text from pg_attribute where attacl is not null order by 1, 2",
    "triggers": "select tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal order by 1",
    "types": "select enumtypid::regtype::text, enumlabel from pg_enum order by 1, enumsortorder",
}


async def catalog(database: Database) -> dict[str, list[tuple[object, ...]]]:
    return {name: await database.fetch(query) for name, query in CATALOG.items()}


async def test_migrations_end_where_the_schema_stands(database: Database, empty_database: Database) -> None:
    async with connected(parse_target(empty_database.owner_url), "test", 2) as db:
        await db.execute(migrate.BOOTSTRAP)
        async with db.transaction() as whole:
            await whole.execute(sql.schema())
    assert await catalog(empty_database) == await catalog(database)


async def test_four_migrators_at_once_apply_each_file_once(empty_database: Database) -> None:
    async def one() -> int:
        async with connected(parse_target(empty_database.owner_url), "test", 3) as db:
            return len(await migrate.migrate(db, sql.migrations()))

    counts = await asyncio.gather(*(one() for _ in range(4)))
    assert sum(counts) == len(sql.migrations())


async def test_a_failing_file_is_rolled_back_and_named(empty_database: Database) -> None:
    files = (*sql.migrations(), sql.Migration(99, "bad", "create table iot.half (); select no_such_function()"))
    async with connected(parse_target(empty_database.owner_url), "test", 3) as db:
        with pytest.raises(StoreError, match="migration 0099 bad failed"):
            await migrate.migrate(db, files)
        assert [m.number for m in await migrate.pending(db, files)] == [99]
        assert await db.value("select to_regclass('iot.half') is null")


async def test_an_edited_file_is_refused(database: Database) -> None:
    first, *rest = sql.migrations()
    edited = (sql.Migration(first.number, first.name, first.text + "-- later"), *rest)
    async with connected(parse_target(database.owner_url), "test", 2) as db:
        with pytest.raises(Misconfigured, match="0001 roles was edited"):
            await migrate.pending(db, edited)


async def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    async with connected(parse_target(database.owner_url), "test", 2) as db:
        with pytest.raises(Misconfigured, match="this version has not: upgrade"):
            await migrate.pending(db, sql.migrations()[:-1])


async def test_a_file_outside_a_transaction_is_applied(database: Database) -> None:
    text = f"{sql.NO_TRANSACTION}\ncreate index concurrently made_online on iot.tenants (name)"
    files = (*sql.migrations(), sql.Migration(9999, "online", text))
    async with connected(parse_target(database.owner_url), "test", 3) as db:
        assert [m.number for m in await migrate.migrate(db, files)] == [9999]
        assert await db.value("select to_regclass('iot.made_online') is not null")


async def test_a_foreign_telemetry_table_is_kept_untouched_until_told(empty_database: Database) -> None:
    async with connected(parse_target(empty_database.owner_url), "test", 3) as db:
        await db.execute("create table public.telemetry (id bigserial primary key, topic text, payload jsonb)")
        await db.execute("""insert into public.telemetry (topic, payload) values ('a/b', '{"t": 1}')""")
        with pytest.raises(Misconfigured, match=r"columns: id bigint, topic text, payload jsonb.*--adopt-existing"):
            await migrate.migrate(db, sql.migrations())
        assert not await db.value(migrate.HAS_TABLE)
        said: list[str] = []
        await migrate.migrate(db, sql.migrations(), adopt_existing=True, report=said.append)
        assert "renaming it to public.telemetry_legacy" in said[0]
        assert await db.value("select topic from public.telemetry_legacy") == "a/b"
        assert await db.value("select count(*) from public.telemetry") == 0
        assert await migrate.existing_telemetry(db) is None


def test_file_names_are_checked(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("select 1")
    (tmp_path / "0003_b.sql").write_text("select 1")
    with pytest.raises(ValueError, match="numbered 0001, 0002"):
        sql.migrations(tmp_path)
    (tmp_path / "0003_b.sql").rename(tmp_path / "0002-b.sql")
    with pytest.raises(ValueError, match="NNNN_words"):
        sql.migrations(tmp_path)


async def test_people_make_no_temporary_objects(empty_database: Database) -> None:
    """They could be taken for ours. A database that is made from a template has rights of its own: so a fresh one."""
    async with connected(parse_target(empty_database.owner_url), "test", 3) as db:
        await migrate.migrate(db, sql.migrations())
    async with connected(parse_target(await empty_database.person_url("iot_u_tmp", "platform")), "test", 1) as person:
        with pytest.raises(Denied):
            await person.execute("create temporary table mine (x int)")
