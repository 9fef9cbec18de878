"""Runs of runbooks. Ids are made by whoever writes, so that writing the same twice is harmless."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from store.db import Db

RECORD = "select iot.run_record($1, $2)"
CLAIM = "select iot.step_claim($1, $2, $3, $4)"
RUNS = """
select r.run_id::text, t.slug as tenant, r.runbook, r.vars,
       case when $1::text is null then '' else r.content end as content, r.alert_id::text, r.mode, r.started_by,
       r.started_at, r.owner, r.state, r.closed_at, r.outcome
from iot.runbook_runs r join iot.tenants t using (tenant_id)
where ($1::text is null or r.run_id::text like $1 || '%') order by r.state <> 'open', r.recorded_at desc limit $2"""
EVENTS = """
select event_id::text, step_id, at, actor, origin, kind, body, supersedes::text
from iot.runbook_events where run_id = $1 order by at, event_id"""
STEPS = "select step_id, state, version, actor, at from iot.runbook_steps where run_id = $1"
DRILLED = """
select runbook, max(closed_at) as at from iot.runbook_runs
where mode = 'drill' and state = 'done' and tenant_id = 0 group by runbook"""


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run. content: the runbook's text when it began, left out of lists; alert_id: of the alert it was begun for."""

    run_id: str
    tenant: str
    runbook: str
    content: str
    vars: dict[str, str]
    alert_id: str | None
    mode: str
    started_by: str
    started_at: datetime
    owner: str
    state: str
    closed_at: datetime | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """An entry of the timeline. origin: the machine it was written on."""

    event_id: str
    step_id: str
    at: datetime
    actor: str
    origin: str
    kind: str
    body: dict[str, Any]
    supersedes: str | None


@dataclass(frozen=True, slots=True)
class StepRow:
    step_id: str
    state: str
    version: int
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class StepConflict:
    step: str
    state: str
    version: int
    actor: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the database knows after a write. conflicts: steps that somebody else changed first."""

    owner: str
    state: str
    conflicts: tuple[StepConflict, ...]


async def record(db: Db, run: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Recorded:
    """Add what is not there yet. Raises Denied, Conflict."""
    found = orjson.loads(str(await db.value(RECORD, _json(run), _json(events))))
    conflicts = tuple(StepConflict(**one) for one in found["conflicts"])
    return Recorded(found["owner"], found["state"], conflicts)


async def claim(db: Db, run_id: str, step_id: str, expected: int, seconds: int) -> int:
    """Before a change: the step's new version. Raises Conflict when somebody else was faster or has the run."""
    return int(str(await db.value(CLAIM, run_id, step_id, expected, seconds)))


async def runs(db: Db, beginning: str | None = None, most: int = 200) -> list[RunRow]:
    """Open ones first, then the newest. beginning: of the id."""
    return [RunRow(**dict(row) | {"vars": orjson.loads(row["vars"])}) for row in await db.rows(RUNS, beginning, most)]


async def events(db: Db, run_id: str) -> list[EventRow]:
    return [EventRow(**dict(row) | {"body": orjson.loads(row["body"])}) for row in await db.rows(EVENTS, run_id)]


async def steps(db: Db, run_id: str) -> list[StepRow]:
    return [StepRow(**dict(row)) for row in await db.rows(STEPS, run_id)]


async def drilled(db: Db) -> dict[str, datetime]:
    """When each runbook was last brought to its end in a drill."""
    return {row["runbook"]: row["at"] for row in await db.rows(DRILLED)}


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
