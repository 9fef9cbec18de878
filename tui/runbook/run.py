"""A run of a runbook: what happened so far, and so where one is. A fold over events; nothing else changes it. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from probes.finding import Outcome
from tui.runbook.lint import ELSEWHERE
from tui.runbook.model import Command, Instruct
from tui.runbook.parse import Runbook, Step


class Kind(StrEnum):
    """Of an event."""

    STARTED = "started"
    CHECKED = "checked"  # a check, or what a wait waited for
    BEGUN = "begun"  # a command; what has begun and has no result may have happened
    DID = "did"
    DONE = "done"  # by hand
    SKIPPED = "skipped"
    DECIDED = "decided"
    ANSWERED = "answered"
    NOTED = "noted"
    WENT = "went"
    HANDED = "handed"
    ACCEPTED = "accepted"
    TAKEN = "taken"
    LEFT = "left"
    CORRECTED = "corrected"
    ENDED = "ended"


MOVING = {Kind.DONE, Kind.SKIPPED, Kind.DECIDED, Kind.ANSWERED, Kind.HANDED, Kind.WENT}
SETTLING = (MOVING - {Kind.WENT}) | {Kind.CHECKED, Kind.BEGUN, Kind.DID}
OF_THE_OWNER = frozenset(Kind) - {Kind.STARTED, Kind.NOTED, Kind.CORRECTED, Kind.LEFT, Kind.ACCEPTED, Kind.TAKEN}


@dataclass(frozen=True, slots=True)
class Event:
    """body: JSON. state and expected in it change the step's row in the database; see sql/0007_runs.sql."""

    event_id: str
    at: datetime
    actor: str
    origin: str
    kind: Kind
    step: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    supersedes: str | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """How a step stands. version: of its row in the database, as far as known. found: lines to read."""

    state: str
    at: datetime
    version: int = 0
    found: tuple[str, ...] = ()
    evidence: str = ""
    seconds: float = 0.0
    undo: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What a run begins with. mode: live, drill or manual (nothing is executed)."""

    run_id: str
    tenant: str
    runbook: str
    mode: str
    vars: Mapping[str, str]
    alert_id: str | None
    started_by: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Run:
    """here: the step one is at, None behind the last one. results: of checks, `step` and `step.probe`."""

    facts: Facts
    book: Runbook
    owner: str
    here: str | None
    events: tuple[Event, ...] = ()
    marks: Mapping[str, Mark] = field(default_factory=dict)
    results: Mapping[str, Outcome] = field(default_factory=dict)
    state: str = "open"
    outcome: str = ""
    onward: str = ""  # the runbook that one is sent to
    handed: str = ""  # by whom it was handed over, until somebody accepts
    arrived_at: datetime | None = None
    changed_at: datetime | None = None  # when something was done to the world last

    @property
    def step(self) -> Step | None:
        return self.book.step(self.here) if self.here is not None else None

    @property
    def open(self) -> bool:
        return self.state == "open"

    def mark(self, step: str) -> Mark | None:
        return self.marks.get(step)

    def after(self, step: str) -> str | None:
        """The step below it."""
        ids = [one.id for one in self.book.steps]
        n = ids.index(step) + 1
        return ids[n] if n < len(ids) else None

    def fresh(self, key: str) -> Outcome | None:
        """A result, `step` or `step.probe`, that was found since something was changed last."""
        mark = self.mark(key.partition(".")[0])
        if mark is None or (self.changed_at is not None and mark.at <= self.changed_at):
            return None
        return self.results.get(key)

    def unproved(self) -> list[str]:
        """Steps of done_when that have not passed since something was changed last, in order."""
        wanted = [step.id for step in self.book.steps if step.id in self.book.front.done_when]
        return [step for step in wanted if self.fresh(step) is not Outcome.PASS]


def begun(facts: Facts, book: Runbook) -> Run:
    return Run(facts, book, facts.started_by, book.steps[0].id, arrived_at=facts.started_at)


def folded(facts: Facts, book: Runbook, events: Iterable[Event]) -> Run:
    """In the order of their times, each once, so that every machine comes to the same."""
    run = begun(facts, book)
    once = {event.event_id: event for event in events}
    for event in sorted(once.values(), key=lambda event: (event.at, event.event_id)):
        run = after(run, event)
    return run


def after(run: Run, event: Event) -> Run:
    """The run with one more event. What does not fit, such as a step that is not there, is only written down; so is
    what somebody did who did not have the run at that time."""
    run = replace(run, events=(*run.events, event))
    if event.actor != run.owner and event.kind in OF_THE_OWNER:
        return run
    place, body = str(event.body.get("next", "")), event.body
    if event.kind in (Kind.ACCEPTED, Kind.TAKEN):
        return replace(run, owner=event.actor, handed="")
    if event.kind is Kind.ENDED:
        return replace(run, state=str(body.get("state", "done")), outcome=str(body.get("outcome", "")))
    if event.kind in SETTLING:
        run = _marked(run, event)
    if _changes(run, event):
        run = replace(run, changed_at=event.at)
    if event.kind is Kind.HANDED:
        run = replace(run, handed=event.actor)
    return _gone(run, place, event.at) if event.kind in MOVING else run


def _changes(run: Run, event: Event) -> bool:
    """A command that began, ended or was done by hand; also something to do that has no check of its own."""
    step = run.book.step(event.step)
    by_hand = event.kind is Kind.DONE and step is not None and isinstance(step.action, Command | Instruct)
    return event.kind in (Kind.BEGUN, Kind.DID) or by_hand


def _marked(run: Run, event: Event) -> Run:
    body = event.body
    if run.book.step(event.step) is None:
        return run
    before = run.mark(event.step)
    version = int(body["version"]) if "version" in body else int(body.get("expected", 0)) + 1
    probes = body.get("results", {})
    found = tuple(f"{_symbol(one['outcome'])} {name}: {one['found']}" for name, one in probes.items())
    evidence = "\n".join(one["evidence"] for one in probes.values() if one.get("evidence"))
    seconds = (event.at - (run.arrived_at or event.at)).total_seconds()
    undo = bool(body.get("undo"))
    state = str(body.get("state", "running"))
    mark = Mark(
        "undone" if undo and state == "done" else state, event.at, max(version, before.version if before else 0),
        found or tuple(str(body[key]) for key in ("found", "reason", "label") if body.get(key)),
        evidence or str(body.get("evidence", "")), seconds, undo,
    )  # fmt: skip
    results = {key: value for key, value in run.results.items() if key.partition(".")[0] != event.step}
    if "outcome" in body and not undo:
        results[event.step] = Outcome(body["outcome"])
        results |= {f"{event.step}.{name}": Outcome(one["outcome"]) for name, one in probes.items()}
    return replace(run, marks={**run.marks, event.step: mark}, results=results)


def _gone(run: Run, place: str, at: datetime) -> Run:
    if place.startswith(ELSEWHERE):
        return replace(run, here=None, onward=place.removeprefix(ELSEWHERE), arrived_at=at)
    if place and run.book.step(place) is None:
        return run
    return replace(run, here=place or None, onward="", arrived_at=at)


def _symbol(outcome: str) -> str:
    return {"pass": "✔", "fail": "✘"}.get(outcome, "?")
