"""A comparison with hysteresis: one limit to begin, another to end."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from alerting.machine import Labels, Memory, Row, State, holds

OPERATORS = (">=", "<=", "==", "!=", ">", "<")
TEXT = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class Limit:
    op: str
    value: float


@dataclass(frozen=True, slots=True)
class Threshold:
    """Active when the value holds against `limit`; while firing, until it holds against `recover`, if there is one."""

    limit: Limit
    recover: Limit | None = None

    def rows(self, memory: Memory, values: Iterable[tuple[Labels, float]]) -> tuple[Row, ...]:
        return tuple(Row(labels, value, self._active(memory, labels, value)) for labels, value in values)

    def _active(self, memory: Memory, labels: Labels, value: float) -> bool:
        known = memory.instances.get(labels)
        if self.recover is not None and known is not None and known.state is State.FIRING:
            return not holds(value, self.recover.op, self.recover.value)
        return holds(value, self.limit.op, self.limit.value)


def limit_of(text: str) -> Limit:
    """A limit from text such as "< 75". Raises ValueError."""
    found = TEXT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no limit: write an operator and a number, as in '< 75'")
    try:
        return Limit(found[1], float(found[2]))
    except ValueError:
        raise ValueError(f"{found[2]!r} is no number") from None
