"""What goes on in the database, as far as this login may see it: for people who look for the cause of an incident."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from store.db import Db

WAITING = """
select distinct pid, pg_blocking_pids(pid) as blocked_by from pg_catalog.pg_locks
where not granted order by pid limit 50"""
CONNECTIONS = """
select coalesce(usename, '-')::text as login, coalesce(application_name, '') as application, count(*) as sessions
from pg_catalog.pg_stat_activity where backend_type = 'client backend' or backend_type is null
group by 1, 2 order by 3 desc limit 20"""
MOST = "select current_setting('max_connections')::int"
SIZE = "select pg_database_size(current_database())"
NEWEST = """
select case when max(m.minute) is not null  -- greatest() takes no notice of a null
       then greatest(0, extract(epoch from now() - max(m.minute) - interval '1 minute'))::float8 end
from iot.ingest_minute m join iot.tenants t using (tenant_id)
where m.minute > now() - interval '1 day' and m.inserted > 0 and m.tenant_id > 0
  and ($1::text is null or t.slug = $1)"""
LETTERS = """
select reason, sum(times)::bigint as count, max(topic) as example from iot.dead_letters
where last_at > now() - $1::interval and tenant_id > 0 and state = 'open' group by reason order by 2 desc limit 10"""
BILLS = """
select to_char(at at time zone 'UTC', 'YYYY-MM-DD') as day, sum(value)::float8 as amount from iot.metric_samples
where metric = 'azure.cost.daily' and at > now() - interval '30 days' group by 1 order by 1"""

SAMPLES = "select at, value from iot.metric_samples where metric = $1 and at > now() - $2::interval order by at"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A session that waits for a lock, and those that it waits for."""

    pid: int
    blocked_by: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """Sessions of one login and program."""

    login: str
    application: str
    sessions: int


@dataclass(frozen=True, slots=True)
class Connections:
    """used of most; held: by whom, the most first."""

    used: int
    most: int
    held: tuple[Held, ...]


@dataclass(frozen=True, slots=True)
class Letters:
    """Open dead letters of one reason. example: a topic."""

    reason: str
    count: int
    example: str


async def waiting(db: Db) -> list[Waiting]:
    return [Waiting(row["pid"], tuple(row["blocked_by"])) for row in await db.rows(WAITING)]


async def connections(db: Db) -> Connections:
    held = tuple(Held(**row) for row in await db.rows(CONNECTIONS))
    return Connections(sum(one.sessions for one in held), int(str(await db.value(MOST))), held)


async def size(db: Db) -> int:
    """Bytes."""
    return int(str(await db.value(SIZE)))


async def newest_age(db: Db, tenant: str | None) -> float | None:
    """Seconds since the end of the last minute in which devices' messages became rows, 0 while it is that minute;
    None without one within a day."""
    found = await db.value(NEWEST, tenant)
    return None if found is None else float(str(found))


async def letters(db: Db, within: timedelta) -> list[Letters]:
    return [Letters(**row) for row in await db.rows(LETTERS, within)]


async def bills(db: Db) -> list[tuple[str, float]]:
    """(day, amount), the oldest first."""
    return [(row["day"], row["amount"]) for row in await db.rows(BILLS)]


async def newest_samples(db: Db, metric: str, within: timedelta) -> list[tuple[datetime, float]]:
    """(time, value) of a metric, the oldest first."""
    return [(row["at"], row["value"]) for row in await db.rows(SAMPLES, metric, within)]
