"""Heartbeats of agents, and what they measured on their host."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum

import orjson

from store.db import Db

BEAT = """
insert into iot.agents (agent_id, version, started_at, beat_at, seen_at, status)
values ($1, $2, $3, $4, now(), $5)
on conflict (agent_id) do update set version = excluded.version, started_at = excluded.started_at,
  beat_at = excluded.beat_at, seen_at = excluded.seen_at, status = excluded.status"""

SAMPLES = """
insert into iot.agent_samples
  (agent_id, at, cpu_percent, memory_percent, disk_percent, load_1m, spool_rows, errors, write_p95_ms, canary_ms)
select $1, * from unnest($2::timestamptz[], $3::real[], $4::real[], $5::real[], $6::real[], $7::bigint[],
                         $8::bigint[], $9::real[], $10::real[])
on conflict do nothing"""

ALL = """
select agent_id, version, started_at, beat_at, seen_at, now() - seen_at as age, status
from iot.agents order by seen_at desc"""

RECENT = """
select at, cpu_percent, memory_percent, disk_percent, load_1m, spool_rows, errors, write_p95_ms, canary_ms
from iot.agent_samples where agent_id = $1 and at > now() - make_interval(secs => $2) order by at"""


class PartState(StrEnum):
    """How a part of the system is, as its observer sees it. UNKNOWN is never shown as good."""

    OK = "ok"
    WARN = "warn"
    CRIT = "crit"
    OFF = "off"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the system: broker, database, spool, canary, disk, ..."""

    name: str
    state: PartState
    detail: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of an agent's host. Percent are 0..100; errors counts from the agent's start."""

    at: datetime
    cpu_percent: float
    memory_percent: float
    disk_percent: float
    load_1m: float
    spool_rows: int
    errors: int
    write_p95_ms: float | None
    canary_ms: float | None


@dataclass(frozen=True, slots=True)
class AgentStatus:
    """What an agent says of itself at one heartbeat. Counters count from its start; sizes are bytes."""

    host: str
    pid: int
    cores: int
    cpu_percent: float
    load_1m: float
    memory_used: int
    memory_total: int
    swap_used: int
    disk_percent: float
    agent_memory: int
    received: int
    inserted: int
    duplicates: int
    dead_letters: int
    spooled: int
    errors: int
    spool_rows: int
    spool_bytes: int
    spool_limit: int
    write_p95_ms: float | None
    canary_ms: float | None
    last_message_at: datetime | None
    last_commit_at: datetime | None
    last_error: str | None
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent as the database knows it. age_seconds is by the database's clock since the last heartbeat."""

    agent_id: str
    version: str
    started_at: datetime
    beat_at: datetime
    seen_at: datetime
    age_seconds: float
    status: AgentStatus


async def beat(db: Db, agent_id: str, version: str, started_at: datetime, at: datetime, status: AgentStatus) -> None:
    """Replace an agent's status row; at is the agent's own clock."""
    await db.execute(BEAT, agent_id, version, started_at, at, orjson.dumps(asdict(status)).decode())


async def put_samples(db: Db, agent_id: str, samples: Sequence[Sample]) -> None:
    """Append measurements; one that is there already is left alone, so a retry is safe."""
    columns = [[getattr(s, f.name) for s in samples] for f in fields(Sample)]
    await db.execute(SAMPLES, agent_id, *columns)


async def all_agents(db: Db) -> list[AgentRow]:
    """Every agent that ever beat, the freshest first."""
    return [
        AgentRow(
            agent_id=row["agent_id"],
            version=row["version"],
            started_at=row["started_at"],
            beat_at=row["beat_at"],
            seen_at=row["seen_at"],
            age_seconds=row["age"].total_seconds(),
            status=_status(row["status"]),
        )
        for row in await db.rows(ALL)
    ]


async def recent_samples(db: Db, agent_id: str, seconds: int) -> list[Sample]:
    """An agent's measurements of the last seconds, oldest first; a gap is a gap."""
    return [Sample(**row) for row in await db.rows(RECENT, agent_id, seconds)]


def _state(word: str) -> PartState:
    """What this version does not know is unknown."""
    return PartState(word) if word in list(PartState) else PartState.UNKNOWN


def _status(text: str) -> AgentStatus:
    """Tolerates an agent of another version: unknown fields are dropped, missing ones take a neutral value."""
    found = orjson.loads(text)
    values = {f.name: found.get(f.name, 0) for f in fields(AgentStatus)}
    values["parts"] = tuple(Part(p["name"], _state(p["state"]), p["detail"]) for p in found.get("parts", ()))
    for name in ("last_message_at", "last_commit_at"):
        values[name] = datetime.fromisoformat(found[name]) if found.get(name) else None
    for name in ("write_p95_ms", "canary_ms", "last_error"):
        values[name] = found.get(name)
    return AgentStatus(**values)
