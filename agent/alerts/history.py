"""What this agent measured lately, in memory: it is there when the database is not."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping

from alerting.aggregate import Stats, stats_of

KEPT_SECONDS = 3600.0

# (metric, value of its own label or None) to value
Readings = Mapping[tuple[str, str | None], float]


class _Series:
    """Points in order of time, 16 bytes each: an hour of all metrics as objects would be several megabytes."""

    __slots__ = ("at", "values")

    def __init__(self) -> None:
        self.at = array("d")
        self.values = array("d")

    def add(self, at: float, value: float) -> None:
        self.at.append(at)
        self.values.append(value)

    def forget(self, before: float) -> None:
        gone = bisect_left(self.at, before)
        del self.at[:gone], self.values[:gone]

    def between(self, since: float, until: float) -> tuple[list[tuple[float, float]], float | None]:
        """Points in (since, until], and the last value before them."""
        first, last = bisect_right(self.at, since), bisect_right(self.at, until)
        points = list(zip(self.at[first:last], self.values[first:last], strict=True))
        return points, self.values[first - 1] if first else None


class History:
    """Samples of the last hour. own_labels: name of the label that some metrics have besides the agent's."""

    def __init__(self, agent_id: str, own_labels: Mapping[str, str], kept_seconds: float = KEPT_SECONDS) -> None:
        self._agent_id = agent_id
        self._own_labels = own_labels
        self._kept_seconds = kept_seconds
        self._times = array("d")
        self._series: dict[tuple[str, str | None], _Series] = {}

    def add(self, at: float, values: Readings) -> None:
        """at: seconds since 1970. A clock that steps back begins a new history: windows over both mean nothing."""
        if self._times and at < self._times[-1]:
            del self._times[:]
            self._series.clear()
        self._times.append(at)
        for key, value in values.items():
            if key not in self._series:
                self._series[key] = _Series()
            self._series[key].add(at, value)
        self._forget(at - self._kept_seconds)

    def _forget(self, before: float) -> None:
        del self._times[: bisect_left(self._times, before)]
        for key, series in list(self._series.items()):
            series.forget(before)
            if not series.at:
                del self._series[key]

    def covers(self, since: float) -> bool:
        """Whether the history reaches back that far."""
        return bool(self._times) and self._times[0] <= since

    def stats(self, metric: str, since: float, until: float) -> list[Stats]:
        """Series of a metric in (since, until]. An increase counts from the last value before the window."""
        found = []
        for (name, own), series in self._series.items():
            if name == metric:
                points, before = series.between(since, until)
                if points:
                    found.append(stats_of(self._labels(metric, own), points, before))
        return found

    def _labels(self, metric: str, own: str | None) -> dict[str, str]:
        return {"agent": self._agent_id} | ({} if own is None else {self._own_labels[metric]: own})
