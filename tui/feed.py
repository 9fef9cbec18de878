"""Asks the database again and again, for ever, and tells what it said or that it is lost."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from store import agents, alert_views, dead_letters, members, rates, session, telemetry
from store.agents import AgentRow, Sample
from store.db import Db
from store.deadline import within
from store.errors import Denied, StoreError, TooSlow, Unavailable
from tui.panes.pane import Pane
from tui.view import Path, PathState, Snapshot

INTERVAL = 1.0
ANSWER_SECONDS = 5.0
PANE_SECONDS = 15.0
SAMPLES_EVERY = 5  # rounds: agents measure every few seconds only
PRESENT_EVERY = 60
SAMPLE_WINDOW_SECONDS = 180 * 60
MINUTES = 181
ROWS_SHOWN = 40
RATE_WINDOW_SECONDS = 5.0
KEY_REPEAT_SECONDS = 0.08
DELAYS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
CHANNELS = ("iot_alerts", "iot_rules", "iot_credentials", "iot_people", "iot_dead_letters")
LISTEN_AGAIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Fresh:
    """A new snapshot."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Moved:
    """The way to the database changed its state."""

    path: Path


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows for a pane; found None: only what belongs to one of them. error: why there are none."""

    pane: Pane
    found: object = None
    error: str = ""


News = Fresh | Moved | Loaded


class Feed:
    """run() never ends; wake() cuts a wait short. tell is called in the event loop. pane: the one on screen, if any."""

    def __init__(self, db: Db, tell: Callable[[News], None], pane: Callable[[], Pane | None] = lambda: None) -> None:
        self._db = db
        self._tell = tell
        self._pane = pane
        self._wake = asyncio.Event()
        self._rate = RateMeter()
        self._samples: tuple[Sample, ...] = ()
        self._round = 0
        self._last: Snapshot | None = None
        self._due: dict[str, float] = {}  # pane to when its rows are asked for again, by the monotonic clock
        self._all = False  # woken for everything, not only for what belongs to a row

    def wake(self) -> None:
        """Ask now, for the pane's rows, too."""
        self._due.clear()
        self._all = True
        self._wake.set()

    def look(self) -> None:
        """The cursor is on another row: ask for what belongs to it."""
        self._wake.set()

    async def run(self) -> None:
        failures = 0
        lost_since = 0.0
        while True:
            try:
                snapshot = await within(ANSWER_SECONDS, self.ask())
                if failures or self._round == 1:
                    self._tell(Moved(Path(PathState.LIVE, time.time())))
                failures = 0
                self._tell(Fresh(snapshot))
                await self._load()
            except Exception as error:  # of whatever kind: it is said, and tried again
                lost_since = lost_since if failures else time.time()
                delay = DELAYS[min(failures, len(DELAYS) - 1)]
                self._tell(Moved(Path(PathState.LOST, lost_since, described(error), time.time() + delay)))
                failures += 1
                await self._pause(delay)
                continue
            await self._pause(INTERVAL)

    async def listen(self) -> None:
        """Hints that something changed; without them everything only comes a little later."""
        while True:
            with suppress(Exception):
                async with self._db.hints(*CHANNELS) as hints:
                    while await hints.wait():
                        self.wake()
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)

    async def ask(self) -> Snapshot:
        """One round of queries. Raises StoreError."""
        began = time.perf_counter()
        who = await session.who(self._db)
        round_trip = time.perf_counter() - began
        today = await rates.today(self._db)
        known = await agents.all_agents(self._db)
        if self._round % SAMPLES_EVERY == 0:
            self._samples = await self._ask_samples(known)
        if self._round % PRESENT_EVERY == 0:
            with suppress(Denied):
                await members.present(self._db)
        self._round += 1
        snapshot = Snapshot(
            at=time.time(),
            round_trip_ms=round_trip * 1000,
            me=await members.me(self._db),
            server_now=who.now,
            today=today,
            rate=self._rate.add(time.monotonic(), today.inserted),
            minutes=self._last.minutes if self._last else (),
            agents=tuple(known),
            samples=self._samples,
            newest=self._last.newest if self._last else (),
            dead_letters=self._last.dead_letters if self._last else (),
            alerts=tuple(await alert_views.episodes(self._db, timedelta(0))),
            alerting=await alert_views.health(self._db),
        )
        self._last = await self._with_rows(snapshot)
        return self._last

    async def _with_rows(self, snapshot: Snapshot) -> Snapshot:
        """What only the Overview shows, while it is on screen."""
        pane = self._pane()
        if pane is not None and pane.name != "overview":
            return snapshot
        return replace(
            snapshot,
            minutes=tuple(await rates.by_minute(self._db, MINUTES)),
            newest=tuple(await telemetry.newest(self._db, ROWS_SHOWN)),
            dead_letters=tuple(await dead_letters.newest(self._db, ROWS_SHOWN)),
        )

    async def _load(self) -> None:
        """The rows of the pane on screen, when they are due: at least its own time, and ten times what they cost."""
        pane = self._pane()
        began = time.monotonic()
        if pane is None or began < self._due.get(pane.name, 0.0):
            return
        try:
            self._tell(Loaded(pane, await within(PANE_SECONDS, pane.load(self._db))))
        except Exception as error:
            if isinstance(error, Unavailable) and not isinstance(error, TooSlow):
                raise
            self._tell(Loaded(pane, error=described(error)))
        self._due[pane.name] = began + max(pane.seconds, 10 * (time.monotonic() - began))

    async def _inspect(self) -> None:
        pane = self._pane()
        if pane is None or not pane.lacks():
            return
        await asyncio.sleep(KEY_REPEAT_SECONDS)  # one look for a key that is held down
        with suppress(Exception):  # a database that is away is found out by the next round
            await within(ANSWER_SECONDS, pane.inspect(self._db))
            self._tell(Loaded(pane))

    async def _ask_samples(self, known: list[AgentRow]) -> tuple[Sample, ...]:
        if not known:
            return ()
        return tuple(await agents.recent_samples(self._db, known[0].agent_id, SAMPLE_WINDOW_SECONDS))

    async def _pause(self, seconds: float) -> None:
        """Until then, or until woken for everything; looks at rows meanwhile."""
        ends_at = time.monotonic() + seconds
        while not self._all and (left := ends_at - time.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wake.wait()
            self._wake.clear()
            if not self._all:
                await self._inspect()
        self._all = False


def described(error: Exception) -> str:
    """Our own errors in their words; others with their kind, because their words may be none."""
    return str(error) if isinstance(error, StoreError) else f"{type(error).__name__}: {error}"


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
