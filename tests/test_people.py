"""Owners manage the people of their tenants; nobody else does, and nobody manages those of others."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest
import pytest_asyncio

from store import dead_letters, directory, members, people
from store.db import Db, connected
from store.errors import Conflict, Denied, Misconfigured, StoreError
from store.members import Role
from store.target import parse_target
from tests.servers import Database

CUT = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
VERIFIER = "SCRAM-SHA-256$4096:" + "A" * 22 + "==$" + "A" * 43 + "=:" + "A" * 43 + "="
LETTER = """
insert into iot.dead_letters (tenant_id, msg_hash, first_at, last_at, agent_id, topic, qos, payload, reason, detail)
select tenant_id, 1, now(), now(), 'a', 'tenants/' || slug || '/devices/d/t', 1, '{', 'not-json', 'cut off'
from iot.tenants"""


@pytest_asyncio.fixture
async def tenants(owner: Db) -> None:
    """acme, globex, and a dead letter of each tenant."""
    for slug in ("acme", "globex"):
        tenant_id = await directory.create_tenant(owner, slug, slug)
        await directory.register(owner, [(tenant_id, "d1")])
    await owner.execute(LETTER)


@asynccontextmanager
async def person(database: Database, login: str, tenant: str, role: Role = Role.OWNER) -> AsyncIterator[Db]:
    async with connected(parse_target(await database.person_url(login, tenant, role)), "test", 1) as db:
        yield db


async def logs_in(database: Database, login: str, password: str) -> bool:
    try:
        connection = await asyncpg.connect(database.cluster.url(login, password, database.name))
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError):
        return False
    await connection.close()
    return True


@pytest.fixture
def name(database: Database) -> str:
    """A login of this test's own: logins belong to the whole cluster."""
    return f"iot_u_{database.name}"


async def test_an_owner_creates_changes_disables_resets_and_removes(
    database: Database, tenants: None, name: str
) -> None:
    async with person(database, "iot_u_ann", "acme") as ann:
        password = await members.create(ann, "acme", name, "Ben", Role.VIEWER)
        assert await logs_in(database, name, password)
        async with connected(parse_target(database.cluster.url(name, password, database.name)), "t", 1) as ben:
            assert await members.me(ben) == members.Me(name, "Ben", {"acme": Role.VIEWER})
            await members.present(ben)
        await members.set_role(ann, "acme", name, Role.OPERATOR)
        fresh = await members.reset(ann, name)
        assert (await logs_in(database, name, password), await logs_in(database, name, fresh)) == (False, True)
        await members.set_disabled(ann, name, True)
        assert not await logs_in(database, name, fresh)
        await members.set_disabled(ann, name, False)
        assert await logs_in(database, name, fresh)
        found = {p.login: p for p in await members.people(ann)}[name]
        assert (found.name, found.home, found.roles, found.disabled) == ("Ben", "acme", {"acme": Role.OPERATOR}, False)
        assert found.seen_at is not None
        deeds = [deed.action for deed in await members.history(ann, name, 20)]
        assert {"insert members", "update members", "reset password", "update logins"} <= set(deeds)
        await members.remove(ann, "acme", name)
        assert not await logs_in(database, name, fresh)
        assert name not in {p.login for p in await members.people(ann)}
    assert await database.fetch("select 1 from pg_roles where rolname = $1", name) == []


async def test_the_last_owner_stays(database: Database, tenants: None, name: str) -> None:
    async with person(database, "iot_u_ann", "acme") as ann:
        for attempt in (
            members.set_role(ann, "acme", "iot_u_ann", Role.VIEWER),
            members.set_disabled(ann, "iot_u_ann", True),
            members.remove(ann, "acme", "iot_u_ann"),
        ):
            with pytest.raises(Conflict, match=r"last owner of acme|yourself"):
                await attempt
        await members.create(ann, "acme", name, "Ben", Role.OWNER)
        await members.set_disabled(ann, name, True)
        with pytest.raises(Conflict, match="iot_u_ann is the last owner of acme"):
            await members.set_role(ann, "acme", "iot_u_ann", Role.VIEWER)
        await members.set_disabled(ann, name, False)
        await members.set_role(ann, "acme", "iot_u_ann", Role.VIEWER)
        assert (await members.me(ann)).role is Role.VIEWER
        with pytest.raises(Denied):
            await members.set_role(ann, "acme", "iot_u_ann", Role.OWNER)


