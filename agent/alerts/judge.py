"""What rules ask, and what an evaluation changed, as rows for the database and the book. Nothing is written here."""

import hashlib
import json
import math
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace

from agent.alerts.sources import Sources
from alerting import evaluation, template
from alerting.evaluation import Asked
from alerting.expression import Query, queries
from alerting.machine import Evaluation, Instance, Kind, Labels, Memory, Notice, State
from alerting.rules import NAME, Rule
from alerting.vectors import Vector
from store.alerts import Change, EventRow, InstanceRow
from store.errors import StoreError

STORM = 200  # open instances of one rule
EVENTS = uuid.UUID("6f1c0c7e-0c7a-5a51-9a55-0b1d7c2e9a10")  # name space of event ids


async def ask(rule: Rule, sources: Sources) -> Asked:
    """The values of a rule; an error is part of the answer."""
    rows: dict[Query, Vector] = {}
    try:
        for query in queries(rule.node):
            if query not in rows:
                rows[query] = await sources.rows(query)
    except StoreError as error:
        return Asked((), error=str(error))
    return evaluation.asked(rule, rows, sources.complete(rows))


def change(rule: Rule, evaluator: str, before: Memory, done: Evaluation, slot: float) -> Change:
    """The difference that an evaluation made, as rows. In a storm a new value alone is no difference."""
    after = done.memory.instances
    storm = len(after) > STORM
    changed = tuple(
        _instance_row(labels, found)
        for labels, found in after.items()
        if (old := before.instances.get(labels)) != found
        and not (storm and old is not None and replace(old, value=found.value) == found)
    )
    gone = tuple(fingerprint(labels) for labels in before.instances if labels not in after)
    events = tuple(event(rule, notice, slot, before.instances.get(notice.labels)) for notice in done.notices)
    return Change(rule.key, evaluator, changed, gone, events)


def event(rule: Rule, notice: Notice, slot: float, before: Instance | None) -> EventRow:
    """A notice as a row. Its ids follow from what it is about, so that every agent gives the same ones."""
    labels = dict(notice.labels)
    mark = fingerprint(notice.labels)
    active_for = slot - before.active_at if before is not None else 0.0
    facts = template.Facts(labels, _finite(notice.value), active_for)
    summary = rule.annotations.get("summary", rule.alert)
    return EventRow(
        event_id=event_id(rule.key, mark, notice.episode, str(notice.kind)),
        episode_id=event_id(rule.key, mark, notice.episode, str(Kind.FIRING)),
        fingerprint=mark, episode=notice.episode, kind=str(notice.kind), at=slot, value=notice.value, labels=labels,
        alert=rule.alert, severity=labels.get("severity", "warning"), summary=template.render(summary, facts),
        runbook=rule.runbook, reason=None, repeat_seconds=rule.repeat,
    )  # fmt: skip


def end_event(rule_key: str, notice: Notice, slot: float, reason: str) -> EventRow:
    """The end of an episode whose rule is gone."""
    labels, mark = dict(notice.labels), fingerprint(notice.labels)
    return EventRow(
        event_id=event_id(rule_key, mark, notice.episode, str(notice.kind)),
        episode_id=event_id(rule_key, mark, notice.episode, str(Kind.FIRING)),
        fingerprint=mark, episode=notice.episode, kind=str(notice.kind), at=slot, value=None, labels=labels,
        alert=labels.get(NAME, rule_key), severity=labels.get("severity", "warning"), summary=reason, runbook="",
        reason=reason, repeat_seconds=None,
    )  # fmt: skip


def event_id(rule_key: str, mark: str, episode: int, kind: str) -> str:
    return str(uuid.uuid5(EVENTS, f"{rule_key}\n{mark}\n{episode}\n{kind}"))


def fingerprint(labels: Labels) -> str:
    return hashlib.blake2b(json.dumps(labels).encode(), digest_size=8).hexdigest()


def memory_from(instances: Iterable[InstanceRow], last_slot: float | None, seen: Iterable[Mapping[str, str]]) -> Memory:
    """What was kept of a rule, for the state machine."""
    return Memory(
        {tuple(sorted(row.labels.items())): _instance_of(row) for row in instances},
        last_slot,
        frozenset(tuple(sorted(labels.items())) for labels in seen),
    )


def instance_rows(memory: Memory) -> list[InstanceRow]:
    return [_instance_row(labels, found) for labels, found in memory.instances.items()]


def orphans(rule: Rule, memory: Memory) -> Memory:
    """Instances from the time when the rule had another name or other labels: they are of a rule that is gone."""
    own = set((dict(rule.labels) | {NAME: rule.alert}).items())
    gone = {labels: found for labels, found in memory.instances.items() if not own <= set(labels)}
    return replace(memory, instances=gone)


def _instance_of(row: InstanceRow) -> Instance:
    return Instance(
        State(row.state), row.active_at, row.fired_at, row.keep_since, None, None, row.owes, row.episode, row.value
    )


def _instance_row(labels: Labels, found: Instance) -> InstanceRow:
    return InstanceRow(
        fingerprint(labels), dict(labels), str(found.state), found.active_at, found.fired_at, found.keep_since,
        found.owes, found.episode, found.value,
    )  # fmt: skip


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
