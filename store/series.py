"""Values that rules ask the database for: numbers in payloads, silence of devices, rates, the database itself.

Every query goes by an index and reads what it returns, whatever the size of the table. Times are seconds since 1970.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from store.db import Db

# Device by device along (tenant_id, device_id, ts): never a scan of partitions. The bucket may be a day from ts, so the
# range of buckets is wider; it only serves to leave partitions out. $1 from, $2 to, $3 path, $4 tenant or null, $5 raw.
TELEMETRY = """
select n.slug as tenant, d.name as device, s.count, s.total, s.low, s.high, s.newest[1] as newest,
       extract(epoch from s.newest_at)::float8 as newest_at, s.numbers
from iot.devices d
join iot.tenants n using (tenant_id)
cross join lateral (
  select count(v) as count, sum(v) as total, min(v) as low, max(v) as high, max(ts) as newest_at,
         (array_agg(v order by ts desc))[1:1] as newest, case when $5 then array_agg(v) end as numbers
  from (select t.ts, case when jsonb_typeof(t.payload #> $3::text[]) = 'number'
                          then case when abs((t.payload #> $3::text[])::numeric) < 1e300
                                    then (t.payload #> $3::text[])::numeric::float8 end end as v
        from public.telemetry t
        where t.tenant_id = d.tenant_id and t.device_id = d.device_id
          and t.ts > to_timestamp($1) and t.ts <= to_timestamp($2)
          and t.bucket > to_timestamp($1) - interval '1 day' and t.bucket <= to_timestamp($2) + interval '1 day') x
  where v is not null) s
where not d.disabled and not n.disabled and ($4::text is null or n.slug = $4) and s.count > 0"""

# A device that has sent nothing for days counts from then, or from its creation. $1 now, $2 days, $3 tenant or null.
LAST_SEEN = """
select n.slug as tenant, d.name as device,
       extract(epoch from coalesce(s.ts, greatest(d.created_at, to_timestamp($1) - make_interval(days => $2))))::float8
         as newest_at
from iot.devices d
join iot.tenants n using (tenant_id)
left join lateral (
  select t.ts from public.telemetry t
  where t.tenant_id = d.tenant_id and t.device_id = d.device_id and t.ts <= to_timestamp($1::float8 + $4::float8)
    and t.bucket > to_timestamp($1) - make_interval(days => $2) and t.bucket <= to_timestamp($1) + interval '1 day'
  order by t.ts desc limit 1) s on true
where not d.disabled and not n.disabled and d.tenant_id > 0 and ($3::text is null or n.slug = $3)"""

AGENTS = """
select agent_id as agent, extract(epoch from seen_at)::float8 as newest_at from iot.agents
where seen_at > to_timestamp($1) - interval '7 days'"""

# To the nearest minute, because that is how it is counted.
INGESTED = """
select n.slug as tenant, sum(m.inserted)::float8 as inserted, sum(m.duplicates)::float8 as duplicates,
       sum(m.dead_letters)::float8 as dead_letters
from iot.ingest_minute m join iot.tenants n using (tenant_id)
where m.minute > to_timestamp($1) - interval '30 seconds' and m.minute <= to_timestamp($2)
group by n.slug"""

# Of other people's sessions an agent sees little more than that they are there, and in which database.
DATABASE = """
select pg_database_size(current_database())::float8 as size_bytes,
       100.0 * (select count(*) from pg_stat_activity where datid is not null and usesysid is not null)
         / current_setting('max_connections')::float8 as connections_percent"""

OVERDUE = "select policy, overdue from iot.rotations_overdue()"

STORED = """
select labels, count(*) as count, sum(value) as total, min(value) as low, max(value) as high,
       (array_agg(value order by at desc))[1] as newest, extract(epoch from max(at))::float8 as newest_at,
       array_agg(value) as numbers
from iot.metric_samples where metric = $1 and at > to_timestamp($2) and at <= to_timestamp($3) group by labels"""

PUT_STORED = """
insert into iot.metric_samples (metric, labels, at, value, agent_id)
select metric, labels::jsonb, to_timestamp(at), value, $5
from unnest($1::text[], $2::text[], $3::float8[], $4::float8[]) as x(metric, labels, at, value)
on conflict (metric, labels, at) do update set value = excluded.value"""


@dataclass(frozen=True, slots=True)
class Window:
    """The values of one series within a window. numbers: all of them, if they were asked for."""

    labels: dict[str, str]
    count: int
    total: float
    low: float
    high: float
    newest: float
    newest_at: float
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """A measurement from outside, with the time it is about."""

    metric: str
    labels: dict[str, str]
    at: float
    value: float


async def telemetry(
    db: Db, path: Sequence[str], since: float, until: float, tenant: str | None, numbers: bool
) -> list[Window]:
    """Numbers in payloads at a JSON path, device by device; what is no number is left out."""
    rows = await db.rows(TELEMETRY, since, until, list(path), tenant, numbers)
    return [
        Window({"tenant": r["tenant"], "device": r["device"]}, r["count"], r["total"], r["low"], r["high"], r["newest"],
               r["newest_at"], tuple(r["numbers"] or ()))
        for r in rows
    ]  # fmt: skip


async def last_seen(
    db: Db, now: float, days: int, tenant: str | None, ahead: float
) -> list[tuple[dict[str, str], float]]:
    """(labels, time of the newest row) of every enabled device; one without rows counts from its creation.

    ahead: seconds by which a row may be in the future, because a device's clock is.
    """
    rows = await db.rows(LAST_SEEN, now, days, tenant, ahead)
    return [({"tenant": r["tenant"], "device": r["device"]}, r["newest_at"]) for r in rows]


async def agents_seen(db: Db, now: float) -> list[tuple[dict[str, str], float]]:
    """(labels, time of the newest heartbeat) of agents that were there within a week."""
    return [({"agent": r["agent"]}, r["newest_at"]) for r in await db.rows(AGENTS, now)]


async def ingested(db: Db, since: float, until: float) -> list[tuple[dict[str, str], dict[str, float]]]:
    """(labels, counts by name) of each tenant with traffic."""
    names = ("inserted", "duplicates", "dead_letters")
    return [({"tenant": r["tenant"]}, {n: r[n] for n in names}) for r in await db.rows(INGESTED, since, until)]


async def database(db: Db) -> dict[str, float]:
    """size_bytes and connections_percent, now."""
    row = await db.row(DATABASE)
    assert row is not None
    return {key: float(value) for key, value in row.items()}


async def overdue(db: Db) -> list[tuple[dict[str, str], float]]:
    """(labels, how many are past their date) of each rotation policy."""
    return [({"policy": r["policy"]}, float(r["overdue"])) for r in await db.rows(OVERDUE)]


async def stored(db: Db, metric: str, since: float, until: float) -> list[Window]:
    """Measurements from outside."""
    return [
        Window(**dict(row) | {"labels": orjson.loads(row["labels"]), "numbers": tuple(row["numbers"])})
        for row in await db.rows(STORED, metric, since, until)
    ]


async def put_stored(db: Db, samples: Sequence[Stored], agent_id: str) -> None:
    """Keep measurements; one of the same time replaces the older one, as bills are corrected."""
    await db.execute(
        PUT_STORED, [s.metric for s in samples], [orjson.dumps(s.labels).decode() for s in samples],
        [s.at for s in samples], [s.value for s in samples], agent_id,
    )  # fmt: skip
