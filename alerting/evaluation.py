"""One rule at one slot, from the rows of its queries to what the state machine makes of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from alerting import machine, vectors
from alerting.expression import Query
from alerting.machine import Evaluation, Labels, Memory, NoData, Result, Row
from alerting.rules import NAME, Rule
from alerting.threshold import Threshold
from alerting.vectors import NoMatch, Vector


@dataclass(frozen=True, slots=True)
class Asked:
    """Values of a rule's rows, or why there are none. complete: whether a missing row means something."""

    values: tuple[tuple[Labels, float], ...]
    complete: bool = True
    error: str | None = None


def asked(rule: Rule, rows: Mapping[Query, Vector], complete: bool = True) -> Asked:
    """Values of a rule from the rows of each of its queries, with the labels its alerts will have."""
    try:
        found = vectors.value(rule.node, rows.__getitem__)
    except NoMatch as error:
        return Asked((), error=str(error))
    assert not isinstance(found, float), "a rule that measures nothing is refused when it is loaded"
    own = dict(rule.labels) | {NAME: rule.alert}
    values = tuple((tuple(sorted((dict(labels) | own).items())), value) for labels, value in found.items())
    return Asked(values, complete)


def quiet(rule: Rule, found: Asked) -> bool:
    """Whether a rule without open instances has nothing to say: most rules, most of the time."""
    if found.error is not None or rule.timing.no_data is NoData.ALERTING:
        return False
    if rule.limit is None:
        return not found.values
    op, limit = rule.limit.op, rule.limit.value
    return not any(machine.holds(value, op, limit) for _, value in found.values)


def judge(rule: Rule, memory: Memory, found: Asked, slot: float, restarted: bool = False) -> Evaluation:
    """What the state machine makes of it. A gap of several slots counts as a restart, whatever the reason."""
    timing = rule.timing
    if timing.no_data is NoData.ALERTING or rule.on_error is NoData.ALERTING:
        timing = replace(timing, own=tuple(sorted((dict(rule.labels) | {NAME: rule.alert}).items())))
    result: Result | str
    if found.error is not None:
        result = found.error
        if rule.on_error is NoData.ALERTING:
            result, timing = Result(()), replace(timing, no_data=NoData.ALERTING)
    elif rule.limit is None:
        result = Result(tuple(Row(labels, value, True) for labels, value in found.values), found.complete)
    else:
        result = Result(Threshold(rule.limit, rule.recover).rows(memory, found.values), found.complete)
    late = memory.last_slot is not None and slot - memory.last_slot > 2 * rule.interval
    return machine.evaluate(timing, memory, result, slot, restarted or late)
