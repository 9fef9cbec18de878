"""Credential sets on their way into brokers, and what each broker has."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from store.db import Db

CHANNEL = "iot_credentials"
HEAD = "select generation from iot.credential_head"
DESIRED = """
select (select generation from iot.credential_head) as generation,
       (select s.confirmed_by is not null from iot.credential_sets s join iot.credential_head h using (generation))
         as confirmed,
       array(select c.username || ':' || c.password_hash
             from iot.credential_members m
             join iot.credentials c using (tenant_id, credential_id)
             join iot.tenants t using (tenant_id)
             where m.to_generation is null and not t.disabled and m.tenant_id >= $1
             order by c.username collate "C") as lines"""
GRANTS = """
select c.username, g.access::text as access, g.topic_filter
from iot.acl_grants g
join iot.credential_members m on m.tenant_id = g.tenant_id and m.device_id = g.device_id and m.to_generation is null
join iot.credentials c on c.tenant_id = m.tenant_id and c.credential_id = m.credential_id
where g.to_generation is null order by c.username collate "C", g.topic_filter"""
CONFIRMED = "select confirmed_by is not null from iot.credential_sets where generation = $1"
REMOVED = """
select distinct c.username from iot.credential_members m join iot.credentials c using (tenant_id, credential_id)
where m.to_generation > $1 and m.from_generation <= $1
  and not exists (select from iot.credential_members n join iot.credentials nc using (tenant_id, credential_id)
                  where n.tenant_id = m.tenant_id and n.device_id = m.device_id and n.slot = m.slot
                    and n.to_generation is null)
limit $2"""
PUT = """
insert into iot.brokers as b (broker_id, generation, state, detail, entries, checked_at, version, identity_since,
                              certificate_until, ca_until)
values ($1, $2, $3, $4, $5, now(), $6, $7, $8, $9)
on conflict (broker_id) do update set generation = excluded.generation, state = excluded.state,
  detail = excluded.detail, entries = excluded.entries, checked_at = excluded.checked_at, version = excluded.version,
  identity_since = excluded.identity_since, certificate_until = excluded.certificate_until,
  ca_until = excluded.ca_until"""
LOG = """
insert into iot.broker_log (broker_id, generation, outcome, detail, entries, took_ms)
values ($1, $2, $3, $4, $5, $6)"""
ALL = """
select broker_id, generation, state, detail, entries, version, identity_since, certificate_until, ca_until,
       extract(epoch from now() - checked_at)::float8 as age_seconds,
       (select generation from iot.credential_head) as desired
from iot.brokers order by broker_id"""
APPLIED = "select generation from iot.brokers where broker_id = $1"


@dataclass(frozen=True, slots=True)
class Grant:
    """access is read, write or readwrite."""

    username: str
    access: str
    topic_filter: str


@dataclass(frozen=True, slots=True)
class Desired:
    """The newest set: lines of the password file sorted by user name, and grants. confirmed: it may remove many."""

    generation: int
    confirmed: bool
    lines: tuple[str, ...]
    grants: tuple[Grant, ...]


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker's row. generation: the newest set proved to be in force; state: applied, pending, refused, failed or
    stopped; entries: credentials of devices."""

    broker_id: str
    generation: int
    state: str
    detail: str
    entries: int
    version: str | None
    identity_since: datetime | None
    certificate_until: datetime | None
    ca_until: datetime | None


@dataclass(frozen=True, slots=True)
class BrokerRow:
    """A broker as the database knows it. desired: the newest set; age_seconds: since its agent last looked."""

    broker: Broker
    desired: int
    age_seconds: float


@dataclass(frozen=True, slots=True)
class LogEntry:
    """outcome: applied, refused, restored, stopped, drift or repaired."""

    generation: int
    outcome: str
    detail: str
    entries: int
    took_ms: float


async def head(db: Db) -> int:
    """The newest set's number; 0 when there is none yet."""
    return _int(await db.value(HEAD))


async def desired(db: Db) -> Desired:
    """Everything a broker should have, as of one moment."""
    async with db.transaction() as same:
        await same.execute("set transaction isolation level repeatable read, read only")
        # A plan kept from when the tables were small takes quadratic time; only one with an argument is made anew.
        await same.execute("set local plan_cache_mode = force_custom_plan")
        row = await same.row(DESIRED, 0)
        grants = await same.rows(GRANTS)
    assert row is not None
    return Desired(
        row["generation"], bool(row["confirmed"]), tuple(row["lines"]), tuple(Grant(**grant) for grant in grants)
    )


async def confirmed(db: Db, generation: int) -> bool:
    """Whether a set may take many devices away."""
    return bool(await db.value(CONFIRMED, generation))


async def removed_since(db: Db, generation: int, limit: int) -> list[str]:
    """User names that set had and the newest set has not, at most limit."""
    return [row["username"] for row in await db.rows(REMOVED, generation, limit)]


async def settle(db: Db) -> int:
    """End old credentials that are through: their device moved, or the deadline is over. Returns how many."""
    return _int(await db.value("select iot.credentials_settle()"))


async def note_logins(db: Db, logins: Sequence[tuple[str, int]]) -> None:
    """Note (user name, set in force) pairs that the broker reported."""
    await db.execute("select iot.credential_logins($1, $2)", [n for n, _ in logins], [g for _, g in logins])


async def put(db: Db, broker: Broker) -> None:
    """Replace a broker's row; the database's clock says when."""
    b = broker
    await db.execute(
        PUT, b.broker_id, b.generation, b.state, b.detail, b.entries, b.version, b.identity_since,
        b.certificate_until, b.ca_until,
    )  # fmt: skip


async def write_log(db: Db, broker_id: str, entry: LogEntry) -> None:
    e = entry
    await db.execute(LOG, broker_id, e.generation, e.outcome, e.detail, e.entries, e.took_ms)


async def applied(db: Db, broker_id: str) -> int:
    """The set that was last proved in force there; 0 if never."""
    found = await db.value(APPLIED, broker_id)
    return 0 if found is None else _int(found)


async def all_brokers(db: Db) -> list[BrokerRow]:
    rows = []
    for row in await db.rows(ALL):
        values = dict(row)
        desired_now, age = values.pop("desired"), values.pop("age_seconds")
        rows.append(BrokerRow(Broker(**values), desired_now, age))
    return rows


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
