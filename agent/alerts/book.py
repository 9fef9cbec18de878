"""What this agent alone knows of its rules, on its own disk: it must hold when the database is what fails.

The book is the truth for rules about this agent and its machine; the database gets a copy. What happened while it was
away waits here, together with what people were told directly, and is copied in order when it is back.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import structlog

from agent.alerts import judge
from alerting.machine import Memory
from store.alerts import Change, EventRow, InstanceRow
from store.notifications import MentionRow, Outgoing

log = structlog.get_logger()
FILE = "alerts.json"


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was delivered without the database."""

    message: Outgoing
    at: float


@dataclass(slots=True)
class Pages:
    """pending: changes that the database does not have. told: episode to (when, how often) somebody was told."""

    memories: dict[str, Memory] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    told: dict[str, tuple[float, int]] = field(default_factory=dict)
    settled: list[str] = field(default_factory=list)


class Book:
    """pages are changed in memory and saved with save(), atomically and fsynced."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self.pages, self.fresh = self._load()

    def memory(self, rule_key: str) -> Memory:
        return self.pages.memories.get(rule_key, Memory())

    def note(self, change: Change, memory: Memory) -> bool:
        """Take over an evaluation; True when it has to be saved at once."""
        known = self.pages.memories.get(change.rule_key)
        self.pages.memories[change.rule_key] = memory
        if change.instances or change.gone or change.events:
            self.pages.pending = [old for old in self.pages.pending if not _replaced(old, change)]
            self.pages.pending.append(change)
        moved = known is None or known.instances.keys() != memory.instances.keys()
        return bool(change.events) or moved

    def forget(self, rule_key: str) -> None:
        self.pages.memories.pop(rule_key, None)

    def copied(self, changes: Sequence[Change], sent: Sequence[Sent], settled: Sequence[str]) -> None:
        """These are in the database now. Who was told of what is known there from now on."""
        pages = self.pages
        done = {id(item) for item in (*changes, *sent)}
        pages.pending = [change for change in pages.pending if id(change) not in done]
        pages.sent = [message for message in pages.sent if id(message) not in done]
        pages.settled = [key for key in pages.settled if key not in settled]
        if not pages.pending:
            pages.told.clear()

    def waiting(self) -> list[EventRow]:
        """What happened and is not in the database yet, in order."""
        return [event for change in self.pages.pending for event in change.events]

    def save(self) -> None:
        text = orjson.dumps(_to_json(self.pages))
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("wb") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.rename(self._path)
        except OSError as error:
            log.warning("cannot save the state of the alerts", path=str(self._path), error=str(error))

    def _load(self) -> tuple[Pages, bool]:
        try:
            return _from_json(orjson.loads(self._path.read_bytes())), False
        except FileNotFoundError:
            return Pages(), True
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning(
                "the state of the alerts cannot be read; beginning anew", path=str(self._path), error=str(error)
            )
            return Pages(), True


def _replaced(old: Change, new: Change) -> bool:
    """Newer values of the same instances: an outage must not make the book grow with every tick."""
    if old.rule_key != new.rule_key or old.events or old.gone or new.events or new.gone:
        return False
    return {row.fingerprint for row in old.instances} <= {row.fingerprint for row in new.instances}


def _to_json(pages: Pages) -> dict[str, Any]:
    return {
        "memories": {
            key: {
                "last_slot": memory.last_slot,
                "seen": [dict(labels) for labels in memory.seen],
                "instances": [asdict(row) for row in judge.instance_rows(memory)],
            }
            for key, memory in pages.memories.items()
        },
        "pending": [asdict(change) for change in pages.pending],
        "sent": [asdict(sent) for sent in pages.sent],
        "told": pages.told,
        "settled": pages.settled,
    }


def _from_json(data: dict[str, Any]) -> Pages:
    return Pages(
        memories={
            key: judge.memory_from(_instances(memory["instances"]), memory["last_slot"], memory["seen"])
            for key, memory in data["memories"].items()
        },
        pending=[
            Change(
                change["rule_key"], change["evaluator"], _instances(change["instances"]), tuple(change["gone"]),
                tuple(EventRow(**event) for event in change["events"]),
            )
            for change in data["pending"]
        ],
        sent=[Sent(_outgoing(sent["message"]), sent["at"]) for sent in data["sent"]],
        told={key: (at, count) for key, (at, count) in data["told"].items()},
        settled=list(data["settled"]),
    )  # fmt: skip


def _instances(rows: Iterable[dict[str, Any]]) -> tuple[InstanceRow, ...]:
    return tuple(InstanceRow(**row) for row in rows)


def _outgoing(data: dict[str, Any]) -> Outgoing:
    mentions = tuple(MentionRow(**mention) for mention in data["mentions"])
    return Outgoing(**data | {"mentions": mentions})
