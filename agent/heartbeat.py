"""Every few seconds: look at everything, tell the database, systemd and the state directory."""

import asyncio
import gc
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import structlog

from agent import report
from agent.ingest.redelivery import Horizon
from agent.report import Observed
from agent.systemd import Notifier
from store import agents
from store.agents import Sample
from store.db import Db
from store.deadline import within
from store.errors import StoreError

log = structlog.get_logger()
SAMPLES_HELD = 720  # an hour at 5 s: what an outage may last without a gap in the charts
BEAT_TIMEOUT = 5.0
COLLECT_SECONDS = 30.0
HORIZON_FILE = "horizon"


class Heartbeat:
    """run() repeats tick(). patience: seconds a message may be in our hands before the watchdog is let go."""

    def __init__(
        self,
        db: Db,
        agent_id: str,
        version: str,
        observe: Callable[[], Observed],
        horizon: Horizon,
        state_dir: Path,
        notifier: Notifier,
        patience: float,
    ) -> None:
        self._db = db
        self._agent_id = agent_id
        self._version = version
        self._observe = observe
        self._horizon = horizon
        self._state_dir = state_dir
        self._notifier = notifier
        self._patience = patience
        self._started_at = datetime.now(UTC)
        self._samples: deque[Sample] = deque(maxlen=SAMPLES_HELD)
        self._collected_at = time.monotonic()

    async def run(self, interval: float) -> None:
        while True:
            await self.tick()
            await asyncio.sleep(interval)

    async def tick(self) -> None:
        self._collect()
        seen = self._observe()
        self._samples.append(report.sample(seen))
        self._horizon.advance(seen.now, time.monotonic(), seen.link.connected_at, seen.confirmed)
        save_horizon(self._state_dir, self._horizon)
        self._tell_systemd(seen)
        # the ingest pipeline reports a database that is away; the samples wait here with their own times
        with suppress(StoreError):
            await within(BEAT_TIMEOUT, self._tell_database(seen))

    def _collect(self) -> None:
        """The daemon keeps the collector away from batches; closed connections are cycles that wait for it. It looks
        at every message in our hands: so not at every beat."""
        now = time.monotonic()
        if now - self._collected_at >= COLLECT_SECONDS:
            self._collected_at = now
            gc.collect()

    async def _tell_database(self, seen: Observed) -> None:
        at = datetime.fromtimestamp(seen.now, UTC)
        await agents.beat(self._db, self._agent_id, self._version, self._started_at, at, report.status(seen))
        waiting = tuple(self._samples)
        await agents.put_samples(self._db, self._agent_id, waiting)
        while self._samples and self._samples[0].at <= waiting[-1].at:
            self._samples.popleft()

    def _tell_systemd(self, seen: Observed) -> None:
        worst = next((p for p in report.parts(seen) if p.state is agents.PartState.CRIT), None)
        status = f"{worst.name}: {worst.detail}" if worst else f"{seen.count.received} messages received"
        lines = [f"STATUS={status}"]
        if report.progressing(seen, self._patience):
            lines.append("WATCHDOG=1")
        else:
            log.critical("no progress; not feeding the watchdog", unsettled=seen.count.unsettled())
        self._notifier.send(*lines)


def save_horizon(state_dir: Path, horizon: Horizon) -> None:
    """Atomic, not fsynced: after a power cut an older horizon only means looking back further."""
    path = state_dir / HORIZON_FILE
    temporary = path.with_suffix(".new")
    try:
        temporary.write_text(repr(horizon.at))
        temporary.rename(path)
    except OSError as error:
        log.warning("cannot save the horizon", path=str(path), error=str(error))


def load_horizon(state_dir: Path) -> float | None:
    """The saved horizon, seconds since 1970; None when there is none that can be read."""
    try:
        return float((state_dir / HORIZON_FILE).read_text())
    except (OSError, ValueError):
        return None
