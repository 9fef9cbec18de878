"""Asks the database again and again, for ever, and tells what it said or that it is lost."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from store import agents, dead_letters, rates, session, telemetry
from store.agents import AgentRow, Sample
from store.db import Db
from store.deadline import within
from store.errors import StoreError
from tui.view import Path, PathState, Snapshot

INTERVAL = 1.0
ANSWER_SECONDS = 5.0
SAMPLES_EVERY = 5  # rounds: agents measure every few seconds only
SAMPLE_WINDOW_SECONDS = 180 * 60
MINUTES = 181
ROWS_SHOWN = 40
RATE_WINDOW_SECONDS = 5.0
DELAYS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


@dataclass(frozen=True, slots=True)
class Fresh:
    """A new snapshot."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Moved:
    """The way to the database changed its state."""

    path: Path


class Feed:
    """run() never ends; wake() cuts a wait short. tell is called in the event loop."""

    def __init__(self, db: Db, tell: Callable[[Fresh | Moved], None]) -> None:
        self._db = db
        self._tell = tell
        self._wake = asyncio.Event()
        self._rate = RateMeter()
        self._samples: tuple[Sample, ...] = ()
        self._round = 0

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        failures = 0
        lost_since = 0.0
        while True:
            try:
                snapshot = await within(ANSWER_SECONDS, self.ask())
            except StoreError as error:
                lost_since = lost_since if failures else time.time()
                delay = DELAYS[min(failures, len(DELAYS) - 1)]
                self._tell(Moved(Path(PathState.LOST, lost_since, str(error), time.time() + delay)))
                failures += 1
                await self._pause(delay)
                continue
            if failures or self._round == 1:
                self._tell(Moved(Path(PathState.LIVE, time.time())))
            failures = 0
            self._tell(Fresh(snapshot))
            await self._pause(INTERVAL)

    async def ask(self) -> Snapshot:
        """One round of queries. Raises StoreError."""
        began = time.perf_counter()
        who = await session.who(self._db)
        round_trip = time.perf_counter() - began
        today = await rates.today(self._db)
        known = await agents.all_agents(self._db)
        if self._round % SAMPLES_EVERY == 0:
            self._samples = await self._ask_samples(known)
        self._round += 1
        return Snapshot(
            at=time.time(),
            round_trip_ms=round_trip * 1000,
            login=who.login,
            server_now=who.now,
            today=today,
            rate=self._rate.add(time.monotonic(), today.inserted),
            minutes=tuple(await rates.by_minute(self._db, MINUTES)),
            agents=tuple(known),
            samples=self._samples,
            newest=tuple(await telemetry.newest(self._db, ROWS_SHOWN)),
            dead_letters=tuple(await dead_letters.newest(self._db, ROWS_SHOWN)),
        )

    async def _ask_samples(self, known: list[AgentRow]) -> tuple[Sample, ...]:
        if not known:
            return ()
        return tuple(await agents.recent_samples(self._db, known[0].agent_id, SAMPLE_WINDOW_SECONDS))

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()


class RateMeter:
    """Rows a second over the last few seconds, from a total that only grows within a day."""

    def __init__(self, window: float = RATE_WINDOW_SECONDS) -> None:
        self._window = window
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, at: float, total: int) -> float | None:
        """at: seconds of a monotonic clock. None until there are two readings; a total that fell begins anew."""
        if self._seen and total < self._seen[-1][1]:
            self._seen.clear()
        self._seen.append((at, total))
        while len(self._seen) > 2 and at - self._seen[1][0] >= self._window:
            self._seen.popleft()
        first_at, first_total = self._seen[0]
        return None if at <= first_at else (total - first_total) / (at - first_at)
