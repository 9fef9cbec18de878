"""The database enforces every right, whatever the client does."""

from datetime import UTC, datetime

import asyncpg
import pytest
import pytest_asyncio

from store import directory, scram, telemetry
from store.db import Db, connected
from store.target import parse_target
from store.telemetry import Reading
from tests.servers import Database

NOW = datetime.now(UTC).replace(hour=14, minute=0, second=0, microsecond=0)
PARTITION = f"iot_part.telemetry_{NOW:%Y%m%d}"
OURS = ["public.telemetry", "iot.telemetry_v", "iot.devices", "iot.tenants", "iot.dead_letters", "iot.ingest_minute",
        "iot.agents", "iot.agent_samples", "iot.leases", "iot.members", "iot.logins", "iot.audit_log",
        PARTITION]  # fmt: skip


@pytest_asyncio.fixture
async def two_tenants(owner: Db, agent: Db) -> None:
    """acme (1) and globex (2) with a device and a row each."""
    await owner.execute("select iot.ensure_partitions($1, $1)", NOW.date())
    for slug in ("acme", "globex"):
        tenant_id = await directory.create_tenant(owner, slug, slug)
        await directory.register(owner, [(tenant_id, "d1")])
        device = (await directory.find(owner, [(slug, "d1")]))[(slug, "d1")]
        assert device.device_id is not None
        row = Reading(tenant_id, NOW, 1, NOW, device.device_id, f"tenants/{slug}/devices/d1/t", 1, "{}", None, False)
        await telemetry.insert(agent, [row], "a")


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
async def test_the_rest_api_can_read_and_write_nothing(database: Database, two_tenants: None, role: str) -> None:
    connection = await database.superuser()
    await connection.execute(f"set role {role}")
    for table in OURS:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(f"select * from {table}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"delete from {table}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch("select iot.ensure_partitions(current_date, current_date)")
    await connection.close()


async def test_a_person_sees_the_tenants_of_membership(database: Database, two_tenants: None) -> None:
    for login, tenant, expected in (("iot_u_a", "acme", {1}), ("iot_u_p", "platform", {1, 2})):
        connection = await asyncpg.connect(await database.person_url(login, tenant))
        for table in ("public.telemetry", "iot.telemetry_v", "iot.ingest_minute"):
            rows = await connection.fetch(f"select tenant_id from {table}")
            assert {row[0] for row in rows} == expected, table
        await connection.close()


@pytest.mark.parametrize(
    "attack",
    [
        "set row_security = off; select * from public.telemetry",
        f"select * from {PARTITION}",
        "insert into public.telemetry select * from public.telemetry",
        "update public.telemetry set topic = 'x'",
        "truncate public.telemetry",
        "drop policy people on public.telemetry",
        "set role iot_agent",
        "set role iot_admin",
        "set session authorization postgres",
        "insert into iot.members values (2, 'iot_u_a', 'owner')",
        "update iot.logins set disabled = false",
        "delete from iot.audit_log",
        "insert into iot.audit_log (tenant_id, action, subject) values (1, 'x', 'y')",
        "insert into iot.leases values ('upkeep', 'me', 1, now() + interval '1 year')",
        "update iot.agents set beat_at = now()",
        "select iot.drop_oldest_partition(8)",
        "select iot.prune_ingest_history(8)",
        "create table public.mine ()",
        "create table iot.mine ()",
        "copy (select 1) to program 'id'",
        "begin; lock table public.telemetry in access exclusive mode",
        "alter role iot_u_a bypassrls",
        "create role iot_u_friend login",
    ],
)
async def test_an_owner_of_one_tenant_cannot(database: Database, two_tenants: None, attack: str) -> None:
    connection = await asyncpg.connect(await database.person_url("iot_u_a", "acme"))
    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.InvalidParameterValueError)):
        await connection.execute(attack)
    await connection.close()


async def test_no_function_is_open_to_everyone(database: Database) -> None:
    query = """select proname from pg_proc where pronamespace = 'iot'::regnamespace
               and (proacl is null or exists (select from aclexplode(proacl) where grantee = 0))"""
    assert await database.fetch(query) == []


async def test_a_forged_setting_changes_nothing(database: Database, two_tenants: None) -> None:
    connection = await asyncpg.connect(await database.person_url("iot_u_a", "acme"))
    await connection.execute("""set request.jwt.claims = '{"role": "service_role"}'""")
    assert {row[0] for row in await connection.fetch("select tenant_id from public.telemetry")} == {1}
    await connection.close()


async def test_a_disabled_login_loses_its_open_session(database: Database, two_tenants: None, owner: Db) -> None:
    connection = await asyncpg.connect(await database.person_url("iot_u_a", "acme"))
    assert len(await connection.fetch("select * from public.telemetry")) == 1
    await owner.execute("update iot.logins set disabled = true where login = 'iot_u_a'")
    assert await connection.fetch("select * from public.telemetry") == []
    await connection.close()


@pytest.mark.parametrize(
    "attack",
    [
        "update public.telemetry set topic = 'x'",
        "delete from public.telemetry",
        "delete from iot.dead_letters",
        "update iot.devices set disabled = true",
        "insert into iot.members values (1, 'iot_u_a', 'owner')",
        "select * from iot.members",
        "select * from iot.audit_log",
        "insert into iot.audit_log (tenant_id, action, subject, actor) values (1, 'x', 'y', 'someone else')",
        f"drop table {PARTITION}",
        "create role iot_u_friend login",
    ],
)
async def test_the_agent_cannot(database: Database, two_tenants: None, agent: Db, attack: str) -> None:
    connection = await asyncpg.connect(await database.agent_url("iot_agent_other"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(attack)
    await connection.close()


async def test_changes_of_configuration_are_audited(database: Database, two_tenants: None) -> None:
    rows = await database.fetch("select actor, tenant_id, action, subject from iot.audit_log order by audit_id")
    assert ("postgres", 1, "insert tenants", "acme") in rows
    assert ("postgres", 2, "insert devices", "d1") in rows


async def test_a_password_never_reaches_the_server(database: Database) -> None:
    url = await database.agent_url("iot_agent_secret")
    password = parse_target(url).password
    assert password is not None
    (row,) = await database.fetch("select rolpassword from pg_authid where rolname = 'iot_agent_secret'")
    assert str(row[0]).startswith("SCRAM-SHA-256$4096:")
    assert password not in str(row[0])
    async with connected(parse_target(url), "test") as db:
        assert await db.value("select session_user") == "iot_agent_secret"


def test_the_verifier_refuses_what_would_need_normalising() -> None:
    for password in ("", "pässword", "a\nb"):
        with pytest.raises(ValueError, match="printable ASCII"):
            scram.verifier(password, b"0" * 16)
