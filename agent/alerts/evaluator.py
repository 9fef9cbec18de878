"""Evaluates rules at their slots: those about this agent by itself, those about the database by whoever has the duty.

However many agents evaluate, there is one event for each rule, series, episode and kind: a rule's row is locked, a slot
that is not newer is left, and the key of an event is unique. The lease only saves the work of doing it twice.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from agent.alerts import judge
from agent.alerts.book import Book
from agent.alerts.sources import Sources
from alerting import evaluation, machine
from alerting.catalogue import Scope
from alerting.evaluation import Asked
from alerting.machine import Evaluation, Memory
from alerting.rules import Rule
from store import alerts
from store.alerts import Change, Quiet, Runtime
from store.db import Db

log = structlog.get_logger()
SHARED = ""  # the evaluator of what any agent can see
GONE = "rule_changed"


@dataclass(slots=True)
class RuleHealth:
    """How rules fare: text of the last error, and how many series were refused, by rule."""

    errors: dict[str, str] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)

    def note(self, rule: Rule, done: Evaluation) -> None:
        if done.error is None:
            if self.errors.pop(rule.key, None) is not None:
                log.info("rule is evaluated again", rule=rule.key)
        elif rule.key not in self.errors:
            log.warning("rule cannot be evaluated", rule=rule.key, error=done.error)
        if done.error is not None:
            self.errors[rule.key] = done.error
        self.refused[rule.key] = len(done.refused)

    def keep(self, keys: Iterable[str]) -> None:
        """Forget rules that are gone."""
        known = set(keys)
        self.errors = {key: text for key, text in self.errors.items() if key in known}
        self.refused = {key: count for key, count in self.refused.items() if key in known}


class Evaluator:
    """db: raises StoreError when away; then only rules about this agent go on."""

    def __init__(self, db: Db, agent_id: str, book: Book) -> None:
        self.health = RuleHealth()
        self._db = db
        self._agent_id = agent_id
        self._book = book

    # -- about this agent: no database

    async def own(self, rules: Sequence[Rule], sources: Sources) -> list[Runtime]:
        """Evaluate rules of the agent's own metrics into the book; returns how they fare, for the database."""
        runtimes, urgent = [], False
        for rule in rules:
            began = time.perf_counter()
            asked = await judge.ask(rule, sources)
            memory = self._book.memory(rule.key)
            done, change = evaluated(rule, self._agent_id, memory, asked, sources.slot)
            if done.skipped:
                continue
            self.health.note(rule, done)
            urgent |= self._book.note(change, done.memory)
            runtimes.append(_runtime(rule, self._agent_id, asked, done, began))
        if urgent:
            self._book.save()
        return runtimes

    def close_own(self, rule_key: str, slot: float) -> None:
        """The rule is gone: what fires by it is over."""
        memory = self._book.memory(rule_key)
        change = _closed(rule_key, self._agent_id, memory, slot)
        self._book.note(change, Memory())
        self._book.forget(rule_key)
        self._book.save()

    # -- about the database

    async def shared(self, rules: Sequence[Rule], sources: Sources) -> None:
        """Evaluate rules of common metrics. Raises StoreError when the database is away."""
        waiting: list[tuple[Rule, Asked]] = []
        quiet: dict[str, tuple[Rule, Asked, Quiet]] = {}
        for rule in rules:
            began = time.perf_counter()
            asked = await judge.ask(rule, sources)
            took = (time.perf_counter() - began) * 1000
            if evaluation.quiet(rule, asked):
                quiet[rule.key] = (rule, asked, Quiet(rule.key, sources.slot, len(asked.values), took))
            else:
                waiting.append((rule, asked))
        if quiet:
            noted = await alerts.note_quiet(self._db, SHARED, self._agent_id, [q for _, _, q in quiet.values()])
            for key in noted:
                self.health.note(quiet[key][0], Evaluation(Memory()))
            waiting += [(rule, asked) for key, (rule, asked, _) in quiet.items() if key not in noted]
        for rule, asked in waiting:
            await self.one(rule, asked, sources.slot)

    async def one(self, rule: Rule, asked: Asked, slot: float) -> Evaluation:
        """Evaluate one rule in one transaction. Raises StoreError."""
        began = time.perf_counter()
        async with self._db.transaction() as tx:
            known = await alerts.begin(tx, rule.key, SHARED, self._agent_id)
            memory = judge.memory_from(known.instances, known.last_slot, known.seen)
            done, change = evaluated(rule, SHARED, memory, asked, slot)
            if done.skipped:
                return done
            await alerts.apply(tx, self._agent_id, change)
            await alerts.put_runtime(tx, self._agent_id, [_runtime(rule, SHARED, asked, done, began)])
        self.health.note(rule, done)
        return done

    async def close_shared(self, rule_key: str, slot: float) -> None:
        async with self._db.transaction() as tx:
            known = await alerts.begin(tx, rule_key, SHARED, self._agent_id)
            memory = judge.memory_from(known.instances, known.last_slot, known.seen)
            await alerts.apply(tx, self._agent_id, _closed(rule_key, SHARED, memory, slot))
            await alerts.drop_runtime(tx, rule_key, SHARED)

    # -- by hand

    async def now(self, rule: Rule, sources: Sources) -> dict[str, Any]:
        """Evaluate a rule out of turn; returns what was seen, for whoever asked."""
        asked = await judge.ask(rule, sources)
        if rule.scope is Scope.AGENT:
            memory = self._book.memory(rule.key)
            done, change = evaluated(rule, self._agent_id, memory, asked, sources.slot)
            self._book.note(change, done.memory)
            self._book.save()
        else:
            done = await self.one(rule, asked, sources.slot)
        rows = [
            {
                "labels": dict(labels),
                "value": value,
                "state": str(found.state) if (found := done.memory.instances.get(labels)) else "inactive",
            }
            for labels, value in asked.values
        ]
        return {"rule": rule.key, "at": sources.slot, "error": done.error, "series": len(rows), "rows": rows[:200]}


def evaluated(rule: Rule, evaluator: str, memory: Memory, asked: Asked, slot: float) -> tuple[Evaluation, Change]:
    """One evaluation and what it changes, with instances of a former shape of the rule ended."""
    lost = judge.orphans(rule, memory)
    current = replace(memory, instances={k: v for k, v in memory.instances.items() if k not in lost.instances})
    done = evaluation.judge(rule, current, asked, slot)
    change = judge.change(rule, evaluator, memory, done, slot)
    if lost.instances and not done.skipped:
        ended = _closed(rule.key, evaluator, lost, slot)
        change = replace(change, gone=tuple({*change.gone, *ended.gone}), events=(*ended.events, *change.events))
    return done, change


def _closed(rule_key: str, evaluator: str, memory: Memory, slot: float) -> Change:
    """The end of everything that a rule has open."""
    gone = tuple(judge.fingerprint(labels) for labels in memory.instances)
    events = tuple(judge.end_event(rule_key, notice, slot, GONE) for notice in machine.close(memory))
    return Change(rule_key, evaluator, (), gone, events)


def _runtime(rule: Rule, evaluator: str, asked: Asked, done: Evaluation, began: float) -> Runtime:
    return Runtime(
        rule_key=rule.key,
        evaluator=evaluator,
        last_slot=done.memory.last_slot or 0.0,
        series=len(asked.values),
        open=len(done.memory.instances),
        refused=len(done.refused),
        took_ms=(time.perf_counter() - began) * 1000,
        error=done.error,
        seen=[dict(labels) for labels in done.memory.seen] or None,
    )