async def test_two_owners_cannot_remove_each_other_at_once(database: Database, tenants: None) -> None:
    """Each waits for the other's transaction, and then finds itself to be the last one."""
    async with person(database, "iot_u_ann", "acme") as ann, person(database, "iot_u_bob", "acme") as bob:
        async with ann.transaction() as open_one:
            await members.set_role(open_one, "acme", "iot_u_bob", Role.VIEWER)
            async with connected(parse_target(database.owner_url), "test", 1) as admin:
                await admin.execute("set lock_timeout = '200ms'")
                with pytest.raises(StoreError, match="lock timeout"):
                    await members.set_role(admin, "acme", "iot_u_ann", Role.VIEWER)
        with pytest.raises(Denied):
            await members.set_role(bob, "acme", "iot_u_ann", Role.VIEWER)


async def test_people_of_a_tenant_know_each_other_but_not_the_neighbours(database: Database, tenants: None) -> None:
    async with (
        person(database, "iot_u_gus", "globex"),
        person(database, "iot_u_ann", "acme") as ann,
        person(database, "iot_u_vic", "acme", Role.VIEWER) as vic,
        person(database, "iot_u_pat", "platform", Role.VIEWER) as pat,
    ):
        assert {p.login for p in await members.people(vic)} == {"iot_u_ann", "iot_u_vic"}
        assert {p.login for p in await members.people(pat)} == {"iot_u_ann", "iot_u_gus", "iot_u_pat", "iot_u_vic"}
        with pytest.raises(Denied):
            await members.sessions(vic)
        with pytest.raises(Denied):
            await members.history(vic, "iot_u_ann", 10)
        assert {s.login for s in await members.sessions(ann)} == {"iot_u_ann", "iot_u_vic"}


async def test_somebody_of_another_tenant_is_let_in_and_out(database: Database, tenants: None) -> None:
    async with person(database, "iot_u_gus", "globex", Role.OWNER) as gus, person(database, "iot_u_ann", "acme") as ann:
        await members.set_role(ann, "acme", "iot_u_gus", Role.VIEWER)
        assert (await members.me(gus)).roles == {"acme": Role.VIEWER, "globex": Role.OWNER}
        for attempt in (members.reset(ann, "iot_u_gus"), members.set_disabled(ann, "iot_u_gus", True),
                        members.end_sessions(ann, "iot_u_gus")):  # fmt: skip
            with pytest.raises(Denied, match="home tenant"):
                await attempt
        await members.remove(ann, "acme", "iot_u_gus")
        assert (await members.me(gus)).roles == {"globex": Role.OWNER}


async def test_a_removed_person_who_sabotages_the_removal_has_nothing(
    database: Database, tenants: None, name: str
) -> None:
    """Who owns a large object cannot be dropped; the login, its group and its rights are gone all the same."""
    async with person(database, "iot_u_ann", "acme") as ann:
        password = await members.create(ann, "acme", name, "Eve", Role.OWNER)
        connection = await asyncpg.connect(database.cluster.url(name, password, database.name))
        await connection.execute("select lo_create(0)")
        await members.remove(ann, "acme", name)
        with pytest.raises(CUT):
            await connection.fetch("select * from iot.devices")
        assert not await logs_in(database, name, password)
    assert (
        await database.fetch(
            "select 1 from pg_auth_members where member = (select oid from pg_roles where rolname = $1)", name
        )
        == []
    )


async def test_sessions_are_ended_at_once(database: Database, tenants: None, name: str) -> None:
    async with person(database, "iot_u_ann", "acme") as ann:
        password = await members.create(ann, "acme", name, "Ben", Role.OWNER)
        connection = await asyncpg.connect(database.cluster.url(name, password, database.name))
        assert await members.end_sessions(ann, name) == 1
        with pytest.raises(CUT):
            await connection.fetch("select 1")
        assert await members.end_sessions(ann, "iot_u_ann") == 0, "never the session that asks"


async def test_a_password_of_ones_own(database: Database, tenants: None, name: str) -> None:
    async with person(database, "iot_u_ann", "acme") as ann:
        password = await members.create(ann, "acme", name, "Ben", Role.VIEWER)
    async with connected(parse_target(database.cluster.url(name, password, database.name)), "t", 1) as ben:
        await members.change_password(ben, "correct horse battery")
        with pytest.raises(ValueError, match="printable ASCII"):
            await members.change_password(ben, "ü")
    assert await logs_in(database, name, "correct horse battery")
    assert not await logs_in(database, name, password)


