"""Device credentials and topic grants as people see and change them. No plaintext password comes here."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from store.db import Db
from store.mosquitto import SALT_BYTES, password_hash

CREATE = "select iot.device_create($1, $2, $3)"
ROTATE = "select * from iot.credential_rotate($1, $2, $3, $4, $5)"
REVOKE = "select iot.credential_revoke($1, $2, $3, $4)"
SET_DISABLED = "select iot.device_set_disabled($1, $2, $3)"
ROLLBACK = "select * from iot.credentials_rollback($1, $2)"
CONFIRM = "select iot.credentials_confirm($1)"
GRANT = "select iot.acl_grant($1, $2, $3::iot.acl_access, $4)"
WITHDRAW = "select iot.acl_withdraw($1, $2, $3)"

DEVICES = """
select t.slug as tenant, d.name as device, d.disabled or t.disabled as disabled, d.created_at,
       c.slot, c.username, c.created_at as issued_at, c.ends_at, c.first_login_at, c.last_login_at
from iot.devices d
join iot.tenants t using (tenant_id)
left join iot.credential_members m
  on m.tenant_id = d.tenant_id and m.device_id = d.device_id and m.to_generation is null
left join iot.credentials c on c.tenant_id = m.tenant_id and c.credential_id = m.credential_id
where ($1::text is null or t.slug = $1) and ($2::text is null or d.name = $2)
order by t.slug, d.name, c.credential_id"""

SETS = """
select s.generation, t.slug as tenant, s.created_at, s.created_by, s.reason, s.confirmed_by
from iot.credential_sets s join iot.tenants t using (tenant_id)
where $1::text is null or t.slug = $1 order by s.generation desc limit $2"""

CHANGES = """
select m.from_generation > $1 as added, c.username, s.generation, s.reason
from iot.credential_members m
join iot.credentials c using (tenant_id, credential_id)
join iot.credential_sets s on s.generation = case when m.from_generation > $1 then m.from_generation
                                                  else m.to_generation end
where (m.from_generation > $1 and m.to_generation is null) or (m.from_generation <= $1 and m.to_generation > $1)
order by s.generation, c.username"""

DUE = """
select policy, count(*) as subjects, count(*) filter (where due_at <= now()) as overdue,
       min(due_at) as next_at, (array_agg(subject order by due_at))[1] as first
from iot.rotation_due group by policy order by min(due_at)"""


@dataclass(frozen=True, slots=True)
class Secret:
    """A new password and what may be stored of it."""

    password: str = field(repr=False)
    stored: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credential:
    """One live credential. ends_at: deadline of the old one during a rotation; logins are None if never seen."""

    slot: str
    username: str
    issued_at: datetime
    ends_at: datetime | None
    first_login_at: datetime | None
    last_login_at: datetime | None


@dataclass(frozen=True, slots=True)
class Device:
    """A device with its live credentials, the older one first."""

    tenant: str
    device: str
    disabled: bool
    created_at: datetime
    credentials: tuple[Credential, ...]

    @property
    def moving(self) -> bool:
        """It still logs in with an old credential although it has a new one."""
        return len(self.credentials) > 1 and self.credentials[-1].first_login_at is None


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation made. old_ends_at is None when there was no credential or it ended at once."""

    username: str
    generation: int
    old_ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a rollback made: credentials back, ended, and left out because they are revoked or their device disabled."""

    generation: int
    restored: int
    ended: int
    left_out: int


@dataclass(frozen=True, slots=True)
class CredentialSet:
    generation: int
    tenant: str
    created_at: datetime
    created_by: str
    reason: str
    confirmed_by: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """A credential that the newest set has and an older one had not, or the other way round."""

    added: bool
    username: str
    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Due:
    """A rotation policy: how many subjects it has, how many are overdue, and the first of them."""

    policy: str
    subjects: int
    overdue: int
    next_at: datetime
    first: str


def new_secret() -> Secret:
    """256 random bits, and their hash."""
    password = secrets.token_urlsafe(32)
    return Secret(password, password_hash(password, secrets.token_bytes(SALT_BYTES)))


async def create(db: Db, tenant: str, hashes: Mapping[str, str]) -> int:
    """Create devices (name to password hash) in one set, all or none; returns its generation.

    Raises Conflict when one exists, Denied when the login does not own the tenant, Rejected for a malformed name.
    """
    return _int(await db.value(CREATE, tenant, list(hashes), list(hashes.values())))


async def rotate(db: Db, tenant: str, device: str, stored: str, overlap: timedelta, keep_username: bool) -> Rotation:
    """Give a device a new credential; the old one ends after its first login, or after overlap. Raises Conflict."""
    row = await db.row(ROTATE, tenant, device, stored, overlap, keep_username)
    assert row is not None
    return Rotation(**row)


async def revoke(db: Db, tenant: str, device: str, reason: str, slot: str | None) -> int:
    """End a device's credentials for ever (slot None: all it ever had); returns the generation. Raises Conflict."""
    return _int(await db.value(REVOKE, tenant, device, reason, slot))


async def set_disabled(db: Db, tenant: str, device: str, disabled: bool) -> int:
    return _int(await db.value(SET_DISABLED, tenant, device, disabled))


async def rollback(db: Db, tenant: str, generation: int) -> Rollback:
    """A new set in which the tenant has what it had in that one, minus what was revoked. Raises Conflict."""
    row = await db.row(ROLLBACK, tenant, generation)
    assert row is not None
    return Rollback(**row)


async def confirm(db: Db, generation: int) -> None:
    """Allow agents to apply a set although it takes most devices away. For owners of the service."""
    await db.execute(CONFIRM, generation)


async def grant(db: Db, tenant: str, device: str, access: str, topic_filter: str) -> int:
    """Let a device read, write or both beyond its own subtree; returns the generation. Raises Conflict."""
    return _int(await db.value(GRANT, tenant, device, access, topic_filter))


async def withdraw(db: Db, tenant: str, device: str, topic_filter: str) -> int:
    return _int(await db.value(WITHDRAW, tenant, device, topic_filter))


async def devices(db: Db, tenant: str | None = None, device: str | None = None) -> list[Device]:
    """Devices of the tenants this login owns, by name."""
    found: dict[tuple[str, str], Device] = {}
    credentials: dict[tuple[str, str], list[Credential]] = {}
    for row in await db.rows(DEVICES, tenant, device):
        key = (row["tenant"], row["device"])
        found.setdefault(key, Device(*key, row["disabled"], row["created_at"], ()))
        if row["username"] is not None:
            names = Credential.__dataclass_fields__
            credentials.setdefault(key, []).append(Credential(**{name: row[name] for name in names}))
    return [
        Device(d.tenant, d.device, d.disabled, d.created_at, tuple(credentials.get(key, ())))
        for key, d in found.items()
    ]


async def sets(db: Db, tenant: str | None, limit: int) -> list[CredentialSet]:
    """The newest sets first."""
    return [CredentialSet(**row) for row in await db.rows(SETS, tenant, limit)]


async def changes_since(db: Db, generation: int) -> list[Change]:
    """What the newest set has that this one had not, and what it lacks."""
    return [Change(**row) for row in await db.rows(CHANGES, generation)]


async def due(db: Db) -> list[Due]:
    """Every rotation policy that has subjects, the most urgent first."""
    return [Due(**row) for row in await db.rows(DUE)]


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
