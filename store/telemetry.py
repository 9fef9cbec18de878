"""public.telemetry: the one INSERT of the hot path, and what people read of it."""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from store.db import Db

# One round trip. The rollup sees only what was inserted, so it is exact.
# DO NOTHING, never DO UPDATE: two equal keys in one batch would fail with 21000.
INSERT = """
with stored as (
  insert into public.telemetry
    (tenant_id, bucket, msg_hash, ts, device_id, topic, qos, payload, payload_raw)
  select tenant_id, to_timestamp(bucket), msg_hash, to_timestamp(ts), device_id, topic, qos, payload::jsonb, payload_raw
  from unnest($1::text::int[], $2::text::float8[], $3::text::bigint[], $4::text::float8[], $5::text::bigint[],
              $6::text[], $7::text::smallint[], $8::text[], $9::bytea[])
    as t(tenant_id, bucket, msg_hash, ts, device_id, topic, qos, payload, payload_raw)
  on conflict do nothing
  returning tenant_id),
counted as (
  insert into iot.ingest_minute (tenant_id, minute, agent_id, inserted, duplicates)
  select tenant_id, date_trunc('minute', now()), $12, coalesce(inserted, 0), received - coalesce(inserted, 0)
  from unnest($10::int[], $11::bigint[]) as r(tenant_id, received)
  left join (select tenant_id, count(*) as inserted from stored group by 1) s using (tenant_id)
  on conflict (tenant_id, minute, agent_id) do update
    set inserted = ingest_minute.inserted + excluded.inserted,
        duplicates = ingest_minute.duplicates + excluded.duplicates)
select count(*) from stored"""

COUNT_DUPLICATES = """
insert into iot.ingest_minute (tenant_id, minute, agent_id, duplicates)
select tenant_id, date_trunc('minute', now()), $2, count(*) from unnest($1::int[]) as t(tenant_id) group by 1
on conflict (tenant_id, minute, agent_id) do update set duplicates = ingest_minute.duplicates + excluded.duplicates"""

# LIMIT 1 keeps the planner from turning the probes into a scan of whole partitions.
IN_BUCKETS = """
select s.tenant_id, s.msg_hash
from unnest($1::int[], $2::timestamptz[], $3::bigint[]) as s(tenant_id, bucket, msg_hash)
cross join lateral (
  select from public.telemetry t
  where t.tenant_id = s.tenant_id and t.bucket = s.bucket and t.msg_hash = s.msg_hash limit 1) found"""

# Walks from one existing bucket of a tenant to the next, so that a long range with few buckets costs little, then
# probes each key in them.
IN_RANGE = """
with recursive walk(tenant_id, bucket) as (
  select w.tenant_id, (select min(t.bucket) from public.telemetry t
                       where t.tenant_id = w.tenant_id and t.bucket >= $3 and t.bucket <= $4)
  from (select distinct unnest($1::int[]) as tenant_id) w
  union all
  select w.tenant_id, (select min(t.bucket) from public.telemetry t
                       where t.tenant_id = w.tenant_id and t.bucket > w.bucket and t.bucket <= $4)
  from walk w where w.bucket is not null)
select s.tenant_id, s.msg_hash
from unnest($1::int[], $2::bigint[]) as s(tenant_id, msg_hash)
where exists (
  select from walk w cross join lateral (
    select from public.telemetry t
    where t.tenant_id = w.tenant_id and t.bucket = w.bucket and t.msg_hash = s.msg_hash limit 1) found
  where w.tenant_id = s.tenant_id and w.bucket is not null)"""

INSERT_EACH = "select inserted, refused, states, messages from iot.insert_each($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"

# Statements of a process that was killed can still be running and commit later, unseen by our own reads.
END_FORMER = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
where usename = session_user and application_name like $1 || '%' and application_name <> $2"""

HOLDS = "select exists (select from public.telemetry where tenant_id = $1 and bucket = any($2) and msg_hash = $3)"

COPIES = """
select count(*) from public.telemetry t
join iot.tenants n on n.tenant_id = t.tenant_id
join iot.devices d on d.tenant_id = t.tenant_id and d.device_id = t.device_id
where n.slug = $1 and d.name = $2 and t.msg_hash = $3 and t.ts between $4 and $5
  and t.bucket between $4::timestamptz - interval '1 day' and $5::timestamptz + interval '1 hour'"""

# Takes no lock and writes nothing, but fails where an INSERT would: on a standby, read-only, without the right.
PROBE = "insert into public.telemetry select * from public.telemetry where false"

# Tenant by tenant along the key: no index has the buckets of all tenants in one order.
NEWEST = """
select t.ts, t.tenant, coalesce(d.name, '?') as device, t.topic,
       coalesce(left(t.payload::text, 200), octet_length(t.payload_raw) || ' bytes, raw') as payload
from (select n.slug as tenant, r.*
      from iot.tenants n
      cross join lateral (
        select * from public.telemetry x
        where x.tenant_id = n.tenant_id
          and x.bucket > now() - interval '1 hour' and x.bucket <= now() + interval '1 hour'
        order by x.bucket desc limit $1) r
      order by r.bucket desc limit $1) t
