"""The journal of runs on this machine: one file a run, an event a line, on the disk before anything else happens.

It is what counts when the database is away, which is often why a runbook is followed at all.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tui.runbook.run import Event, Facts, Kind

FOLDER = "runs"


@dataclass(slots=True)
class Kept:
    """A run as its file has it. synced: ids of events that the database has too."""

    facts: Facts
    text: str
    events: list[Event] = field(default_factory=list)
    synced: set[str] = field(default_factory=set)
    begun_here: bool = False

    @property
    def unsynced(self) -> list[Event]:
        return [event for event in self.events if event.event_id not in self.synced]


class Journal:
    """state_dir: of this person on this machine. Every write raises OSError when it is not on the disk."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / FOLDER

    def begin(self, facts: Facts, text: str, begun_here: bool = True) -> Kept:
        """begun_here: with a runbook of this machine, and not fetched from a database."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._put(facts.run_id, {"run": asdict(facts), "text": text, "begun_here": begun_here})
        return Kept(facts, text, begun_here=begun_here)

    def add(self, kept: Kept, event: Event) -> None:
        self._put(kept.facts.run_id, {"event": asdict(event)})
        kept.events.append(event)

    def learn(self, kept: Kept, events: Iterable[Event]) -> None:
        """Events that come from the database; those that are here already are only marked."""
        known = {event.event_id for event in kept.events}
        fresh = [event for event in events if event.event_id not in known]
        for event in fresh:
            self._put(kept.facts.run_id, {"event": asdict(event)})
            kept.events.append(event)
        self.settle(kept, [event.event_id for event in fresh])

    def settle(self, kept: Kept, ids: Iterable[str]) -> None:
        """These are in the database."""
        fresh = set(ids) - kept.synced
        if fresh:
            self._put(kept.facts.run_id, {"synced": sorted(fresh)})
            kept.synced |= fresh

    def stamp(self, run_id: str) -> tuple[int, int]:
        """Changes when the file does."""
        found = self._path(run_id).stat()
        return found.st_size, found.st_mtime_ns

    def ids(self) -> list[str]:
        return [path.stem for path in self._folder.glob("*.jsonl")]

    def read(self, run_id: str) -> Kept | None:
        """None without a file. A last line that was cut off by a crash is left out: it was never acknowledged."""
        try:
            lines = self._path(run_id).read_text().split("\n")  # and at nothing else that may stand in a note
        except FileNotFoundError:
            return None
        kept: Kept | None = None
        known: set[str] = set()
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if "run" in entry:
                kept = Kept(_facts(entry["run"]), entry["text"], begun_here=entry.get("begun_here", False))
            elif kept is not None and "event" in entry:
                if entry["event"]["event_id"] not in known:  # two programs may have learnt the same
                    known.add(entry["event"]["event_id"])
                    kept.events.append(_event(entry["event"]))
            elif kept is not None:
                kept.synced |= set(entry.get("synced", ()))
        return kept

    def all(self) -> list[Kept]:
        """The newest first."""
        found = [self.read(run_id) for run_id in self.ids()]
        return sorted((one for one in found if one is not None), key=lambda one: one.facts.started_at, reverse=True)

    def _path(self, run_id: str) -> Path:
        return self._folder / f"{run_id}.jsonl"

    def _put(self, run_id: str, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, default=_encode, ensure_ascii=False) + "\n"
        path = self._path(run_id)
        new = not path.exists()
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(file).st_size
            cut_off = bool(size) and os.pread(file, 1, size - 1) != b"\n"
            _write_all(file, ("\n" * cut_off + line).encode())
            os.fsync(file)
        finally:
            os.close(file)
        if new:
            _sync_directory(path.parent)


def _write_all(file: int, data: bytes) -> None:
    """A full disk takes a part, and says so only the next time."""
    while data:
        data = data[os.write(file, data) :]


def _sync_directory(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _encode(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _facts(entry: dict[str, Any]) -> Facts:
    return Facts(**entry | {"started_at": datetime.fromisoformat(entry["started_at"])})


def _event(entry: dict[str, Any]) -> Event:
    return Event(**entry | {"at": datetime.fromisoformat(entry["at"]), "kind": Kind(entry["kind"])})
