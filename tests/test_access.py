"""The database enforces every right, whatever the client does."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from store import credentials, directory, scram, telemetry
from store.db import Db, connected
from store.errors import Conflict, Denied, Rejected
from store.members import Role
from store.target import parse_target
from store.telemetry import Reading
from tests.servers import Database

NOW = datetime.now(UTC).replace(hour=14, minute=0, second=0, microsecond=0)
PARTITION = f"iot_part.telemetry_{NOW:%Y%m%d}"
OURS = ["public.telemetry", "iot.telemetry_v", "iot.devices", "iot.tenants", "iot.dead_letters", "iot.ingest_minute",
        "iot.agents", "iot.agent_samples", "iot.credentials", "iot.credential_sets", "iot.credential_members",
        "iot.acl_grants", "iot.brokers", "iot.broker_log", "iot.credential_head", "iot.rotation_due", "iot.rotation_policy", "iot.leases", "iot.members", "iot.logins", "iot.audit_log",
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
        topic = f"tenants/{slug}/devices/d1/t"
        row = Reading(tenant_id, NOW, 1, NOW.timestamp(), device.device_id, topic, 1, "{}", None, False)
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


HASH = "$7$1$" + "A" * 16 + "$" + "A" * 86 + "=="
OF_GLOBEX = [
    f"select iot.device_create('globex', '{{d9}}', array['{HASH}'])",
    f"select iot.credential_rotate('globex', 'd1', '{HASH}', '7 days')",
    "select iot.credential_revoke('globex', 'd1', 'mine now')",
    "select iot.device_set_disabled('globex', 'd1', true)",
    "select iot.credentials_rollback('globex', 1)",
    "select iot.acl_grant('globex', 'd1', 'read', 'tenants/globex/#')",
    "select iot.acl_withdraw('globex', 'd1', 'x')",
    "select iot.credentials_confirm(1)",
]
INTERNAL = [
    "select iot.begin_set(1, 'x')",
    f"select iot.put_credential(1, 1, 'a', 'acme/devices/d1', '{HASH}', 1)",
    "select iot.credentials_settle()",
    "select iot.credential_logins('{acme/devices/d1}', '{1}')",
    "insert into iot.credentials (tenant_id, device_id, slot, username, password_hash) values (1, 1, 'a', 'x', 'y')",
    "update iot.credential_members set to_generation = null",
    "update iot.acl_grants set topic_filter = '#'",
    "update iot.credential_head set generation = 0",
    "update iot.brokers set state = 'applied'",
    "select password_hash from iot.credentials",
    "select * from iot.credentials",
]


@pytest_asyncio.fixture
async def with_credentials(owner: Db, two_tenants: None) -> None:
    for slug in ("acme", "globex"):
        await credentials.create(owner, slug, {"d2": HASH})
        await credentials.grant(owner, slug, "d2", "read", f"tenants/{slug}/#")


@pytest.mark.parametrize("attack", OF_GLOBEX + INTERNAL)
async def test_an_owner_cannot_touch_credentials_of_others_or_their_tables(
    database: Database, with_credentials: None, attack: str
) -> None:
    connection = await asyncpg.connect(await database.person_url("iot_u_a", "acme"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(attack)
    await connection.close()


async def test_an_owner_sees_the_credentials_of_the_own_tenant_only(database: Database, with_credentials: None) -> None:
    async with connected(parse_target(await database.person_url("iot_u_a", "acme")), "test") as db:
        assert {device.tenant for device in await credentials.devices(db)} == {"acme"}
        assert {item.tenant for item in await credentials.sets(db, None, 100)} == {"acme"}
        assert {change.username for change in await credentials.changes_since(db, 0)} == {"acme/devices/d2"}
        assert [item.subjects for item in await credentials.due(db)] == [1]
        assert await db.value("select count(*) from iot.acl_grants") == 1
        with pytest.raises(Denied, match="you are no owner of tenant globex"):
            await credentials.create(db, "globex", {"d3": HASH})
        with pytest.raises(Denied, match="you are no owner of tenant nowhere"):
            await credentials.create(db, "nowhere", {"d3": HASH})


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_only_owners_change_and_see_credentials(database: Database, with_credentials: None, role: str) -> None:
    connection = await asyncpg.connect(await database.person_url("iot_u_low", "acme", Role(role)))
    for attack in (OF_GLOBEX[0].replace("globex", "acme"), "select username from iot.credentials", INTERNAL[0]):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(attack)
    await connection.close()


async def test_an_owner_who_is_demoted_in_an_open_session_owns_nothing(
    database: Database, with_credentials: None, owner: Db
) -> None:
    connection = await asyncpg.connect(await database.person_url("iot_u_a", "acme"))
    assert await connection.fetchval("select count(*) from iot.credentials") == 1
    await owner.execute("update iot.members set role = 'operator' where login = 'iot_u_a'")
    assert await connection.fetchval("select count(*) from iot.credentials") == 0
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute("select iot.device_set_disabled('acme', 'd1', true)")
    await connection.close()


@pytest.mark.parametrize("attack", [*OF_GLOBEX, INTERNAL[0], *INTERNAL[4:8], "delete from iot.broker_log"])
async def test_an_agent_cannot_make_credentials(database: Database, with_credentials: None, attack: str) -> None:
    connection = await asyncpg.connect(await database.agent_url("iot_agent_other"))
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(attack)
    await connection.close()


async def test_a_malformed_name_or_hash_is_refused_by_the_database(database: Database, two_tenants: None) -> None:
    async with connected(parse_target(await database.person_url("iot_u_a", "acme")), "test") as db:
        for device, stored in (("D", HASH), ("a/b", HASH), ("d3", "plain"), ("d3", HASH + "\nx:y"), ("d3", "$6$x$y")):
            with pytest.raises(Rejected):
                await credentials.create(db, "acme", {device: stored})
        with pytest.raises(Conflict, match="exists already: d1"):
            await credentials.create(db, "acme", {"d1": HASH, "d3": HASH})
        assert [d.device for d in await credentials.devices(db)] == ["d1"], "all or none"


async def test_a_device_may_be_named_as_a_slot_is(database: Database, two_tenants: None) -> None:
    async with connected(parse_target(await database.person_url("iot_u_a", "acme")), "test") as db:
        await credentials.create(db, "acme", {"b": HASH, "devices": HASH})
        made = await credentials.rotate(db, "acme", "b", HASH, timedelta(days=1), False)
        assert made.username == "acme/devices/b/b"


async def test_a_refused_row_is_not_repeated(database: Database, two_tenants: None) -> None:
    """The detail of a violated constraint is the whole row, with the hash."""
    async with connected(parse_target(database.owner_url), "test") as db:
        with pytest.raises(Rejected) as caught:
            await db.execute(
                "insert into iot.credentials (tenant_id, device_id, slot, username, password_hash) "
                "values (1, 1, 'b', 'acme/devices/d1', $1)",
                HASH,
            )
        assert "$7$" not in str(caught.value)


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
