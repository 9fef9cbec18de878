"""What people ask an agent to look at or to do. It waits for a short time only: an agent that comes back after hours
must not restart a broker out of the blue."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from store.db import Db

PUT = "select iot.request_put($1, $2, $3, $4, $5, $6, $7, $8)"
WITHDRAW = "select iot.request_withdraw($1)"
EXPIRE = """
update iot.agent_requests set state = 'expired', finished_at = now()
where agent_id = $1 and state = 'queued' and expires_at <= now()"""
# what was running when the process died: whether it happened, nobody knows
ORPHANED = """
update iot.agent_requests set state = 'failed', finished_at = now(),
  result = '{"outcome": "unknown", "found": "the agent was restarted meanwhile: look whether it was done"}'
where agent_id = $1 and state = 'running'"""
TAKE = """
update iot.agent_requests set state = 'running', taken_at = now()
where request_id = (
  select request_id from iot.agent_requests where agent_id = $1 and state = 'queued' and expires_at > now()
  order by requested_at limit 1 for update skip locked)
returning request_id::text, name, args, requested_by, changes"""
FINISH = "update iot.agent_requests set state = $2, finished_at = now(), result = $3 where request_id = $1"
LOOK = "select state, result from iot.agent_requests where request_id = $1"
PRUNE = "select iot.prune_requests($1)"
POLL_SECONDS = 0.1
OVER = ("done", "failed", "refused", "expired", "withdrawn")


@dataclass(frozen=True, slots=True)
class Taken:
    """A request that an agent has begun with. changes: it was asked for, and written down, as an action."""

    request_id: str
    name: str
    args: dict[str, Any]
    requested_by: str
    changes: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """state: see the table. result: what the agent found, None when it never answered."""

    state: str
    result: dict[str, Any] | None


async def put(
    db: Db, request_id: str, agent: str, name: str, args: Mapping[str, Any], run: tuple[str, str] | None, seconds: int,
    changes: bool,
) -> None:  # fmt: skip
    """run: its id and step. Raises Denied, Conflict."""
    run_id, step = run or (None, None)
    await db.execute(PUT, request_id, agent, name, orjson.dumps(args).decode(), run_id, step, changes, seconds)


async def withdraw(db: Db, request_id: str) -> bool:
    """Whether it will not happen."""
    return bool(await db.value(WITHDRAW, request_id))


async def answer(db: Db, request_id: str, seconds: float) -> Answer:
    """Wait for it. What is still waiting then is withdrawn; what has begun may happen yet, and is `running`."""
    ends_at = time.monotonic() + seconds
    while True:
        row = await db.row(LOOK, request_id)
        assert row is not None
        if row["state"] in OVER:
            return Answer(row["state"], orjson.loads(row["result"]) if row["result"] else None)
        if time.monotonic() > ends_at:
            return Answer("expired" if await withdraw(db, request_id) else "running", None)
        await asyncio.sleep(POLL_SECONDS)


# -- for agents


async def begin(db: Db, agent_id: str) -> None:
    """At an agent's start."""
    await db.execute(ORPHANED, agent_id)


async def take(db: Db, agent_id: str) -> Taken | None:
    """The oldest request that is still wanted; those that are not any more are marked."""
    await db.execute(EXPIRE, agent_id)
    row = await db.row(TAKE, agent_id)
    return None if row is None else Taken(**dict(row) | {"args": orjson.loads(row["args"])})


async def finish(db: Db, request_id: str, state: str, result: Mapping[str, Any]) -> None:
    await db.execute(FINISH, request_id, state, orjson.dumps(result).decode())


async def prune(db: Db, keep_days: int) -> None:
    await db.execute(PRUNE, keep_days)
