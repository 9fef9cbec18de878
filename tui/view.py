"""What a screen is drawn from: one frozen value, so that drawing needs no clock and no connection."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from store.agents import AgentRow, Sample
from store.alert_views import AlertingHealth, EpisodeRow
from store.dead_letters import DeadLetterRow
from store.members import Me
from store.rates import Minute, Totals
from store.telemetry import NewestRow

LATE_SECONDS = 3.0
STALE_SECONDS = 6.0
AGENT_SILENT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the database said at `at` (seconds since 1970, our clock). round_trip_ms: one query there and back."""

    at: float
    round_trip_ms: float
    me: Me
    server_now: datetime
    today: Totals
    rate: float | None
    minutes: tuple[Minute, ...]
    agents: tuple[AgentRow, ...]
    samples: tuple[Sample, ...]
    newest: tuple[NewestRow, ...]
    dead_letters: tuple[DeadLetterRow, ...]
    alerts: tuple[EpisodeRow, ...]
    alerting: AlertingHealth

    @property
    def agent(self) -> AgentRow | None:
        """The agent that beat last."""
        return self.agents[0] if self.agents else None

    @property
    def firing(self) -> list[EpisodeRow]:
        """What fires now, the gravest first."""
        return [alert for alert in self.alerts if alert.ended_at is None]


class PathState(StrEnum):
    """The way to the database."""

    CONNECTING = "connecting"
    LIVE = "live"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Path:
    """since: when this state began; next_try: when the console tries again. Seconds since 1970."""

    state: PathState
    since: float
    error: str = ""
    next_try: float = 0.0


class Metric(StrEnum):
    """What the big chart shows."""

    RATE = "msg/s"
    BAD = "dead letters/min"
    CPU = "CPU %"
    MEMORY = "memory %"


@dataclass(frozen=True, slots=True)
class View:
    """Everything the Overview is drawn from. Times in seconds since 1970; frozen_at: since when the picture is held.

    bare: for a report, without what devices sent.
    """

    now: float
    environment: str
    target: str
    path: Path
    snapshot: Snapshot | None
    metric: Metric = Metric.RATE
    window_minutes: int = 15
    local_time: bool = False
    frozen_at: float | None = None
    ascii: bool = False
    pane: str = "overview"
    bare: bool = False

    @property
    def me(self) -> Me:
        """Nobody, until the database has answered."""
        return self.snapshot.me if self.snapshot else Me("", "", {})

    @property
    def data_age(self) -> float | None:
        """Seconds since the database answered."""
        return None if self.snapshot is None else max(0.0, self.now - self.snapshot.at)

    def sent(self, payload: str) -> str:
        """What a device sent, unless it must not be shown."""
        return f"[{len(payload)} characters]" if self.bare else payload

    @staticmethod
    def stale_after(seconds: float) -> float:
        """The age at which what is asked for every so many seconds counts as old."""
        return max(STALE_SECONDS, 5 * seconds)

    @property
    def stale(self) -> bool:
        return self.data_age is None or self.data_age > STALE_SECONDS

    @property
    def agent_age(self) -> float | None:
        """Seconds since the agent's heartbeat reached the database: its age then, and the time since."""
        if self.snapshot is None or self.snapshot.agent is None:
            return None
        return self.snapshot.agent.age_seconds + (self.data_age or 0.0)

    @property
    def agent_silent(self) -> bool:
        return self.agent_age is None or self.agent_age > AGENT_SILENT_SECONDS
