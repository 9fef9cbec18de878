"""Tests of rules: simulated series in, alerts and notifications out, through the code that is in use.

The file has promtool's shape (rule_files, evaluation_interval, tests with input_series and alert_rule_test), with
additions: `error` among the values, events (restart, ack, silence), exp_state and exp_notifications. promtool looks
back five minutes over a gap; here a missing value is missing after the metric's own staleness.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from alerting import catalogue
from alerting.aggregate import Stats, reduce, stats_of
from alerting.catalogue import Form
from alerting.expression import Query, queries
from alerting.machine import Labels
from alerting.model import Duration, LabelName, Part
from alerting.rules import Rule
from alerting.vectors import Vector

SERIES = re.compile(r'([A-Za-z_][\w.]*(?:"[^"]*"[\w.]*)*)\s*(?:\{(.*)\})?')
LABEL = re.compile(r'\s*([A-Za-z_]\w*)\s*=\s*"([^"]*)"\s*(?:,|$)')
NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|Inf|NaN)"
VALUE = re.compile(
    rf"(?P<gap>_|stale|error)(?:x(?P<gaps>\d+))?|(?P<first>{NUMBER})(?:(?P<step>[-+]\d+\.?\d*)?x(?P<times>\d+))?"
)


class InputSeries(Part):
    series: str
    """Such as vm.cpu_percent{agent="a"}"""
    values: str
    """1 2 3, 1+2x5 (1 3 5 7 9 11), 7x3 (7 7 7 7), _ (missing), error (the evaluation fails)"""


class Expected(Part):
    exp_labels: dict[LabelName, str] = {}
    exp_annotations: dict[LabelName, str] = {}


class AlertTest(Part):
    eval_time: Duration
    alertname: str
    exp_alerts: list[Expected] | None = None
    """All alerts of that name that fire then; labels that are not named are not compared."""
    exp_state: Literal["inactive", "pending", "firing"] | None = None


class Event(Part):
    at: Duration
    type: Literal["restart", "reload", "ack", "silence"]
    rule_file: str | None = None
    """reload: the rules from then on."""
    matchers: dict[LabelName, str] = {}
    lasts: Duration = 3600.0


class ExpectedNotification(Part):
    at: Duration
    alertname: str
    reason: Literal["firing", "resolved", "repeat", "brief"]


class RuleTest(Part):
    name: str = ""
    interval: Duration | None = None
    """Between the values of a series."""
    input_series: list[InputSeries]
    events: list[Event] = []
    alert_rule_test: list[AlertTest] = []
    exp_notifications: list[ExpectedNotification] | None = None


class TestFile(Part):
    rule_files: list[str] = Field(min_length=1)
    evaluation_interval: Duration = 60.0
    tests: Annotated[list[RuleTest], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class Series:
    """points: (seconds, value). errors: seconds at which reading it fails."""

    metric: str
    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]
    errors: frozenset[float] = field(default_factory=frozenset)


def series_of(given: InputSeries, interval: float) -> Series:
    """Raises ValueError."""
    match = SERIES.fullmatch(given.series.strip())
    if match is None or catalogue.metric_of(match[1]) is None:
        raise ValueError(f"{given.series}: no such metric")
    labels = dict(LABEL.findall(match[2] or ""))
    points, errors, at = [], set(), 0.0
    for value in _values(given.values):
        if isinstance(value, float):
            points.append((at, value))
        elif value == "error":
            errors.add(at)
        at += interval
    return Series(match[1], labels, tuple(points), frozenset(errors))


def _values(text: str) -> Iterator[float | str]:
    for word in text.split():
        match = VALUE.fullmatch(word)
        if match is None:
            raise ValueError(f"{word!r} is no value: write 1, 1+2x5, 7x3, _ or error")
        if match["gap"]:
            yield from [match["gap"]] * int(match["gaps"] or 1)
        else:
            for n in range(int(match["times"] or 0) + 1):
                yield float(match["first"]) + n * float(match["step"] or 0)


class Simulation:
    """The rows that rules would see at a time, seconds from the test's begin."""

    def __init__(self, series: list[Series], interval: float) -> None:
        self._series = series
        self._interval = interval

    def rows(self, rule: Rule, now: float) -> dict[Query, Vector] | str:
        """Rows of each query of a rule, or the text of an error."""
        found: dict[Query, Vector] = {}
        for query in queries(rule.node):
            if any(
                s.metric == query.metric and now // self._interval * self._interval in s.errors for s in self._series
            ):
                return f"{query.metric} could not be read"
            found[query] = reduce(query, self._stats(query, now), now)
        return found

    def _stats(self, query: Query, now: float) -> Iterator[Stats]:
        metric = catalogue.metric_of(query.metric)
        assert metric is not None
        since = now - (metric.staleness if query.window is None else query.window)
        for one in self._series:
            if one.metric != query.metric:
                continue
            if metric.form is Form.MOMENT:
                moments = [at for at, _ in one.points if at <= now]
                if moments:
                    yield Stats(one.labels, newest_at=moments[-1])
                continue
            inside = [point for point in one.points if since < point[0] <= now]
            before = [value for at, value in one.points if at <= since]
            if inside:
                yield stats_of(one.labels, inside, before[-1] if before else None)


def differences(expected: list[Expected], found: list[tuple[Labels, Mapping[str, str]]]) -> list[str]:
    """What is missing among the alerts that fire, and what is too much. found: labels and annotations."""
    rest = list(found)
    wrong = []
    for one in expected:
        hit = next((alert for alert in rest if _fits(one, *alert)), None)
        if hit is None:
            wrong.append(f"missing: {_shown(one.exp_labels)} {dict(one.exp_annotations) or ''}".rstrip())
        else:
            rest.remove(hit)
    wrong += [f"too much: {_shown(dict(labels))} {dict(annotations)}" for labels, annotations in rest]
    return wrong


def _fits(expected: Expected, labels: Labels, annotations: Mapping[str, str]) -> bool:
    known: dict[str, Any] = dict(labels)
    return all(known.get(k) == v for k, v in expected.exp_labels.items()) and all(
        annotations.get(k) == v for k, v in expected.exp_annotations.items()
    )


def _shown(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'{k}="{v}"' for k, v in sorted(labels.items())) + "}"
