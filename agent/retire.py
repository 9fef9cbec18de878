"""Takes an agent out of service: what the broker still has for it goes to the database, then the broker forgets it.

Of a group of agents, the broker deals messages out to those that are away, too: without this, the share of an agent
that never comes back would be lost when its session ends.
"""

import asyncio
import os
import secrets
from collections.abc import Callable

from agent import build
from agent.config import Settings
from agent.ingest.accounting import Accounting
from agent.ingest.writer import Names
from agent.intake import Intake, intake
from agent.supervise import ended
from store.db import connected

CONNECT_SECONDS = 60.0
QUIET_SECONDS = 5.0
LOOK_SECONDS = 0.25
Progress = Callable[[int, int], None]


class NotRetired(Exception):
    """The broker or the database does not answer: nothing is lost, and it can be tried again."""


async def retire(settings: Settings, seconds: float, progress: Progress = lambda *_: None) -> Accounting:
    """Returns what came of the messages; progress is told how many came and how many are not stored yet.

    Raises NotRetired; ConfigError, SpoolError when it cannot begin.
    """
    names = Names(settings.agent.id, f"{os.getpid()}-{secrets.token_hex(3)}")
    logins = build.own_logins(settings, lambda _: None)
    own = logins.identities.current if logins else None
    async with connected(settings.target, names.session_name, settings.database.pool_size) as db:
        way = intake(settings, db, names, own, build.broker_dial(settings), leaving=True)
        tasks = [
            asyncio.create_task(way.link.run(), name="link"),
            asyncio.create_task(way.pipeline.run(way.link.ack), name="pipeline"),
            asyncio.create_task(way.pipeline.recover(), name="recover"),
        ]
        try:
            await _brought_home(way, seconds, progress)
        finally:
            for task in tasks:
                task.cancel()
            await ended(tasks)
            way.spool.close()
    return way.pipeline.accounting


async def _brought_home(way: Intake, seconds: float, progress: Progress) -> None:
    await way.link.subscribed(CONNECT_SECONDS)
    if way.link.health.connected_at is None:
        raise NotRetired(f"the broker does not answer: {way.link.health.error}")
    loop, count = asyncio.get_running_loop(), way.pipeline.accounting
    seen, since, ends_at = -1, loop.time(), loop.time() + seconds
    while loop.time() - since < QUIET_SECONDS:
        left = way.pipeline.pending() + way.spool.rows
        progress(count.received, left)
        if loop.time() > ends_at:
            why = way.pipeline.health.database_error or "they come faster than they go"
            raise NotRetired(f"{left} messages still wait after {seconds:.0f} s: {why}")
        if count.received != seen or left or way.link.health.connected_at is None:
            seen, since = count.received, loop.time()
        await asyncio.sleep(LOOK_SECONDS)
    way.link.disconnect(forget=True)
    await asyncio.sleep(LOOK_SECONDS)  # the goodbye is on its way
