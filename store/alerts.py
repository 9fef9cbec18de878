"""What evaluations leave behind: how each rule fares, which instances are open, what happened."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from store.db import Db

CHANNEL = "iot_alerts"
CLOCK = "select extract(epoch from clock_timestamp())::float8"

# Rules in which nothing is open and nothing became active: one statement for all of them.
QUIET = """
update iot.alert_runtime r
set last_slot = to_timestamp(x.slot), evaluated_at = now(), agent_id = $2, series = x.series, took_ms = x.took,
    error = null, refused = 0
from unnest($3::text[], $4::float8[], $5::int[], $6::real[]) as x(rule_key, slot, series, took)
where r.rule_key = x.rule_key and r.evaluator = $1 and r.open = 0 and r.last_slot < to_timestamp(x.slot)
returning r.rule_key"""

FIRST = """
insert into iot.alert_runtime (rule_key, evaluator, last_slot, agent_id, series, open, took_ms)
values ($1, $2, '-infinity', $3, 0, 0, 0) on conflict do nothing"""

# The row lock makes evaluations of one rule follow each other; a slot that is not newer is somebody else's.
BEGIN = """
select nullif(extract(epoch from last_slot), '-infinity')::float8 as last_slot, seen
from iot.alert_runtime where rule_key = $1 and evaluator = $2 for update"""

INSTANCES = """
select fingerprint, labels, state, extract(epoch from active_at)::float8 as active_at,
       extract(epoch from fired_at)::float8 as fired_at, extract(epoch from keep_since)::float8 as keep_since,
       owes, episode, value
from iot.alert_instances where rule_key = $1 and evaluator = $2"""

PUT_RUNTIME = """
insert into iot.alert_runtime
  (rule_key, evaluator, last_slot, agent_id, series, open, refused, took_ms, error, seen)
select rule_key, evaluator, to_timestamp(last_slot), $1, series, open, refused, took_ms, error, seen
from jsonb_to_recordset($2::jsonb) as x(rule_key text, evaluator text, last_slot float8, series int, open int,
                                        refused int, took_ms real, error text, seen jsonb)
on conflict (rule_key, evaluator) do update set last_slot = excluded.last_slot, evaluated_at = now(),
  agent_id = excluded.agent_id, series = excluded.series, open = excluded.open, refused = excluded.refused,
  took_ms = excluded.took_ms, error = excluded.error, seen = excluded.seen"""

PUT_INSTANCES = """
insert into iot.alert_instances as i
  (rule_key, evaluator, fingerprint, tenant_id, labels, state, active_at, fired_at, keep_since, owes, episode, value)
select $1, $2, x.fingerprint, coalesce(t.tenant_id, 0), x.labels, x.state, to_timestamp(x.active_at),
       to_timestamp(x.fired_at), to_timestamp(x.keep_since), x.owes, x.episode, x.value
from jsonb_to_recordset($3::jsonb) as x(fingerprint text, labels jsonb, state text, active_at float8,
       fired_at float8, keep_since float8, owes boolean, episode bigint, value float8)
left join iot.tenants t on t.slug = x.labels ->> 'tenant'
on conflict (rule_key, evaluator, fingerprint) do update
  set labels = excluded.labels, state = excluded.state, active_at = excluded.active_at, fired_at = excluded.fired_at,
      keep_since = excluded.keep_since, owes = excluded.owes, episode = excluded.episode, value = excluded.value"""

DROP_INSTANCES = """
delete from iot.alert_instances where rule_key = $1 and evaluator = $2 and fingerprint = any($3::text[])"""

HAPPENED = """
  from jsonb_to_recordset($2::jsonb) as x(event_id uuid, episode_id uuid, fingerprint text, episode bigint, kind text,
       at float8, value float8, labels jsonb, alert text, severity text, summary text, runbook text, reason text,
       repeat_seconds float8)
  left join iot.tenants t on t.slug = x.labels ->> 'tenant'"""

# An event that is there already was written by another agent, or by this one before it lost the connection.
PUT_EVENTS = f"""
with noted as (
  insert into iot.alert_events
    (event_id, rule_key, fingerprint, episode, kind, tenant_id, at, value, labels, detail, actor)
  select x.event_id, $1, x.fingerprint, x.episode, x.kind, coalesce(t.tenant_id, 0), to_timestamp(x.at), x.value,
         x.labels, coalesce(x.reason, x.summary), $3
  {HAPPENED} on conflict do nothing)
insert into iot.alert_episodes (event_id, rule_key, fingerprint, episode, tenant_id, alert, severity, labels, summary,
                                runbook, value, fired_at, repeat_seconds)
select x.episode_id, $1, x.fingerprint, x.episode, coalesce(t.tenant_id, 0), x.alert, x.severity, x.labels, x.summary,
       x.runbook, x.value, to_timestamp(x.at), x.repeat_seconds
{HAPPENED} where x.kind = 'firing' on conflict do nothing"""

END_EPISODES = """
update iot.alert_episodes e
set ended_at = to_timestamp(x.at), end_value = x.value, end_reason = x.reason, changed_at = clock_timestamp()
from jsonb_to_recordset($2::jsonb) as x(fingerprint text, episode bigint, kind text, at float8, value float8,
                                        reason text)
