"""A rule over the past: the same evaluation, slot by slot, over what is stored."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.alerts import judge
from agent.alerts.history import History
from agent.alerts.sources import Limits, Sources
from alerting import durations, evaluation
from alerting.catalogue import Scope
from alerting.expression import queries
from alerting.machine import Kind, Memory
from alerting.rules import Rule
from store import agents
from store.db import Db

MOST_SLOTS = 50_000
STORED = {
    "vm.cpu_percent": "cpu_percent",
    "vm.memory_percent": "memory_percent",
    "vm.disk_percent": "disk_percent",
    "agent.spool.rows": "spool_rows",
    "agent.db.write_p95_ms": "write_p95_ms",
    "agent.canary.round_trip_ms": "canary_ms",
}


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which the rule would have fired, seconds since 1970. ended_at None: it still would."""

    labels: dict[str, str]
    fired_at: float
    ended_at: float | None
    value: float | None

    def line(self) -> str:
        began = datetime.fromtimestamp(self.fired_at, UTC)
        lasted = "still" if self.ended_at is None else f"for {durations.words(self.ended_at - self.fired_at)}"
        where = ", ".join(f"{k}={v}" for k, v in sorted(self.labels.items()) if k not in ("alertname", "severity"))
        value = "" if self.value is None else f" (value {self.value:g})"
        return f"{began:%Y-%m-%d %H:%M:%SZ} {lasted:<14} {where}{value}"


async def run(rule: Rule, db: Db, seconds: float, database_bytes: float) -> list[Span]:
    """When the rule would have fired within the last seconds. Raises ValueError when there is nothing to go by."""
    if seconds / rule.interval > MOST_SLOTS:
        raise ValueError(f"that is more than {MOST_SLOTS} evaluations of {rule.key}: give a shorter --since")
    until = time.time()
    if rule.scope is not Scope.AGENT:
        return await _replay(rule, db, History("", {}), until - seconds, until, database_bytes)
    unknown = sorted({query.metric for query in queries(rule.node)} - STORED.keys())
    if unknown:
        raise ValueError(f"no history is kept of {', '.join(unknown)}; there is {', '.join(STORED)}")
    spans: list[Span] = []
    for row in await agents.all_agents(db):
        history = await _history(db, row.agent_id, int(seconds))
        spans += await _replay(rule, db, history, until - seconds, until, database_bytes)
    return sorted(spans, key=lambda span: span.fired_at)


async def _replay(
    rule: Rule, db: Db, history: History, since: float, until: float, database_bytes: float
) -> list[Span]:
    memory, open_now, spans = Memory(), {}, []
    slot = since // rule.interval * rule.interval
    while slot <= until:
        sources = Sources(db, history, Limits(database_bytes), slot - rule.eval_delay, past=True)
        asked = await judge.ask(rule, sources)
        if asked.error is not None:
            raise ValueError(asked.error)
        done = evaluation.judge(rule, memory, asked, slot)
        memory = done.memory
        for notice in done.notices:
            if notice.kind is Kind.FIRING:
                open_now[notice.labels] = Span(dict(notice.labels), slot, None, notice.value)
            elif notice.kind is Kind.RESOLVED and notice.labels in open_now:
                began = open_now.pop(notice.labels)
                spans.append(Span(began.labels, began.fired_at, slot, began.value))
        slot += rule.interval
        await asyncio.sleep(0)
    return sorted([*spans, *open_now.values()], key=lambda span: span.fired_at)


async def _history(db: Db, agent_id: str, seconds: int) -> History:
    history = History(agent_id, {}, kept_seconds=float("inf"))
    for sample in await agents.recent_samples(db, agent_id, seconds):
        values = {(name, None): getattr(sample, field) for name, field in STORED.items()}
        history.add(sample.at.timestamp(), {key: float(v) for key, v in values.items() if v is not None})
    return history