left join iot.devices d on d.tenant_id = t.tenant_id and d.device_id = t.device_id
order by t.ts desc"""


class Reading(NamedTuple):
    """One message that is fit to be stored. A NamedTuple, so that zip(*readings) gives the columns.

    tenant_id, bucket and msg_hash are its identity. ts is seconds since 1970. Exactly one of payload (JSON text) and
    payload_raw is set. sequenced is not stored: its bucket is a whole day, so the day before must
    be looked at too.
    """

    tenant_id: int
    bucket: datetime
    msg_hash: int
    ts: float
    device_id: int
    topic: str
    qos: int
    payload: str | None
    payload_raw: bytes | None
    sequenced: bool


@dataclass(frozen=True, slots=True)
class NewestRow:
    ts: datetime
    tenant: str
    device: str
    topic: str
    payload: str


async def insert(db: Db, readings: Sequence[Reading], agent_id: str) -> int:
    """Store a batch; returns how many rows are new. The others were there already.

    Raises:
        Rejected: at least one reading can never be stored; nothing was.
        NoPartition: a bucket is outside all partitions; nothing was stored.
        Unavailable: outcome unknown; the same call again is safe.
    """
    columns = list(zip(*readings, strict=True))
    received = Counter(columns[0])
    tenants, buckets, hashes, stamps, devices, topics, levels, payloads, raw, _ = columns
    inserted = await db.value(
        INSERT,
        _literal(tenants),
        _literal(_seconds(buckets)),
        _literal(hashes),
        _literal(stamps),
        _literal(devices),
        topics,
        _literal(levels),
        payloads,
        raw if any(raw) else [],  # unnest fills up with NULL
        list(received),
        list(received.values()),
        agent_id,
    )
    assert isinstance(inserted, int)
    return inserted


def _literal(numbers: Iterable[float]) -> str:
    """An array in PostgreSQL's text form. asyncpg examines each element of an array of numbers, which costs more
    than everything else it does for a row."""
    return "{" + ",".join(map(str, numbers)) + "}"


def _seconds(moments: Sequence[datetime]) -> list[float]:
    """Seconds since 1970; a batch has few buckets, so each is converted once."""
    known = {moment: moment.timestamp() for moment in set(moments)}
    return [known[moment] for moment in moments]


async def count_duplicates(db: Db, tenant_ids: Sequence[int], agent_id: str) -> None:
    """Count duplicates that were found before the INSERT, one for each tenant_id given."""
    await db.execute(COUNT_DUPLICATES, tenant_ids, agent_id)


async def stored_in_buckets(db: Db, keys: Collection[tuple[int, datetime, int]]) -> set[tuple[int, int]]:
    """Which (tenant_id, bucket, msg_hash) are stored, as (tenant_id, msg_hash). One index probe a key."""
    if not keys:
        return set()
    rows = await db.rows(IN_BUCKETS, *zip(*keys, strict=True))
    return {(row["tenant_id"], row["msg_hash"]) for row in rows}


async def stored_between(
    db: Db, keys: Collection[tuple[int, int]], first: datetime, last: datetime
) -> set[tuple[int, int]]:
    """Which (tenant_id, msg_hash) are stored in any bucket from first to last. Cost: keys x existing buckets probes."""
    if not keys:
        return set()
    rows = await db.rows(IN_RANGE, [k[0] for k in keys], [k[1] for k in keys], first, last)
    return {(row["tenant_id"], row["msg_hash"]) for row in rows}


async def copies(db: Db, tenant: str, device: str, msg_hash: int, first: datetime, last: datetime) -> int:
    """How many rows of a device, from first to last, came of one message."""
    return int(str(await db.value(COPIES, tenant, device, msg_hash, first, last)))


@dataclass(frozen=True, slots=True)
class Refused:
    """A reading that will never be stored; index is its place in the batch, from 0."""

    index: int
    sqlstate: str
    message: str


async def insert_each(db: Db, readings: Sequence[Reading], agent_id: str) -> tuple[int, list[Refused]]:
    """Store what can be stored of a refused batch; returns how many rows are new, and what was refused.

    Slower than insert(), and still one round trip: a device that sends nothing but poison holds up nobody.
    Raises NoPartition and Unavailable as insert() does.
    """
    tenants, buckets, hashes, stamps, *others, _ = zip(*readings, strict=True)
    moments = [datetime.fromtimestamp(ts, UTC) for ts in stamps]
    row = await db.row(INSERT_EACH, tenants, buckets, hashes, moments, *others, agent_id)
    assert row is not None
    refused = zip(row["refused"], row["states"], row["messages"], strict=True)
    return row["inserted"], [Refused(number - 1, state, message) for number, state, message in refused]


async def end_former_sessions(db: Db, prefix: str, own: str) -> None:
    """End sessions of our login whose application name starts with prefix and is not our own, and wait until gone."""
    while await db.value(END_FORMER, prefix, own):
        await asyncio.sleep(0.05)


async def probe(db: Db) -> None:
    """Whether an INSERT would be taken. Raises Unavailable or Misconfigured when not."""
    await db.execute(PROBE)


async def holds(db: Db, tenant_id: int, buckets: Sequence[datetime], msg_hash: int) -> bool:
    """Whether one message is stored in one of the buckets."""
    return bool(await db.value(HOLDS, tenant_id, buckets, msg_hash))


async def newest(db: Db, limit: int) -> list[NewestRow]:
    """The latest rows the session may see, newest first. Looks at the last hour only, by index."""
    return [NewestRow(**row) for row in await db.rows(NEWEST, limit)]