# -- attacks

ON_GLOBEX = [
    f"select iot.user_create('globex', 'iot_u_mine', 'x', '{VERIFIER}', 'owner')",
    "select iot.user_set_role('globex', 'iot_u_gus', 'viewer')",
    "select iot.user_set_role('globex', session_user::text, 'owner')",
    "select iot.user_set_role('platform', session_user::text, 'viewer')",
    f"select iot.user_reset('iot_u_gus', '{VERIFIER}')",
    "select iot.user_set_disabled('iot_u_gus', true)",
    "select iot.user_remove('globex', 'iot_u_gus')",
    "select iot.user_end_sessions('iot_u_gus')",
]
ON_ACME = [statement.replace("globex", "acme").replace("iot_u_gus", "iot_u_vic") for statement in ON_GLOBEX]
FOR_NOBODY = [
    f"select iot_priv.login_make('iot_u_mine', '{VERIFIER}')",
    "select iot_priv.login_group(session_user::text, 'owner')",
    f"select iot_priv.login_password('iot_u_gus', '{VERIFIER}')",
    "select iot_priv.login_allow('iot_u_gus', false)",
    "select * from iot_priv.login_sessions('{iot_u_gus}')",
    "select iot_priv.login_cut('iot_u_gus')",
    "select iot_priv.login_drop('iot_u_gus')",
    "select iot.regroup(session_user::text)",
    "select iot.keep_an_owner('iot_u_gus')",
    "select iot.owned_person('iot_u_gus')",
    "insert into iot.logins (login, home_tenant_id) values ('iot_u_x', 1)",
    "update iot.logins set home_tenant_id = 1",
    "update iot.logins set name = 'x'",
    "update iot.members set role = 'owner'",
    "delete from iot.members",
    "update iot.dead_letters set state = 'discarded'",
    "update iot.dead_letters set replay_at = now()",
    "set role iot_rolemgr",
    "grant iot_owner to iot_u_vic",
    "grant iot_u_gus to session_user",
    "set role iot_u_gus",
    "alter role iot_u_gus password 'x'",
    "alter role iot_u_gus nologin",
    "alter role session_user createrole",
    "drop role iot_u_gus",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'iot_u_gus'",
    "create schema mine",
    "alter function iot.present() owner to session_user",
]


@pytest_asyncio.fixture
async def neighbours(database: Database, tenants: None) -> AsyncIterator[None]:
    """iot_u_gus owns globex and is connected; iot_u_vic looks at acme."""
    async with person(database, "iot_u_gus", "globex") as gus, person(database, "iot_u_vic", "acme", Role.VIEWER):
        await gus.value("select 1")
        yield


async def refused(db: Db, statement: str) -> None:
    with pytest.raises((Denied, Misconfigured)) as caught:
        await db.execute(statement)
    assert "syntax" not in str(caught.value)


@pytest.mark.parametrize("role", list(Role))
async def test_nobody_reaches_the_neighbours_or_the_machinery(database: Database, neighbours: None, role: Role) -> None:
    async with person(database, "iot_u_mal", "acme", role) as mal:
        for statement in ON_GLOBEX + FOR_NOBODY:
            await refused(mal, statement)
        others = "(select array_agg(dead_letter_id) from iot.dead_letters where tenant_id = 1)"
        assert await mal.value(f"select cardinality({others})") == 1
        with pytest.raises(Denied):
            await mal.execute("select iot.dead_letters_handle('{1,2,3}', 'discard')")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_only_owners_manage_the_own_tenant(database: Database, neighbours: None, role: Role) -> None:
    async with person(database, "iot_u_mal", "acme", role) as mal:
        for statement in ON_ACME:
            await refused(mal, statement)


async def test_viewers_cannot_handle_dead_letters_and_operators_can(database: Database, tenants: None) -> None:
    async with (
        person(database, "iot_u_vic", "acme", Role.VIEWER) as vic,
        person(database, "iot_u_opa", "acme", Role.OPERATOR) as opa,
    ):
        (letter,) = await dead_letters.newest(vic, 10)
        with pytest.raises(Denied):
            await dead_letters.handle(vic, [letter.dead_letter_id], "replay")
        for what, state in (("replay", "open"), ("discard", "discarded"), ("reopen", "open")):
            assert await dead_letters.handle(opa, [letter.dead_letter_id], what) == 1
            (seen,) = await dead_letters.newest(vic, 10)
            assert (seen.state, seen.replaying) == (state, what == "replay")