where x.kind = 'resolved' and e.rule_key = $1 and e.fingerprint = x.fingerprint and e.episode = x.episode
  and e.ended_at is null"""

# A raised `for` ended the former episode without a word; the new one takes over.
SUPERSEDE = """
update iot.alert_episodes e
set ended_at = to_timestamp(x.at), end_reason = 'superseded', settled = true, changed_at = clock_timestamp()
from jsonb_to_recordset($2::jsonb) as x(fingerprint text, episode bigint, kind text, at float8)
where x.kind = 'firing' and e.rule_key = $1 and e.fingerprint = x.fingerprint and e.episode < x.episode
  and e.ended_at is null"""

DROP_RUNTIME = "delete from iot.alert_runtime where rule_key = $1 and evaluator = $2"
OPEN_KEYS = """
select rule_key, evaluator from iot.alert_runtime where evaluator = any($1::text[]) and rule_key <> all($2::text[])"""
PRUNE = "select iot.prune_alert_history($1)"
NOTIFY = "select pg_notify('iot_alerts', '')"


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """A pending or firing instance. Times are seconds since 1970."""

    fingerprint: str
    labels: dict[str, str]
    state: str
    active_at: float
    fired_at: float | None
    keep_since: float | None
    owes: bool
    episode: int
    value: float | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """firing, resolved or rule_changed. episode_id names the episode; at is a slot, seconds since 1970."""

    event_id: str
    episode_id: str
    fingerprint: str
    episode: int
    kind: str
    at: float
    value: float | None
    labels: dict[str, str]
    alert: str
    severity: str
    summary: str
    runbook: str
    reason: str | None
    repeat_seconds: float | None


@dataclass(frozen=True, slots=True)
class Change:
    """What one evaluation changed. evaluator: the agent, or '' for what any agent can see."""

    rule_key: str
    evaluator: str
    instances: tuple[InstanceRow, ...]
    gone: tuple[str, ...]
    events: tuple[EventRow, ...]


@dataclass(frozen=True, slots=True)
class Runtime:
    """How a rule fares. last_slot is seconds since 1970; seen: label sets, for no_data: alerting."""

    rule_key: str
    evaluator: str
    last_slot: float
    series: int
    open: int
    refused: int
    took_ms: float
    error: str | None
    seen: list[dict[str, str]] | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a rule before an evaluation. last_slot None: it was never evaluated."""

    last_slot: float | None
    seen: list[dict[str, str]]
    instances: tuple[InstanceRow, ...]


@dataclass(frozen=True, slots=True)
class Quiet:
    """A rule with nothing to report at a slot."""

    rule_key: str
    slot: float
    series: int
    took_ms: float


async def clock(db: Db) -> float:
    """The database's clock, seconds since 1970."""
    found = await db.value(CLOCK)
    assert isinstance(found, float)
    return found


async def note_quiet(db: Db, evaluator: str, agent_id: str, rules: Sequence[Quiet]) -> set[str]:
    """Note evaluations that found nothing; returns the keys for which that was true here too."""
    columns = [[getattr(rule, name) for rule in rules] for name in Quiet.__dataclass_fields__]
    return {row["rule_key"] for row in await db.rows(QUIET, evaluator, agent_id, *columns)}


async def begin(db: Db, rule_key: str, evaluator: str, agent_id: str) -> Known:
    """Take the rule's row until the end of the transaction, and what is known of it."""
    row = await db.row(BEGIN, rule_key, evaluator)
    if row is None:
        await db.execute(FIRST, rule_key, evaluator, agent_id)
        row = await db.row(BEGIN, rule_key, evaluator)
    assert row is not None
    return Known(row["last_slot"], orjson.loads(row["seen"] or "[]"), await instances(db, rule_key, evaluator))


async def instances(db: Db, rule_key: str, evaluator: str) -> tuple[InstanceRow, ...]:
    found = await db.rows(INSTANCES, rule_key, evaluator)
    return tuple(InstanceRow(**dict(row) | {"labels": orjson.loads(row["labels"])}) for row in found)


async def put_runtime(db: Db, agent_id: str, runtimes: Sequence[Runtime]) -> None:
    await db.execute(PUT_RUNTIME, agent_id, _json([asdict(runtime) for runtime in runtimes]))


async def drop_runtime(db: Db, rule_key: str, evaluator: str) -> None:
    await db.execute(DROP_RUNTIME, rule_key, evaluator)


async def keys_besides(db: Db, evaluators: Sequence[str], rule_keys: Sequence[str]) -> list[tuple[str, str]]:
    """(rule key, evaluator) of rules that were evaluated once and are none of these."""
    rows = await db.rows(OPEN_KEYS, list(evaluators), list(rule_keys))
    return [(row["rule_key"], row["evaluator"]) for row in rows]


async def prune(db: Db, keep_days: int) -> None:
    """Remove history older than that; what is open stays."""
    await db.execute(PRUNE, keep_days)


async def apply(db: Db, agent_id: str, change: Change) -> None:
    """Write a change down, in the caller's transaction; a second time it makes no difference."""
    if change.instances:
        rows = _json([asdict(row) for row in change.instances])
        await db.execute(PUT_INSTANCES, change.rule_key, change.evaluator, rows)
    if change.gone:
        await db.execute(DROP_INSTANCES, change.rule_key, change.evaluator, list(change.gone))
    if change.events:
        events = _json([asdict(event) for event in change.events])
        await db.execute(SUPERSEDE, change.rule_key, events)
        await db.execute(PUT_EVENTS, change.rule_key, events, agent_id)
        await db.execute(END_EPISODES, change.rule_key, events)
        await db.execute(NOTIFY)


def _json(rows: list[dict[str, Any]]) -> str:
    """JSON has no NaN and no infinity; PostgreSQL reads both from text."""
    for row in rows:
        value = row.get("value")
        if value is not None and not math.isfinite(value):
            row["value"] = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return orjson.dumps(rows).decode()
