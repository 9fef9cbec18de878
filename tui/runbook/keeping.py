"""Runs into this machine's journal: a new one, or one that was begun elsewhere."""

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from store import runs
from store.db import Db
from store.runs import EventRow, RunRow
from tui.runbook.journal import Journal, Kept
from tui.runbook.parse import Runbook, parse
from tui.runbook.run import Event, Facts, Kind


@dataclass(frozen=True, slots=True)
class Cause:
    """Why and how a run begins. mode: live, drill or manual. alert_id: of the alert it is for."""

    tenant: str = "platform"
    mode: str = "live"
    alert_id: str | None = None
    alert: str = ""


def begin(journal: Journal, book: Runbook, values: Mapping[str, str], me: str, cause: Cause, now: datetime) -> Kept:
    """A new run. Values of secret variables are not kept."""
    declared = book.front.vars
    kept_values = {name: value for name, value in values.items() if name not in declared or not declared[name].secret}
    facts = Facts(
        str(uuid.uuid4()), cause.tenant, book.front.id, cause.mode, kept_values, cause.alert_id, me, now
    )  # fmt: skip
    return journal.begin(facts, book.text)


async def fetch(journal: Journal, db: Db | None, beginning: str) -> Kept | None:
    """A run by the beginning of its id: of this machine, or of the database. None if there is none, or several.

    Raises StoreError, RunbookError.
    """
    here = [kept for kept in await asyncio.to_thread(journal.all) if kept.facts.run_id.startswith(beginning)]
    if db is None:
        return here[0] if len(here) == 1 else None
    found = await runs.runs(db, beginning, 2)
    if len({row.run_id for row in found} | {kept.facts.run_id for kept in here}) != 1:
        return None
    if not here:
        parse(found[0].content)  # before it is in the journal, from where everything is read again
    kept = here[0] if here else journal.begin(_facts(found[0]), found[0].content, begun_here=False)
    if found:
        journal.learn(kept, [event(row) for row in await runs.events(db, found[0].run_id)])
    return kept


async def push(db: Db, kept: Kept) -> runs.Recorded:
    """What the database has not. Raises StoreError."""
    run = asdict(kept.facts) | {"content": kept.text}
    return await runs.record(db, run, [_row(one) for one in kept.unsynced])


def event(row: EventRow) -> Event:
    """An entry of the database's timeline."""
    return Event(row.event_id, row.at, row.actor, row.origin, _kind(row.kind), row.step_id, row.body, row.supersedes)


def _kind(text: str) -> Kind:
    """One that a newer console knows is at least a note."""
    return Kind(text) if text in Kind.__members__.values() else Kind.NOTED


def _facts(row: RunRow) -> Facts:
    return Facts(row.run_id, row.tenant, row.runbook, row.mode, row.vars, row.alert_id, row.started_by, row.started_at)


def _row(one: Event) -> dict[str, Any]:
    return asdict(one) | {"step_id": one.step}
