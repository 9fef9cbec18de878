"""Who still has to be told of what, and messages on their way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from store.db import Db

# Waits for nobody: whoever has the row decides what is said.
TAKE_TURN = "select only_one from iot.alert_dispatch for update skip locked"

UNSETTLED_MARK = """
select count(*) as count, extract(epoch from max(changed_at))::float8 as changed_at
from iot.alert_episodes where not settled"""

UNSETTLED = """
select event_id::text, labels, alert, severity, summary, runbook, rule_key, tenant_id, value, end_value,
       extract(epoch from fired_at)::float8 as fired_at, extract(epoch from ended_at)::float8 as ended_at,
       extract(epoch from told_at)::float8 as told_at, told, muted, repeat_seconds, acked_by,
       acked_by is not null and coalesce(ack_until > now(), true) as acked,
       extract(epoch from ack_until)::float8 as ack_until
from iot.alert_episodes where not settled order by fired_at"""

SILENCES = """
select s.silence_id::text, s.matchers, extract(epoch from s.starts_at)::float8 as starts_at,
       extract(epoch from s.ends_at)::float8 as ends_at, nullif(t.slug, 'platform') as tenant
from iot.alert_silences s join iot.tenants t using (tenant_id) where s.ends_at > now()"""

PUT_MESSAGE = """
insert into iot.alert_outbox (message_id, channel, tenant_id, body) values ($1, $2, $3, $4)
on conflict (message_id) do nothing"""

PUT_SENT = """
insert into iot.alert_outbox (message_id, channel, tenant_id, body, status, attempts, sent_at)
values ($1, $2, $3, $4, 'sent', 1, to_timestamp($5))
on conflict (message_id) do update set status = 'sent', sent_at = coalesce(alert_outbox.sent_at, excluded.sent_at)"""

PUT_MENTIONS = """
insert into iot.alert_mentions (event_id, channel, reason, seq, message_id)
select x.event_id, $1, x.reason, x.seq, $2
from unnest($3::uuid[], $4::text[], $5::int[]) as x(event_id, reason, seq) on conflict do nothing"""

TOLD = """
update iot.alert_episodes set told_at = to_timestamp($2), told = told + 1, changed_at = clock_timestamp()
where event_id = any($1::uuid[])"""

MUTE = """
update iot.alert_episodes set muted = event_id = any($1::uuid[])
where not settled and ended_at is null and muted <> (event_id = any($1::uuid[]))"""

SETTLE = """
update iot.alert_episodes set settled = true, changed_at = clock_timestamp() where event_id = any($1::uuid[])"""

CLAIM = """
update iot.alert_outbox o
set claimed_by = $1, claimed_until = now() + make_interval(secs => $2), attempts = o.attempts + 1
from (select message_id from iot.alert_outbox
      where status = 'waiting' and next_at <= now() and (claimed_until is null or claimed_until < now())
      order by next_at limit $3 for update skip locked) due
where o.message_id = due.message_id
returning o.message_id::text, o.channel, o.body, o.attempts, extract(epoch from now() - o.created_at)::float8 as age"""

SENT = """
update iot.alert_outbox set status = 'sent', sent_at = now(), claimed_until = null, last_error = null
where message_id = $1"""

AGAIN = """
update iot.alert_outbox
set next_at = now() + make_interval(secs => $2), claimed_until = null, last_error = $3,
    status = case when $4 then 'dead' else 'waiting' end
where message_id = $1"""

FAILING = "select count(*) from iot.alert_outbox where status = 'waiting' and attempts >= $1"


@dataclass(frozen=True, slots=True)
class Episode:
    """An episode that somebody still has to hear of. Times are seconds since 1970; ack_until None: until its end."""

    event_id: str
    labels: dict[str, str]
    alert: str
    severity: str
    summary: str
    runbook: str
    rule_key: str
    tenant_id: int
    value: float | None
    end_value: float | None
    fired_at: float
    ended_at: float | None
    told_at: float | None
    told: int
    muted: bool
    repeat_seconds: float | None
    acked_by: str | None
    acked: bool
    ack_until: float | None


@dataclass(frozen=True, slots=True)
class SilenceRow:
    """tenant None: it mutes alerts of every tenant."""

    silence_id: str
    matchers: dict[str, str]
    starts_at: float
    ends_at: float
    tenant: str | None


@dataclass(frozen=True, slots=True)
class MentionRow:
    event_id: str
    reason: str
    seq: int


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message for one channel. body is JSON for machines; its "text" is for people."""

    message_id: str
    channel: str
    tenant_id: int
    body: dict[str, Any]
    mentions: tuple[MentionRow, ...]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that is ours to deliver now. attempts counts this one; age is in seconds since it was written."""

    message_id: str
    channel: str
    body: dict[str, Any]
    attempts: int
    age: float


async def take_turn(db: Db) -> bool:
    """Whether we are the one to decide what is said, until the end of the transaction."""
    return bool(await db.value(TAKE_TURN))


async def unsettled_mark(db: Db) -> tuple[int, float | None]:
    """Changes whenever there may be something new to say."""
    row = await db.row(UNSETTLED_MARK)
    assert row is not None
    return row["count"], row["changed_at"]


async def unsettled(db: Db) -> list[Episode]:
    return [Episode(**dict(row) | {"labels": orjson.loads(row["labels"])}) for row in await db.rows(UNSETTLED)]


async def silences(db: Db) -> list[SilenceRow]:
    """Those that are not over."""
    return [SilenceRow(**dict(row) | {"matchers": orjson.loads(row["matchers"])}) for row in await db.rows(SILENCES)]


async def put_message(db: Db, message: Outgoing, sent_at: float | None = None) -> None:
    """Put a message into the outbox. sent_at: it was delivered already, without the database."""
    common = (message.message_id, message.channel, message.tenant_id, orjson.dumps(message.body).decode())
    if sent_at is None:
        await db.execute(PUT_MESSAGE, *common)
    else:
        await db.execute(PUT_SENT, *common, sent_at)
    columns = [[getattr(m, name) for m in message.mentions] for name in MentionRow.__dataclass_fields__]
    await db.execute(PUT_MENTIONS, message.channel, message.message_id, *columns)


async def note_told(db: Db, told: Sequence[str], at: float) -> None:
    """Somebody was told that these episodes fire."""
    if told:
        await db.execute(TOLD, list(told), at)


async def note_muted(db: Db, muted: Sequence[str]) -> None:
    """Nobody is to be told of these firing episodes now, and of no others."""
    await db.execute(MUTE, list(muted))


async def settle(db: Db, done: Sequence[str]) -> None:
    """These episodes are over and need no word any more."""
    if done:
        await db.execute(SETTLE, list(done))


async def claim(db: Db, agent_id: str, lease_seconds: float, limit: int) -> list[Claimed]:
    """Messages that are due; nobody else gets them before the lease is over."""
    rows = await db.rows(CLAIM, agent_id, lease_seconds, limit)
    return [Claimed(**dict(row) | {"body": orjson.loads(row["body"])}) for row in rows]


async def mark_sent(db: Db, message_id: str) -> None:
    await db.execute(SENT, message_id)


async def mark_failed(db: Db, message_id: str, delay: float, error: str, give_up: bool) -> None:
    """Try again after delay seconds, or never."""
    await db.execute(AGAIN, message_id, delay, error[:500], give_up)


async def failing(db: Db, attempts: int) -> int:
    """How many messages were tried that often without success."""
    found = await db.value(FAILING, attempts)
    assert isinstance(found, int)
    return found
