"""Messages that can not be stored, kept with their raw bytes and the reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from store.db import Db

PUT = """
with kept as (
  insert into iot.dead_letters
    (tenant_id, msg_hash, first_at, last_at, times, agent_id, topic, qos, payload, reason, detail)
  select tenant_id, msg_hash, at, at, times, $9, topic, qos, payload, reason, detail
  from unnest($1::int[], $2::bigint[], $3::timestamptz[], $4::bigint[], $5::text[], $6::smallint[],
              $7::bytea[], $8::text[], $10::text[])
    as t(tenant_id, msg_hash, at, times, topic, qos, payload, reason, detail)
  on conflict on constraint dead_letters_dedup do update
    set times = dead_letters.times + excluded.times, last_at = excluded.last_at,
        reason = excluded.reason, detail = excluded.detail, state = 'open')
insert into iot.ingest_minute (tenant_id, minute, agent_id, dead_letters)
select tenant_id, date_trunc('minute', now()), $9, sum(times)
from unnest($1::int[], $4::bigint[]) as t(tenant_id, times) group by tenant_id
on conflict (tenant_id, minute, agent_id) do update
  set dead_letters = ingest_minute.dead_letters + excluded.dead_letters"""

NEWEST = """
select d.last_at, coalesce(n.slug, '?') as tenant, d.topic, d.reason, d.detail, d.times, d.state::text
from iot.dead_letters d left join iot.tenants n using (tenant_id)
where d.tenant_id = any (array(select tenant_id from iot.tenants))
order by d.last_at desc limit $1"""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A refused message. tenant_id is 0 when none could be read from the topic."""

    tenant_id: int
    msg_hash: int
    at: datetime
    topic: str
    qos: int
    payload: bytes
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    last_at: datetime
    tenant: str
    topic: str
    reason: str
    detail: str
    times: int
    state: str


async def put(db: Db, letters: Sequence[DeadLetter], agent_id: str) -> None:
    """Keep dead letters; one message refused again adds to its count. Raises Unavailable: call again."""
    times = Counter((letter.tenant_id, letter.msg_hash) for letter in letters)
    distinct = list({(letter.tenant_id, letter.msg_hash): letter for letter in letters}.values())
    await db.execute(
        PUT,
        [x.tenant_id for x in distinct],
        [x.msg_hash for x in distinct],
        [x.at for x in distinct],
        [times[x.tenant_id, x.msg_hash] for x in distinct],
        [x.topic for x in distinct],
        [x.qos for x in distinct],
        [x.payload for x in distinct],
        [x.reason for x in distinct],
        agent_id,
        [x.detail for x in distinct],
    )


async def newest(db: Db, limit: int) -> list[DeadLetterRow]:
    """The latest dead letters the session may see, newest first."""
    return [DeadLetterRow(**row) for row in await db.rows(NEWEST, limit)]
