"""What this agent measured lately, in memory: it is there when the database is not."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakValueDictionary

from alerting.aggregate import Stats, stats_of

KEPT_SECONDS = 3600.0

# (metric, value of its own label or None) to value
Readings = Mapping[tuple[str, str | None], float]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Layout:
    """Where in a sample each series is: by metric, the value of its own label and the place. Samples share it."""

    places: Mapping[str, Mapping[str | None, int]]


@dataclass(frozen=True, slots=True)
class _Sample:
    """All that was measured at one time, 8 bytes each: an hour of it as objects would be several megabytes.

    One piece of memory a sample, and not one that grows and moves for each series: what is forgotten leaves just the
    room that the next sample takes.
    """

    at: float
    layout: _Layout
    values: "array[float]"


def _layout(keys: tuple[tuple[str, str | None], ...]) -> _Layout:
    places: dict[str, dict[str | None, int]] = {}
    for place, (metric, own) in enumerate(keys):
        places.setdefault(metric, {})[own] = place
    return _Layout(places)


def _time(sample: _Sample) -> float:
    return sample.at


class History:
    """Samples of the last hour. own_labels: name of the label that some metrics have besides the agent's."""

    def __init__(self, agent_id: str, own_labels: Mapping[str, str], kept_seconds: float = KEPT_SECONDS) -> None:
        self._agent_id = agent_id
        self._own_labels = own_labels
        self._kept_seconds = kept_seconds
        self._layouts: WeakValueDictionary[tuple[tuple[str, str | None], ...], _Layout] = WeakValueDictionary()
        self._samples: list[_Sample] = []

    def add(self, at: float, values: Readings) -> None:
        """at: seconds since 1970. A clock that steps back begins a new history: windows over both mean nothing."""
        if self._samples and at < self._samples[-1].at:
            self._samples.clear()
        keys = tuple(values)
        layout = self._layouts.get(keys)
        if layout is None:
            layout = self._layouts[keys] = _layout(keys)
        self._samples.append(_Sample(at, layout, array("d", values.values())))
        del self._samples[: bisect_left(self._samples, at - self._kept_seconds, key=_time)]

    def covers(self, since: float) -> bool:
        """Whether the history reaches back that far."""
        return bool(self._samples) and self._samples[0].at <= since

    def stats(self, metric: str, since: float, until: float) -> list[Stats]:
        """Series of a metric in (since, until]. An increase counts from the last value before the window."""
        first, last = (bisect_right(self._samples, at, key=_time) for at in (since, until))
        series: dict[str | None, list[tuple[float, float]]] = {}
        for sample in self._samples[first:last]:
            for own, place in sample.layout.places.get(metric, {}).items():
                series.setdefault(own, []).append((sample.at, sample.values[place]))
        return [
            stats_of(self._labels(metric, own), points, self._before(first, metric, own))
            for own, points in series.items()
        ]

    def _before(self, end: int, metric: str, own: str | None) -> float | None:
        """The last value of a series before that sample."""
        for index in range(end - 1, -1, -1):
            sample = self._samples[index]
            place = sample.layout.places.get(metric, {}).get(own)
            if place is not None:
                return sample.values[place]
        return None

    def _labels(self, metric: str, own: str | None) -> dict[str, str]:
        return {"agent": self._agent_id} | ({} if own is None else {self._own_labels[metric]: own})
