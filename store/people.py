"""Logins: the agents' own, and the first owners. For the owner of the database, at installation."""

import re
import secrets
from urllib.parse import quote, urlsplit, urlunsplit

from store import scram
from store.db import Db

AGENT_LOGIN = re.compile(r"iot_agent_[a-z0-9_]{1,40}")
PERSON_LOGIN = re.compile(r"iot_u_[a-z0-9_]{1,40}")
HOME = "select t.slug from iot.logins l join iot.tenants t on t.tenant_id = l.home_tenant_id where l.login = $1"
MANAGED = """
select exists (select from pg_auth_members
               where roleid = $1::regrole and member = 'iot_rolemgr'::regrole and admin_option)"""
EXISTS = "select exists (select from pg_roles where rolname = $1)"
PUT_LOGIN = """
insert into iot.logins (login, home_tenant_id, name)
select $1, tenant_id, substr($1, 7) from iot.tenants where slug = $2
on conflict (login) do update set disabled = false"""
PUT_MEMBER = """
insert into iot.members (tenant_id, login, role)
select tenant_id, $1, 'owner' from iot.tenants where slug = $2
on conflict (tenant_id, login) do update set role = excluded.role"""


async def put_agent(db: Db, login: str) -> str:
    """Create an agent's login, or give it a new password; returns the password, which is stored nowhere."""
    if not AGENT_LOGIN.fullmatch(login):
        raise ValueError(f"an agent's login is named iot_agent_WORD, not {login}")
    password = await _put_role(db, login, connections=20)
    await db.execute(f"grant iot_agent to {login}")
    return password


async def put_owner(db: Db, login: str, tenant: str) -> str:
    """Create an owner of a tenant, or give one a new password; returns it. Tenant "platform" sees all tenants."""
    if not PERSON_LOGIN.fullmatch(login):
        raise ValueError(f"a person's login is named iot_u_WORD, not {login}")
    async with db.transaction() as same:  # a password that was not returned must not be in force
        if not await same.value("select exists (select from iot.tenants where slug = $1)", tenant):
            raise ValueError(f"there is no tenant {tenant}")
        home = await same.value(HOME, login)
        if home is not None and home != tenant and tenant == "platform":
            raise ValueError(f"{login} is at home in {home}: people of the service have a login of their own")
        password = await _put_role(same, login, connections=4)
        await same.execute(PUT_LOGIN, login, tenant)
        await same.execute(PUT_MEMBER, login, tenant)
        if not await same.value(MANAGED, login):
            version = int(str(await same.value("select current_setting('server_version_num')")))
            options = "admin true, inherit true, set false" if version >= 160_000 else "admin option"
            await same.execute(f"grant {login} to iot_rolemgr with {options}")  # so that owners can change it later
        await same.execute("select iot.regroup($1)", login)
    return password


def login_url(admin_url: str, login: str, password: str) -> str:
    """The same server and database as admin_url, for another login. Keeps a pooler's user suffix (`.project`)."""
    parts = urlsplit(admin_url)
    _, dot, project = (parts.username or "").partition(".")
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{login}{dot}{project}:{quote(password, safe='')}@{address}"))


async def _put_role(db: Db, login: str, connections: int) -> str:
    password = secrets.token_urlsafe(32)
    stored = scram.verifier(password, secrets.token_bytes(16))
    verb = "alter" if await db.value(EXISTS, login) else "create"
    # login matches [a-z0-9_]+ and stored is base64 with $ and :, so neither needs quoting
    await db.execute(f"{verb} role {login} login connection limit {connections} password '{stored}'")
    return password
