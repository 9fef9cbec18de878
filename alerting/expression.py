"""The expressions of rules, as a tree.

    avg(vm.cpu_percent[2m]) > 90
    rate(agent.ingest.errors[5m]) / rate(agent.ingest.received[5m]) > 0.02 and rate(agent.ingest.received[5m]) > 1
    age(telemetry.last_seen) by (tenant, device) > 15m

A query is a function over one metric; text in it never reaches SQL, it becomes a bound parameter.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from alerting.machine import Labels
from alerting.threshold import Limit

FUNCTIONS = {
    "last": "the newest value",
    "avg": "mean of the values in the window",
    "min": "smallest value in the window",
    "max": "largest value in the window",
    "sum": "sum of the values in the window",
    "count": "how many values are in the window",
    "rate": "increase of a counter per second",
    "increase": "increase of a counter over the window",
    "age": "seconds since the newest value",
    "quantile": "quantile(0.95, metric[5m])",
}
NEED_WINDOW = {"rate", "increase", "quantile"}
OF_COUNTERS = {"rate", "increase"}


@dataclass(frozen=True, slots=True)
class Matcher:
    """label = "value", or != when equal is False."""

    label: str
    value: str
    equal: bool = True

    def accepts(self, labels: Labels) -> bool:
        return (dict(labels).get(self.label, "") == self.value) == self.equal


@dataclass(frozen=True, slots=True)
class Query:
    """function(metric{matchers}[window]) by (by). window None: the newest value of each series; by None: no grouping.

    number is the first argument of quantile. column is where it stands in the text, from 1.
    """

    function: str
    metric: str
    matchers: tuple[Matcher, ...] = ()
    window: float | None = None
    by: tuple[str, ...] | None = None
    number: float | None = None
    column: int = 1


@dataclass(frozen=True, slots=True)
class Number:
    value: float


@dataclass(frozen=True, slots=True)
class Binary:
    """op is + - * / (values), < <= > >= == != (keeps the left rows for which it holds), and, or, unless (sets)."""

    op: str
    left: "Node"
    right: "Node"
    column: int = 1


Node = Query | Number | Binary
COMPARISONS = ("==", "!=", ">=", "<=", ">", "<")
SETS = ("and", "or", "unless")


def queries(node: Node) -> Iterator[Query]:
    """All queries of an expression, from left to right."""
    match node:
        case Query():
            yield node
        case Binary(left=left, right=right):
            yield from queries(left)
            yield from queries(right)


def split(node: Node) -> tuple[Node, Limit | None]:
    """(what is measured, limit) of an expression that compares with one number; otherwise (all of it, None)."""
    match node:
        case Binary(op=op, left=left, right=Number(value=value)) if op in COMPARISONS:
            return left, Limit(op, value)
    return node, None
