"""What this agent measured lately, in memory: it is there when the database is not."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from alerting.aggregate import Stats, stats_of

KEPT_SECONDS = 3600.0

# (metric, value of its own label or None) to value
Readings = Mapping[tuple[str, str | None], float]


@dataclass(frozen=True, slots=True)
class Reading:
    """at: seconds since 1970."""

    at: float
    values: Readings


class History:
    """Samples of the last hour. own_labels: name of the label that some metrics have besides the agent's."""

    def __init__(self, agent_id: str, own_labels: Mapping[str, str], kept_seconds: float = KEPT_SECONDS) -> None:
        self._agent_id = agent_id
        self._own_labels = own_labels
        self._kept_seconds = kept_seconds
        self._readings: deque[Reading] = deque()

    def add(self, at: float, values: Readings) -> None:
        """A clock that steps back begins a new history: windows over both would mean nothing."""
        if self._readings and at < self._readings[-1].at:
            self._readings.clear()
        self._readings.append(Reading(at, values))
        while self._readings[0].at < at - self._kept_seconds:
            self._readings.popleft()

    def covers(self, since: float) -> bool:
        """Whether the history reaches back that far."""
        return bool(self._readings) and self._readings[0].at <= since

    def stats(self, metric: str, since: float, until: float) -> list[Stats]:
        """Series of a metric in (since, until]. An increase counts from the last value before the window."""
        series: dict[str | None, list[tuple[float, float]]] = {}
        before: dict[str | None, float] = {}
        for reading in self._readings:
            for own, value in _of(reading.values, metric):
                if since < reading.at <= until:
                    series.setdefault(own, []).append((reading.at, value))
                elif reading.at <= since:
                    before[own] = value
        return [stats_of(self._labels(metric, own), points, before.get(own)) for own, points in series.items()]

    def _labels(self, metric: str, own: str | None) -> dict[str, str]:
        return {"agent": self._agent_id} | ({} if own is None else {self._own_labels[metric]: own})


def _of(values: Readings, metric: str) -> Iterator[tuple[str | None, float]]:
    for (name, own), value in values.items():
        if name == metric:
            yield own, value
