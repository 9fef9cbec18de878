"""Values of an expression from the values of its queries."""

import math
from collections.abc import Callable, Mapping

from alerting.expression import COMPARISONS, Binary, Node, Number, Query
from alerting.machine import Labels, holds

Vector = Mapping[Labels, float]
Lookup = Callable[[Query], Vector]


class NoMatch(Exception):
    """Two sides of an operator carry different labels; the message says which."""


def value(node: Node, lookup: Lookup) -> Vector | float:
    """A vector, or a number for a number. lookup gives the rows of each query. Raises NoMatch."""
    match node:
        case Number(value=number):
            return number
        case Query():
            return lookup(node)
        case Binary(op=op, left=left, right=right):
            return _join(op, value(left, lookup), value(right, lookup))


def _join(op: str, left: Vector | float, right: Vector | float) -> Vector:
    if op in ("and", "or", "unless"):
        assert not isinstance(left, float)
        assert not isinstance(right, float)
        return _sets(op, left, right)
    pairs = _pairs(left, right)
    if op in COMPARISONS:
        kept = isinstance(left, float)  # 5 < x keeps x
        return {labels: (b if kept else a) for labels, (a, b) in pairs.items() if holds(a, op, b)}
    return {labels: _arithmetic(op, a, b) for labels, (a, b) in pairs.items()}


def _pairs(left: Vector | float, right: Vector | float) -> dict[Labels, tuple[float, float]]:
    """Values of both sides with equal labels; a side with one row and no labels fits every row of the other."""
    if isinstance(left, float):
        assert not isinstance(right, float)
        return {labels: (left, b) for labels, b in right.items()}
    if isinstance(right, float):
        return {labels: (a, right) for labels, a in left.items()}
    if set(right) == {()} and left and () not in left:
        return {labels: (a, right[()]) for labels, a in left.items()}
    if set(left) == {()} and right and () not in right:
        return {labels: (left[()], b) for labels, b in right.items()}
    _same_names(left, right)
    return {labels: (a, right[labels]) for labels, a in left.items() if labels in right}


def _sets(op: str, left: Vector, right: Vector) -> Vector:
    if op == "or":
        return {**right, **left}
    everything = () in right  # a condition without labels is about all rows
    return {labels: a for labels, a in left.items() if (everything or labels in right) == (op == "and")}


def _same_names(left: Vector, right: Vector) -> None:
    names = [tuple(name for name, _ in next(iter(side), ())) for side in (left, right)]
    if left and right and names[0] != names[1]:
        a, b = (", ".join(side) or "no labels" for side in names)
        raise NoMatch(f"the sides have different labels ({a} and {b}): add by (...) to one of them")


def _arithmetic(op: str, a: float, b: float) -> float:
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
    if b == 0:  # as IEEE has it, and as Prometheus does
        return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a)
    return a / b
