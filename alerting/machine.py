"""One alert instance at one evaluation: what becomes of it.

Semantics are Prometheus' (rules/alerting.go of 2026: inclusive `for`, keep_firing_for, an error freezes, a raised `for`
demotes), with extensions: state survives a restart, `recover` is a second threshold while firing, `no_data` says what
a missing row means, a full rule refuses new instances and keeps the old ones, and whoever was told of a firing is told
of its end. Times are evaluation slots, seconds since 1970; durations are seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

RESOLVED_RETENTION = 900.0  # how long Prometheus sends "resolved" again

Labels = tuple[tuple[str, str], ...]  # sorted pairs
NO_LABELS: Labels = ()


class State(StrEnum):
    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"


class NoData(StrEnum):
    """What it means that a series has no row: the condition is false, nothing is known, or it holds."""

    OK = "ok"
    KEEP = "keep"
    ALERTING = "alerting"


class Kind(StrEnum):
    FIRING = "firing"
    RESOLVED = "resolved"
    RULE_CHANGED = "rule_changed"  # not firing any more because `for` was raised; nobody is notified


@dataclass(frozen=True, slots=True)
class Timing:
    """resend: Prometheus' resend-delay, None where the notifier repeats. limit: most instances, 0 for any number.

    own: the labels of the rule itself, for the alert that no series was ever there.
    """

    hold: float = 0.0
    keep_firing: float = 0.0
    no_data: NoData = NoData.OK
    limit: int = 0
    resend: float | None = None
    outage_tolerance: float = 3600.0
    grace: float = 0.0
    own: Labels = NO_LABELS


@dataclass(frozen=True, slots=True)
class Instance:
    """owes: somebody was told that it fires, and not yet that it ended."""

    state: State
    active_at: float
    fired_at: float | None = None
    keep_since: float | None = None
    resolved_at: float | None = None
    sent_at: float | None = None
    owes: bool = False
    episode: int = 0
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to write down and to tell. again: only a repetition of what was told before."""

    labels: Labels
    kind: Kind
    episode: int
    value: float | None
    again: bool = False