async def test_who_is_demoted_or_removed_in_an_open_session_manages_nothing(
    database: Database, neighbours: None, owner: Db, name: str
) -> None:
    async with person(database, "iot_u_ann", "acme") as ann:
        password = await members.create(ann, "acme", name, "Ben", Role.OWNER)
        async with connected(parse_target(database.cluster.url(name, password, database.name)), "t", 1) as ben:
            assert len(await members.people(ben)) == 3
            await members.set_role(ann, "acme", name, Role.OPERATOR)
            for statement in ON_ACME:
                await refused(ben, statement)
            await owner.execute("delete from iot.members where login = $1", name)
            assert [p.login for p in await members.people(ben)] == []
            assert await ben.rows("select * from iot.devices") == []
            with pytest.raises(Denied):
                await dead_letters.handle(ben, [1, 2, 3], "discard")


@pytest.mark.parametrize(
    ("login", "verifier"),
    [
        ("postgres", VERIFIER),
        ("iot_agent_x", VERIFIER),
        ("iot_u_A", VERIFIER),
        ('iot_u_x" superuser --', VERIFIER),
        ("iot_u_x", "plain"),
        ("iot_u_x", "md5" + "0" * 32),
        ("iot_u_x", VERIFIER.replace("4096", "0001")),
        ("iot_u_x", VERIFIER + "' superuser --"),
    ],
)
async def test_only_logins_of_people_and_only_verifiers(
    database: Database, tenants: None, login: str, verifier: str
) -> None:
    async with person(database, "iot_u_ann", "acme") as ann:
        with pytest.raises(Conflict):
            await ann.execute("select iot.user_create('acme', $1, 'x', $2, 'viewer')", login, verifier)
        with pytest.raises((Conflict, Denied)):
            await ann.execute("select iot.user_reset($1, $2)", login, verifier)


async def test_the_agent_manages_nobody(database: Database, neighbours: None, agent: Db) -> None:
    for statement in ON_GLOBEX + FOR_NOBODY:
        if "dead_letters set" not in statement:
            await refused(agent, statement)
    await refused(agent, "select iot.dead_letters_handle('{1}', 'discard')")
    await refused(agent, "select * from iot.people_sessions()")


async def test_no_inner_function_is_open_to_people(database: Database) -> None:
    open_ones = """select proname from pg_proc, aclexplode(proacl) a
                   where pronamespace = 'iot_priv'::regnamespace and a.grantee not in
                     ('iot_admin'::regrole, 'iot_rolemgr'::regrole)"""
    assert await database.fetch(open_ones) == []
    assert (
        await database.fetch("select 1 from pg_proc where pronamespace = 'iot_priv'::regnamespace and proacl is null")
        == []
    )


# -- attacks on the machinery itself

EVIL = """
create function pg_temp.evil(v anyelement) returns boolean language plpgsql as $$
begin
  insert into iot.members values (0, session_user::pg_catalog.text, 'owner');
  return true;
exception when others then
  return true;
end $$"""


@pytest.mark.parametrize("kind", ["text", "int4", "bool", "regrole"])
async def test_a_type_of_ones_own_is_not_taken_for_a_built_in_one(database: Database, tenants: None, kind: str) -> None:
    """With an empty search_path, pg_temp comes first for types, and a domain's check runs its maker's code."""
    url = await database.person_url("iot_u_mal", "acme")
    async with connected(parse_target(database.owner_url), "test", 1) as admin:
        await admin.execute(f'grant temporary on database "{database.name}" to public')  # as it was before
    connection = await asyncpg.connect(url)
    await connection.execute(EVIL)
    checked = f"pg_temp.evil(value::pg_catalog.{kind})"
    await connection.execute(f"create domain pg_temp.{kind} as pg_catalog.{kind} check ({checked})")
    for statement in (
        "select iot.rule_request('acme/x')",
        f"select iot.user_create('acme', 'iot_u_x{database.name}', 'x', '{VERIFIER}', 'viewer')",
        f"select iot.user_set_role('acme', 'iot_u_x{database.name}', 'operator')",
        "select iot.dead_letters_handle('{1}', 'replay')",
    ):
        with suppress(asyncpg.PostgresError):
            await connection.execute(statement)
    await connection.close()
    assert await database.fetch("select tenant_id from iot.members where login = 'iot_u_mal'") == [(1,)]


