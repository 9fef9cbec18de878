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
    set times = excluded.times + case dead_letters.state when 'open' then dead_letters.times else 0 end,
        first_at = case dead_letters.state when 'open' then dead_letters.first_at else excluded.first_at end,
        last_at = greatest(dead_letters.last_at, excluded.last_at),
        reason = excluded.reason, detail = excluded.detail, state = 'open', closed_by = null, closed_at = null)
insert into iot.ingest_minute (tenant_id, minute, agent_id, dead_letters)
select tenant_id, date_trunc('minute', now()), $9, sum(times)
from unnest($1::int[], $4::bigint[]) as t(tenant_id, times) group by tenant_id
on conflict (tenant_id, minute, agent_id) do update
  set dead_letters = ingest_minute.dead_letters + excluded.dead_letters"""

NEWEST = """
select d.dead_letter_id, d.last_at, coalesce(n.slug, '?') as tenant, d.topic, d.reason, d.detail, d.times,
       d.state::text, d.replay_at is not null as replaying
from iot.dead_letters d left join iot.tenants n using (tenant_id)
where d.tenant_id = any (array(select tenant_id from iot.tenants))
order by d.last_at desc limit $1"""

PAYLOAD = "select payload from iot.dead_letters where dead_letter_id = $1"
OF_MESSAGE = """
select d.dead_letter_id, d.reason from iot.dead_letters d join iot.tenants n using (tenant_id)
where n.slug = $1 and d.msg_hash = $2"""
HANDLE = "select iot.dead_letters_handle($1, $2)"
WANTED = """
select dead_letter_id, topic, qos, payload, times, replay_at, extract(epoch from first_at)::float8 as first_at
from iot.dead_letters where replay_at is not null order by replay_at limit $1"""
# only of the row as it was: the device may have sent the same again meanwhile, or somebody may have asked again
REPLAYED = """
update iot.dead_letters set state = 'replayed', replay_at = null, closed_by = replay_by, closed_at = clock_timestamp()
where dead_letter_id = $1 and replay_at = $2 and times = $3"""
REFUSED_AGAIN = """
update iot.dead_letters set replay_at = null, reason = $3, detail = $4 where dead_letter_id = $1 and replay_at = $2"""


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
    """state: open, replayed or discarded. replaying: an agent is asked to take it again."""

    dead_letter_id: int
    last_at: datetime
    tenant: str
    topic: str
    reason: str
    detail: str
    times: int
    state: str
    replaying: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """A dead letter that is to be taken again. first_at: seconds since 1970."""

    dead_letter_id: int
    topic: str
    qos: int
    payload: bytes
    times: int
    replay_at: datetime
    first_at: float


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


async def payload(db: Db, dead_letter_id: int) -> bytes | None:
    """The message as it came."""
    found = await db.value(PAYLOAD, dead_letter_id)
    return bytes(found) if isinstance(found, bytes) else None


async def of_message(db: Db, tenant: str, msg_hash: int) -> tuple[int, str] | None:
    """(dead_letter_id, reason) of a message that was refused; None when it was not."""
    row = await db.row(OF_MESSAGE, tenant, msg_hash)
    return None if row is None else (row["dead_letter_id"], row["reason"])


async def handle(db: Db, ids: Sequence[int], what: str) -> int:
    """what: replay, discard or reopen. Returns how many that changed. Raises Denied unless operator of all of them."""
    return int(str(await db.value(HANDLE, list(ids), what)))


async def wanted(db: Db, limit: int) -> list[Wanted]:
    """Those that are to be taken again, the longest waiting first. Another agent may take them too."""
    return [Wanted(**row) for row in await db.rows(WANTED, limit)]


async def mark_replayed(db: Db, letter: Wanted) -> None:
    """Close it, unless the same came again meanwhile."""
    await db.execute(REPLAYED, letter.dead_letter_id, letter.replay_at, letter.times)


async def mark_refused(db: Db, letter: Wanted, reason: str, detail: str) -> None:
    """It stays open, with the newest reason; it counts as often as it came."""
    await db.execute(REFUSED_AGAIN, letter.dead_letter_id, letter.replay_at, reason, detail)
