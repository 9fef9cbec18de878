"""Guard around an endless loop."""

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

log = structlog.get_logger()
FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
AGAIN_SECONDS = 1.0


async def supervise(name: str, loop: Callable[[], Awaitable[None]]) -> None:
    """Run a loop for ever; one that fails is logged in full and begun again, slower each time.

    For duties without which the agent is still worth running. The ingest pipeline is not guarded: it dies with the
    process, and what it held is delivered again.
    """
    delay = FIRST_DELAY
    while True:
        began = asyncio.get_running_loop().time()
        try:
            await loop()
            log.error("a loop ended that never should", loop=name)
        except Exception:
            log.exception("a loop failed", loop=name)
        if asyncio.get_running_loop().time() - began > LONGEST_DELAY:
            delay = FIRST_DELAY
        await asyncio.sleep(delay)
        delay = min(delay * 2, LONGEST_DELAY)


async def ended(tasks: Collection[asyncio.Task[None]]) -> None:
    """Until all have ended that were cancelled. A cancellation may be lost: asyncio.wait_for of Python 3.11, which
    libraries use, swallows one that comes together with its result. So it is repeated."""
    waiting = set(tasks)
    while waiting:
        _, waiting = await asyncio.wait(waiting, timeout=AGAIN_SECONDS)
        for task in waiting:
            log.warning("a task did not end when it was told to, telling it again", task=task.get_name())
            task.cancel()