async def test_every_function_searches_temporary_objects_last(database: Database) -> None:
    open_ones = await database.fetch("""
        select proname from pg_proc where pronamespace in ('iot'::regnamespace, 'iot_priv'::regnamespace)
        and (proconfig is null or not 'search_path=pg_catalog, pg_temp' = any (proconfig))""")
    assert open_ones == []


async def test_rights_that_were_taken_away_do_not_live_on_in_a_snapshot(database: Database, tenants: None) -> None:
    async with (
        person(database, "iot_u_ann", "acme") as ann,
        person(database, "iot_u_pat", "platform") as pat,
        person(database, "iot_u_gus", "globex") as gus,
        gus.connection() as same,
    ):
        await members.set_role(pat, "acme", "iot_u_gus", Role.OWNER)
        await same.execute("begin isolation level repeatable read")
        await same.value("select count(*) from iot.members")
        await members.remove(ann, "acme", "iot_u_gus")
        with pytest.raises(Denied, match="READ COMMITTED"):
            await members.set_role(same, "acme", "iot_u_ann", Role.VIEWER)
        await same.execute("rollback")


async def test_whoever_sets_a_password_must_own_all_that_the_person_reaches(
    database: Database, tenants: None, name: str
) -> None:
    async with (
        person(database, "iot_u_ann", "acme") as ann,
        person(database, "iot_u_gus", "globex") as gus,
        person(database, "iot_u_pat", "platform") as pat,
    ):
        await members.create(ann, "acme", name, "Ben", Role.VIEWER)
        await members.set_role(gus, "globex", name, Role.OPERATOR)
        with pytest.raises(Denied, match="belongs to other tenants"):
            await members.reset(ann, name)
        assert await members.reset(pat, name)
        with pytest.raises(Conflict, match="login of their own"):
            await members.set_role(pat, "platform", name, Role.VIEWER)
        with pytest.raises(Conflict, match="at home elsewhere"):
            await members.set_role(gus, "globex", name, Role.OWNER)
        await members.remove(ann, "acme", name)
    async with connected(parse_target(database.owner_url), "test", 2) as admin:
        with pytest.raises(ValueError, match="at home in acme"):
            await people.put_owner(admin, "iot_u_ann", "platform")


async def test_an_outside_tenant_keeps_nobody_from_removing_their_own(
    database: Database, tenants: None, name: str
) -> None:
    async with person(database, "iot_u_ann", "acme") as ann, person(database, "iot_u_pat", "platform") as pat:
        await members.create(ann, "acme", name, "Ben", Role.VIEWER)
        await members.set_role(pat, "globex", name, Role.OWNER)
        await members.set_disabled(ann, name, True)
        await members.remove(ann, "acme", name)
        assert name not in {p.login for p in await members.people(pat)}


async def test_an_open_transaction_does_not_keep_an_owner_from_acting(
    database: Database, tenants: None, name: str
) -> None:
    async with person(database, "iot_u_ann", "acme") as ann:
        password = await members.create(ann, "acme", name, "Ben", Role.VIEWER)
        for statement, act in (
            ("select iot.present()", lambda: members.set_disabled(ann, name, True)),
            ("alter role session_user connection limit 4", lambda: members.remove(ann, "acme", name)),
        ):
            connection = await asyncpg.connect(database.cluster.url(name, password, database.name))
            with suppress(asyncpg.PostgresError):
                await connection.execute("begin")
                await connection.execute(statement)
            await act()
            with pytest.raises(CUT):
                await connection.fetch("select 1")
            if "present" in statement:
                await members.set_disabled(ann, name, False)


async def test_the_installer_gives_a_new_password_to_a_person_of_the_console(
    database: Database, tenants: None, name: str
) -> None:
    """The way back in when the last owner forgot the password."""
    async with person(database, "iot_u_ann", "acme") as ann:
        await members.create(ann, "acme", name, "Ben", Role.VIEWER)
    async with connected(parse_target(database.owner_url), "test", 2) as admin:
        password = await people.put_owner(admin, name, "acme")
    assert await logs_in(database, name, password)
