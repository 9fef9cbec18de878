"""A time limit that holds even when cancelling takes long."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from store.errors import TooSlow

Result = TypeVar("Result")
_abandoned: set[asyncio.Task[Any]] = set()  # the event loop itself keeps weak references only


async def within(seconds: float, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of work, or TooSlow after that many seconds, at once.

    asyncio.timeout would wait until work has ended: a query on a dead network takes asyncpg another 20 s to give up,
    because it first tries to cancel it at the server. Here it is cancelled and left to end on its own.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if done:
        return task.result()
    _abandoned.add(task)
    task.add_done_callback(_forget)
    task.cancel()
    raise TooSlow(f"the database did not answer within {seconds:g} s")


def _forget(task: asyncio.Task[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()  # looked at, so that it is not reported as unhandled