NOTHING: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One series of a result. active: whether the condition holds; value is what people see."""

    labels: Labels
    value: float
    active: bool


@dataclass(frozen=True, slots=True)
class Result:
    """rows: of one evaluation. complete: False when history is too short for a missing row to mean anything."""

    rows: tuple[Row, ...]
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Memory:
    """What one rule remembers between evaluations. seen: every series so far, for no_data: alerting only."""

    instances: Mapping[Labels, Instance] = field(default_factory=dict)
    last_slot: float | None = None
    seen: frozenset[Labels] = frozenset()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """error: why nothing changed. refused: series that found the rule full."""

    memory: Memory
    notices: tuple[Notice, ...] = ()
    error: str | None = None
    refused: tuple[Labels, ...] = ()
    skipped: bool = False


def evaluate(timing: Timing, memory: Memory, result: Result | str, slot: float, restarted: bool = False) -> Evaluation:
    """One evaluation of one rule. result: rows, or the text of an error, which changes nothing but the slot.

    A slot that is not after the last one is skipped: the clock stepped back, or another agent was faster.
    """
    if memory.last_slot is not None and slot <= memory.last_slot:
        return Evaluation(memory, skipped=True)
    moved = replace(memory, last_slot=slot)
    if isinstance(result, str):
        return Evaluation(moved, error=result)
    rows = {row.labels: row for row in result.rows}
    if len(rows) < len(result.rows):
        return Evaluation(moved, error="two rows with the same labels")
    known = dict(memory.instances)
    if memory.last_slot is not None and (restarted or slot - memory.last_slot > timing.outage_tolerance):
        known = {labels: _restored(timing, found, slot, memory.last_slot) for labels, found in known.items()}
    return _step(timing, replace(moved, instances=known), rows, result.complete, slot)


def close(memory: Memory) -> tuple[Notice, ...]:
    """The rule is gone, or is another one now: everybody who was told that it fires is told that it ended."""
    return tuple(
        Notice(labels, Kind.RESOLVED, found.episode, found.value)
        for labels, found in memory.instances.items()
        if found.owes
    )


def holds(value: float, op: str, threshold: float) -> bool:
    """IEEE comparison: nothing but != is true of NaN."""
    match op:
        case ">":
            return value > threshold
        case ">=":
            return value >= threshold
        case "<":
            return value < threshold
        case "<=":
            return value <= threshold
        case "==":
            return value == threshold
        case "!=":
            return value != threshold
    raise ValueError(f"{op!r} compares nothing")


def _step(timing: Timing, memory: Memory, rows: dict[Labels, Row], complete: bool, slot: float) -> Evaluation:
    instances: dict[Labels, Instance] = {}
    notices: list[Notice] = []
    refused: list[Labels] = []
    seen = memory.seen | rows.keys() if timing.no_data is NoData.ALERTING else memory.seen
    room = timing.limit - sum(found.state is not State.INACTIVE for found in memory.instances.values())
    for labels in _order(timing, memory, rows, seen):
        before = memory.instances.get(labels)
        active, value = _seen(timing, labels, rows, complete)
        if active is None:
            after, told = before, NOTHING
        elif active:
            fresh = before is None or before.state is State.INACTIVE
            if fresh and timing.limit and room <= 0:
                refused.append(labels)
                continue
            room -= fresh
            after, told = _active(timing, labels, before, value, slot)
        else:
            after, told = _false(timing, labels, before, value, slot)
        notices += told
        if after is not None:
            instances[labels] = after
    return Evaluation(replace(memory, instances=instances, seen=seen), tuple(notices), refused=tuple(refused))


def _order(timing: Timing, memory: Memory, rows: dict[Labels, Row], seen: frozenset[Labels]) -> list[Labels]:
    """Old instances first, so that a storm of new ones cannot push them out."""
    missing = sorted(seen - rows.keys() - memory.instances.keys())
    if timing.no_data is NoData.ALERTING and not rows and not seen:
        missing = [timing.own]  # nothing was ever seen: the rule itself stands in
    found = [*memory.instances, *(labels for labels in rows if labels not in memory.instances), *missing]
    return list(dict.fromkeys(found))


def _seen(timing: Timing, labels: Labels, rows: dict[Labels, Row], complete: bool) -> tuple[bool | None, float | None]:
    """(active, value); active None: nothing is known."""
    row = rows.get(labels)
    if row is not None:
        return row.active, row.value
    if not complete:
        return None, None
    if labels == timing.own and rows:
        return False, None  # the stand-in ends when real series come
    return {NoData.OK: False, NoData.KEEP: None, NoData.ALERTING: True}[timing.no_data], None


def _active(
    timing: Timing, labels: Labels, before: Instance | None, value: float | None, slot: float
) -> tuple[Instance, tuple[Notice, ...]]:
    if before is None or before.state is State.INACTIVE:
        before = Instance(State.PENDING, active_at=slot)
    now = replace(before, value=value)
    held = slot - now.active_at >= timing.hold
    if now.state is State.PENDING:
        return _fire(labels, now, slot) if held else (now, ())
    if not held:
        demoted = replace(now, state=State.PENDING, fired_at=None, keep_since=None, sent_at=None)
        return demoted, (Notice(labels, Kind.RULE_CHANGED, now.episode, value),)
    now = replace(now, keep_since=None)
    return _again(timing, labels, now, Kind.FIRING, slot)


def _fire(labels: Labels, pending: Instance, slot: float) -> tuple[Instance, tuple[Notice, ...]]:
    """The episode is named after its first slot in milliseconds: unique without any memory, the same at every agent."""
    episode = round(slot * 1000)
    firing = replace(pending, state=State.FIRING, fired_at=slot, sent_at=slot, owes=True, episode=episode)
    return firing, (Notice(labels, Kind.FIRING, episode, pending.value),)


def _false(
    timing: Timing, labels: Labels, before: Instance | None, value: float | None, slot: float
) -> tuple[Instance | None, tuple[Notice, ...]]:
    if before is None:
        return None, ()
    if before.state is State.INACTIVE:
        if slot - (before.resolved_at or slot) > RESOLVED_RETENTION:
            return None, ()
        return _again(timing, labels, before, Kind.RESOLVED, slot)
    if before.state is State.FIRING and timing.keep_firing > 0:
        since = slot if before.keep_since is None else before.keep_since
        if slot - since < timing.keep_firing:
            kept = replace(before, keep_since=since, value=before.value if value is None else value)
            return _again(timing, labels, kept, Kind.FIRING, slot)
    if not before.owes:
        return None, ()
    ended = replace(
        before, state=State.INACTIVE, fired_at=None, keep_since=None, resolved_at=slot, sent_at=slot, owes=False,
        value=value,
    )  # fmt: skip
    return (ended if timing.resend is not None else None), (Notice(labels, Kind.RESOLVED, before.episode, value),)


def _again(
    timing: Timing, labels: Labels, now: Instance, kind: Kind, slot: float
) -> tuple[Instance, tuple[Notice, ...]]:
    """Sent again when more than the delay has passed; exactly the delay is not enough, as in Prometheus."""
    if timing.resend is None or now.sent_at is None or now.sent_at + timing.resend >= slot:
        return now, ()
    return replace(now, sent_at=slot), (Notice(labels, kind, now.episode, now.value, again=True),)


def _restored(timing: Timing, found: Instance, slot: float, last_slot: float) -> Instance:
    """Time in which nobody watched does not count towards `for`; what fires goes on firing."""
    if found.state is not State.PENDING:
        return found
    if slot - last_slot > timing.outage_tolerance or timing.hold < timing.grace:
        return replace(found, active_at=slot)
    remaining = timing.hold - (last_slot - found.active_at)
    if remaining <= 0:
        return found
    if remaining < timing.grace:
        return replace(found, active_at=slot + timing.grace - timing.hold)
    return replace(found, active_at=found.active_at + slot - last_slot)
