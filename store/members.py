"""People of tenants, as owners see and change them. Passwords are made here; the database gets a verifier only."""

import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from store import scram
from store.db import Db

LOGIN_PREFIX = "iot_u_"
PLATFORM = "platform"

ME = """
select l.login, l.name, t.slug as tenant, m.role::text
from iot.logins l left join iot.members m using (login) left join iot.tenants t using (tenant_id)
where l.login = session_user"""
PRESENT = "select iot.present()"
TENANTS = "select slug from iot.tenants where tenant_id > 0 and not disabled order by slug"
PEOPLE = """
select l.login, l.name, h.slug as home, l.disabled, l.created_at, l.created_by, l.seen_at,
       t.slug as tenant, m.role::text
from iot.logins l
join iot.members m using (login)
join iot.tenants t on t.tenant_id = m.tenant_id
left join iot.tenants h on h.tenant_id = l.home_tenant_id
order by l.login, t.slug"""
SESSIONS = "select login, application, client, since from iot.people_sessions() order by since"
HISTORY = """
select at, actor, action, subject from iot.audit_log
where actor = $1 or subject = $1 order by at desc limit $2"""
CREATE = "select iot.user_create($1, $2, $3, $4, $5::iot.member_role)"
SET_ROLE = "select iot.user_set_role($1, $2, $3::iot.member_role)"
RESET = "select iot.user_reset($1, $2)"
SET_DISABLED = "select iot.user_set_disabled($1, $2)"
REMOVE = "select iot.user_remove($1, $2)"
CUT_STUCK = "select iot.cut_stuck_people()"
END_SESSIONS = "select iot.user_end_sessions($1)"


class Role(StrEnum):
    """What a person may do in a tenant; each includes the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    OWNER = "owner"

    def includes(self, other: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True)
class Me:
    """The person of this session. roles: tenant to role; the tenant "platform" stands for all."""

    login: str
    name: str
    roles: dict[str, Role]

    def may(self, role: Role, tenant: str | None = None) -> bool:
        """At least this role in a tenant; without one, in any."""
        held = self.roles.values() if tenant is None else [self.roles.get(tenant), self.roles.get(PLATFORM)]
        return any(one is not None and one.includes(role) for one in held)

    @property
    def role(self) -> Role | None:
        """The highest one held anywhere."""
        return next((role for role in reversed(Role) if self.may(role)), None)


@dataclass(frozen=True, slots=True)
class Person:
    """roles: tenant to role, of those tenants that this session may see. home: None when it may not."""

    login: str
    name: str
    home: str | None
    disabled: bool
    created_at: datetime
    created_by: str
    seen_at: datetime | None
    roles: dict[str, Role]


@dataclass(frozen=True, slots=True)
class Session:
    """A connection that is open now. client: its address, or "local"."""

    login: str
    application: str
    client: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Deed:
    """A line of the audit log."""

    at: datetime
    actor: str
    action: str
    subject: str


async def me(db: Db) -> Me:
    """Who we are to the database. A login that is no person of ours, such as an administrator, has no role."""
    rows = await db.rows(ME)
    if not rows:
        return Me(str(await db.value("select session_user::text")), "", {})
    roles = {row["tenant"]: Role(row["role"]) for row in rows if row["tenant"] is not None}
    return Me(rows[0]["login"], rows[0]["name"], roles)


async def present(db: Db) -> None:
    """Note that the person of this session is here."""
    await db.execute(PRESENT)


async def tenants(db: Db) -> list[str]:
    """Slugs of the tenants this session may see, without the service itself."""
    return [row["slug"] for row in await db.rows(TENANTS)]


async def people(db: Db) -> list[Person]:
    """Those of the tenants this session may see."""
    found: dict[str, Person] = {}
    for row in await db.rows(PEOPLE):
        person = found.setdefault(
            row["login"],
            Person(row["login"], row["name"], row["home"], row["disabled"], row["created_at"], row["created_by"],
                   row["seen_at"], {}),
        )  # fmt: skip
        person.roles[row["tenant"]] = Role(row["role"])
    return list(found.values())


async def sessions(db: Db) -> list[Session]:
    """Open sessions of the people whose home is a tenant of ours. Raises Denied unless owner."""
    return [Session(**row) for row in await db.rows(SESSIONS)]


async def history(db: Db, login: str, limit: int) -> list[Deed]:
    """What a person did, and what was done to the login; the newest first. Raises Denied unless owner."""
    return [Deed(**row) for row in await db.rows(HISTORY, login, limit)]


async def create(db: Db, tenant: str, login: str, name: str, role: Role) -> str:
    """A new person; returns the password, which is stored nowhere. Raises Conflict, Denied."""
    password = new_password()
    await db.execute(CREATE, tenant, login, name, verifier(password), role.value)
    return password


async def set_role(db: Db, tenant: str, login: str, role: Role) -> None:
    """Change a role, or let a person of another tenant in. Raises Conflict for the last owner."""
    await db.execute(SET_ROLE, tenant, login, role.value)


async def reset(db: Db, login: str) -> str:
    """A new password for a person whose home is ours; returns it."""
    password = new_password()
    await db.execute(RESET, login, verifier(password))
    return password


async def set_disabled(db: Db, login: str, disabled: bool) -> int:
    """Shut a person out, or let back in; returns how many sessions that ended. Raises Conflict for the last owner."""
    ended = int(str(await db.value(SET_DISABLED, login, disabled)))
    if disabled:  # who logged in between the cut and the commit
        ended += int(str(await db.value(END_SESSIONS, login)))
    return ended


async def remove(db: Db, tenant: str, login: str) -> None:
    """Take a person out of a tenant; out of the home tenant, the login ends. Raises Conflict for the last owner."""
    await db.execute(REMOVE, tenant, login)


async def end_sessions(db: Db, login: str) -> int:
    """End a person's open sessions, but not the one that asks; returns how many."""
    return int(str(await db.value(END_SESSIONS, login)))


async def change_password(db: Db, password: str) -> None:
    """The session's own password. Raises ValueError when it is not printable ASCII."""
    # session_user is an identifier, and a verifier is base64 with $ and :, so neither needs quoting
    await db.execute(f"alter role session_user password '{verifier(password)}'")


def new_password() -> str:
    """192 random bits, of letters, digits, - and _."""
    return secrets.token_urlsafe(24)


def verifier(password: str) -> str:
    return scram.verifier(password, secrets.token_bytes(16))


async def cut_stuck(db: Db) -> int:
    """For agents: end sessions of people that hold a transaction open; returns how many."""
    return int(str(await db.value(CUT_STUCK)))
