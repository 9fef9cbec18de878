"""Alerts as people see and handle them. The database decides who may see and do what."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from store.db import Db

EPISODES = """
select e.event_id::text, e.alert, e.severity, e.labels, e.summary, e.runbook, e.rule_key, e.fired_at, e.ended_at,
       coalesce(i.value, e.end_value, e.value) as value, e.end_reason, e.acked_by, e.acked_at, e.ack_until, e.ack_note,
       e.acked_by is not null and coalesce(e.ack_until > now(), true) as acked,
       e.ended_at is null and exists (
         select from iot.alert_silences s
         where s.starts_at <= now() and s.ends_at > now() and (s.tenant_id = 0 or s.tenant_id = e.tenant_id)
           and e.labels @> s.matchers) as silenced
from iot.alert_episodes e
left join iot.alert_instances i
  on i.rule_key = e.rule_key and i.fingerprint = e.fingerprint and i.episode = e.episode and e.ended_at is null
where (e.ended_at is null or e.ended_at > now() - $1::interval) and ($2::text is null or e.alert = $2)
order by e.ended_at is not null, e.severity <> 'critical', e.fired_at desc
limit $3"""
PENDING = "select count(*) from iot.alert_instances where state = 'pending'"
FIND = """
select event_id::text from iot.alert_episodes
where ended_at is null and (event_id::text like $1 || '%' or alert = $1) order by fired_at desc limit 2"""
ACK = "select iot.alert_ack($1, $2, $3)"
UNACK = "select iot.alert_unack($1)"
SILENCES = """
select s.silence_id, t.slug as tenant, s.matchers, s.starts_at, s.ends_at, s.reason, s.created_by
from iot.alert_silences s join iot.tenants t using (tenant_id)
where s.ends_at > now() order by s.ends_at"""
SILENCE = "select iot.silence_create($1, $2, $3, $4)"
END_SILENCE = "select iot.silence_end($1)"
MESSAGES = """
select message_id::text, channel, body ->> 'title' as title, status, attempts, created_at, sent_at, last_error
from iot.alert_outbox order by created_at desc limit $1"""
TIMELINE = """
select at, kind || case when detail <> '' then ': ' || detail else '' end as what, actor
from iot.alert_events
where (rule_key, fingerprint, episode) = (
  select e.rule_key, e.fingerprint, e.episode from iot.alert_episodes e where e.event_id = $1)
union all
select coalesce(o.sent_at, o.created_at),
       m.reason || ' told to ' || o.channel || ': ' || o.status || coalesce(', ' || o.last_error, ''), ''
from iot.alert_mentions m join iot.alert_outbox o using (message_id)
where m.event_id = $1
order by 1"""
HEALTH = """
select extract(epoch from now() - max(evaluated_at))::float8 as age,
       count(distinct rule_key) filter (where error is not null) as failing
from iot.alert_runtime"""


@dataclass(frozen=True, slots=True)
class EpisodeRow:
    """An alert from its beginning to its end. value: now, or at its end. acked: and that has not run out."""

    event_id: str
    alert: str
    severity: str
    labels: dict[str, str]
    summary: str
    runbook: str
    rule_key: str
    fired_at: datetime
    ended_at: datetime | None
    value: float | None
    end_reason: str | None
    acked_by: str | None
    acked_at: datetime | None
    ack_until: datetime | None
    ack_note: str | None
    acked: bool
    silenced: bool


@dataclass(frozen=True, slots=True)
class SilenceView:
    silence_id: int
    tenant: str
    matchers: dict[str, str]
    starts_at: datetime
    ends_at: datetime
    reason: str
    created_by: str


@dataclass(frozen=True, slots=True)
class MessageView:
    """A notification. status: waiting, sent or dead."""

    message_id: str
    channel: str
    title: str
    status: str
    attempts: int
    created_at: datetime
    sent_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Happening:
    """A line of an alert's story."""

    at: datetime
    what: str
    actor: str


@dataclass(frozen=True, slots=True)
class AlertingHealth:
    """age_seconds: since a rule that this login may see was last evaluated, None if never."""

    age_seconds: float | None
    failing: int


async def episodes(db: Db, ended_within: timedelta, alert: str | None = None, limit: int = 1000) -> list[EpisodeRow]:
    """What fires, the gravest first, then what ended lately."""
    rows = await db.rows(EPISODES, ended_within, alert, limit)
    return [EpisodeRow(**dict(row) | {"labels": orjson.loads(row["labels"])}) for row in rows]


async def pending(db: Db) -> int:
    """How many instances wait for their time to be over."""
    return int(str(await db.value(PENDING)))


async def find(db: Db, text: str) -> list[str]:
    """Ids of firing episodes whose id begins with text, or whose alert is named so; at most two."""
    return [row["event_id"] for row in await db.rows(FIND, text)]


async def ack(db: Db, event_id: str, note: str, until: datetime | None) -> None:
    """Take care of an alert: no reminders until then, or until it ends. Raises Conflict, Denied."""
    await db.execute(ACK, event_id, note, until)


async def unack(db: Db, event_id: str) -> None:
    await db.execute(UNACK, event_id)


async def silences(db: Db) -> list[SilenceView]:
    """Those that are not over."""
    return [SilenceView(**dict(row) | {"matchers": orjson.loads(row["matchers"])}) for row in await db.rows(SILENCES)]


async def silence(db: Db, tenant: str, matchers: Mapping[str, str], lasts: timedelta, reason: str) -> int:
    """Mute alerts of a tenant ("platform": of all) with these labels; returns its number. Raises Conflict, Denied."""
    return int(str(await db.value(SILENCE, tenant, orjson.dumps(matchers).decode(), lasts, reason)))


async def end_silence(db: Db, silence_id: int) -> None:
    await db.execute(END_SILENCE, silence_id)


async def messages(db: Db, limit: int) -> list[MessageView]:
    """The newest notifications first."""
    return [MessageView(**row) for row in await db.rows(MESSAGES, limit)]


async def health(db: Db) -> AlertingHealth:
    row = await db.row(HEALTH)
    assert row is not None
    return AlertingHealth(row["age"], row["failing"])


async def timeline(db: Db, event_id: str) -> list[Happening]:
    """What happened to an alert, and what was said of it, the oldest first."""
    return [Happening(**row) for row in await db.rows(TIMELINE, event_id)]
