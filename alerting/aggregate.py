"""One number for each group of series, from what is known of each series within a window."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from alerting.expression import Query
from alerting.machine import Labels


@dataclass(frozen=True, slots=True)
class Stats:
    """A series within a window. increase: of a counter, with its resets. numbers: all values, for quantile."""

    labels: Mapping[str, str]
    count: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    newest: float = math.nan
    newest_at: float = -math.inf
    increase: float | None = None
    numbers: tuple[float, ...] = ()


Point = tuple[float, float]  # (time, value)


def stats_of(labels: Mapping[str, str], points: Sequence[Point], before: float | None) -> Stats:
    """A series from its points within a window, oldest first. before: the value with which the window began.

    A counter that falls was reset: what it shows now came on top.
    """
    values = [value for _, value in points]
    counted = values if before is None else [before, *values]
    increase = sum(b - a if b >= a else b for a, b in pairwise(counted))
    return Stats(
        labels, len(values), sum(values), min(values), max(values), values[-1], points[-1][0],
        increase if len(counted) > 1 else None, tuple(values),
    )  # fmt: skip


def reduce(query: Query, series: Iterable[Stats], slot: float) -> dict[Labels, float]:
    """The rows of a query. Series that its matchers refuse are left out."""
    function = FUNCTIONS[query.function]
    groups: dict[Labels, list[Stats]] = {}
    for found in series:
        labels = tuple(sorted(found.labels.items()))
        if all(matcher.accepts(labels) for matcher in query.matchers):
            groups.setdefault(labels if query.by is None else _kept(found.labels, query.by), []).append(found)
    if query.window is None:
        groups = {labels: [_now(found) for found in members] for labels, members in groups.items()}
    values = {labels: function(query, members, slot) for labels, members in groups.items()}
    return {labels: value for labels, value in values.items() if value is not None}


def _now(found: Stats) -> Stats:
    """Without a window only the newest value of a series counts."""
    value = found.newest
    return replace(found, count=1, total=value, low=value, high=value, numbers=(value,))


def _kept(labels: Mapping[str, str], by: tuple[str, ...]) -> Labels:
    return tuple(sorted((name, labels[name]) for name in by if name in labels))


def _last(query: Query, members: list[Stats], slot: float) -> float | None:
    return max(members, key=lambda s: s.newest_at).newest


def _avg(query: Query, members: list[Stats], slot: float) -> float | None:
    count = sum(s.count for s in members)
    return sum(s.total for s in members) / count if count else None


def _increase(query: Query, members: list[Stats], slot: float) -> float | None:
    known = [s.increase for s in members if s.increase is not None]
    return sum(known) if known else None


def _rate(query: Query, members: list[Stats], slot: float) -> float | None:
    increase = _increase(query, members, slot)
    return None if increase is None or not query.window else increase / query.window


def _quantile(query: Query, members: list[Stats], slot: float) -> float | None:
    """Linear interpolation between the two nearest values, as Prometheus does."""
    numbers = sorted(number for s in members for number in s.numbers)
    if not numbers:
        return None
    rank = (query.number or 0.0) * (len(numbers) - 1)
    below = math.floor(rank)
    above = min(below + 1, len(numbers) - 1)
    return numbers[below] + (numbers[above] - numbers[below]) * (rank - below)


FUNCTIONS: dict[str, Callable[[Query, list[Stats], float], float | None]] = {
    "last": _last,
    "avg": _avg,
    "min": lambda query, members, slot: min(s.low for s in members),
    "max": lambda query, members, slot: max(s.high for s in members),
    "sum": lambda query, members, slot: sum(s.total for s in members),
    "count": lambda query, members, slot: float(sum(s.count for s in members)),
    "rate": _rate,
    "increase": _increase,
    "age": lambda query, members, slot: slot - max(s.newest_at for s in members),
    "quantile": _quantile,
}
