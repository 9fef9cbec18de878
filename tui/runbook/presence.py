"""Whether the database answers now, so that nobody waits for it step after step."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from store import session
from store.db import Db, connected
from store.deadline import within
from store.errors import StoreError
from tui.runbook.desk import Desk
from tui.way import Way, opened

ANSWER_SECONDS = 4.0
AGAIN_SECONDS = 2.0
CONNECTIONS = 2


@asynccontextmanager
async def watched(db: Db) -> AsyncIterator[Callable[[], Db | None]]:
    """The database, or None while it does not answer. It was asked once before this begins."""
    live = await _answers(db)

    def now() -> Db | None:
        return db if live else None

    async def watch() -> None:
        nonlocal live
        while True:
            await asyncio.sleep(AGAIN_SECONDS)
            live = await _answers(db)

    watching = asyncio.create_task(watch(), name="database presence")
    try:
        yield now
    finally:
        watching.cancel()


@asynccontextmanager
async def seated(desk: Desk, way: Way, name: str) -> AsyncIterator[Desk]:
    """The desk, with the database at the end of a way; it may be away all the time. name: of the program."""
    async with opened(way) as (target, _), connected(target, name, CONNECTIONS) as db, watched(db) as present:
        desk.db = present
        yield desk


async def _answers(db: Db) -> bool:
    try:
        await within(ANSWER_SECONDS, session.who(db))
    except StoreError:
        return False
    return True
