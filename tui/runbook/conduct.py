"""Conducts a run: takes an offer, does it, and writes it down; on this machine first, in the database when it answers.

The same for the screen, for the shell and for drills.
"""

import asyncio
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from alerting import durations
from probes.finding import Finding, unknown, worst
from probes.redact import Redactor
from store import runs
from store.db import Db
from store.deadline import within
from store.errors import Conflict, StoreError, Unavailable
from tui.runbook import deed, keeping, timeline
from tui.runbook.fill import shown
from tui.runbook.journal import Journal, Kept
from tui.runbook.model import Check, Command, Wait
from tui.runbook.offer import Offer, offers
from tui.runbook.parse import Step, parse
from tui.runbook.perform import Hands, Place, Said
from tui.runbook.run import Event, Kind, Run, after, folded

SYNC_SECONDS = 5.0
CLAIM_SECONDS = 90
MOST_TEXT = 4000
MOST_BODY, MOST_EVIDENCE, LEAST_EVIDENCE = 30_000, 8192, 200  # bytes, characters
NOTE = "note"
AGENT = "agent"  # a variable that every run may have: which agent is asked


class OfferError(ValueError):
    """It is not offered, or what it asks for is missing; the message says which."""


class Conductor:
    """run: how it stands now. me: this person's login. origin: this machine. db: None while it is away.

    notice: why nothing of it is executed here, or "".
    """

    def __init__(
        self, kept: Kept, journal: Journal, hands: Hands, me: str, origin: str, db: Callable[[], Db | None],
        redact: Redactor, notice: str = "", now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:  # fmt: skip
        self.sync_error = "not written to the database yet"
        self.me = me
        self.doing = ""  # what goes on right now
        self.notice = notice
        self._journal = journal
        self._kept = kept
        self._hands = hands
        self._origin = origin
        self._db = db
        self._redact = redact
        self._away = True  # why the last write did not come through
        self._now = now
        self._facts = replace(kept.facts, mode="manual") if notice else kept.facts
        self.run: Run = folded(self._facts, parse(kept.text), kept.events)

    @property
    def saved(self) -> bool:
        """The database has all of it."""
        return not self._kept.unsynced

    def offers(self) -> list[Offer]:
        return offers(self.run, self.me)

    def start(self, alert: str = "") -> None:
        """The first event."""
        if not self.run.events:
            self._write(Kind.STARTED, "", {"alert": alert} if alert else {})

    async def take(self, wanted: Offer | str, answers: Sequence[str] = (), say: Said = lambda _: None) -> str:
        """Do what is offered; returns what came of it. wanted: an offer, which must still stand as it was made, or the
        id of one. Raises OfferError, and Conflict when somebody was faster."""
        offer_id = wanted if isinstance(wanted, str) else wanted.id
        offer = next((one for one in self.offers() if one.id == offer_id), None)
        if offer is None:
            raise OfferError(f"that is not offered now: {offer_id}")
        if isinstance(wanted, Offer) and wanted.stands != offer.stands and offer_id != NOTE:
            raise OfferError("the run has moved meanwhile: look again, then choose again")
        if self.doing and offer_id != NOTE:
            raise OfferError(f"not yet: {self.doing} is under way")
        given = [self._redact(answer.strip())[:MOST_TEXT] for answer in answers]
        if len([answer for answer in given if answer]) < len(offer.asks):
            raise OfferError(f"{offer.asks[0]}: it is read by whoever comes after you")
        if offer_id == NOTE:  # also while something else goes on
            said = self._noted(offer, given)
            await self.sync()
            return said
        self.doing = offer.words
        try:
            said = await self._done(offer, given, say)
            await self.sync()
        finally:
            self.doing = ""
        return said

    def stop_waiting(self) -> None:
        """A wait ends with what was found last."""
        self._hands.stop.set()

    async def _done(self, offer: Offer, given: list[str], say: Said) -> str:
        step = self.run.step
        match offer.id:
            case "run":
                return await self._look(_at(step), say)
            case "do" | "undo":
                return await self._act(_at(step), offer.id == "undo")
            case "verify":
                return await self._verify(_at(step))
            case "goto":
                return self._went(self._step_named(given[0]))
            case _:
                return self._noted(offer, given)

    def _noted(self, offer: Offer, given: list[str]) -> str:
        """What only has to be written down."""
        kind, step, body = deed.entry(self.run, offer, given)
        self._write(kind, step, body)
        return offer.words

    # -- what takes time

    async def _look(self, step: Step, say: Said) -> str:
        place, values = self._place(step), self.run.facts.vars
        action, captured = step.action, dict[str, Finding]()
        if isinstance(action, Wait):
            found = await self._hands.until(action, values, place, say)
        else:
            assert isinstance(action, Check)
            seconds = durations.seconds(action.timeout)
            found = await self._hands.look(action.probes, action.where, seconds, values, place)
            if action.capture is not None:
                captured = await self._hands.look([action.capture], action.where, seconds, values, place)
        body = deed.checked(self.run, step.id, found | captured, worst([one.outcome for one in found.values()]))
        return timeline.words(self._write(Kind.CHECKED, step.id, body))

    async def _act(self, step: Step, undo: bool) -> str:
        """Claimed where others see it, written down before it begins, verified when it is over."""
        command = _command(step)
        facts = self.run.facts
        what = self.exact(command, undo)
        version = await self._claimed(step)
        claim: dict[str, Any] = {"version": version} if version is not None else {
            "state": "running", "expected": deed.version(self.run, step.id)}  # fmt: skip
        self._write(Kind.BEGUN, step.id, {"what": what, **claim, **({"undo": True} if undo else {})})
        await self.sync()
        found = await self._hands.act(command, self.run.book.front, facts.vars, self._place(step), undo)
        return self._did(step, what, found, undo)

    def _place(self, step: Step) -> Place:
        return Place(self.run.facts.run_id, step.id, self.run.facts.vars.get(AGENT, ""))

    async def _verify(self, step: Step) -> str:
        command = _command(step)
        found = await self._hands.verified(command, self.run.facts.vars, self._place(step))
        return self._did(step, self.exact(command), found or unknown("nothing verifies it: look by hand"))

    def _did(self, step: Step, what: str, found: Finding, undo: bool = False) -> str:
        body = deed.did(self.run, step.id, f"undo: {what}" if undo else what, found)
        return timeline.words(self._write(Kind.DID, step.id, body | ({"undo": True} if undo else {})))

    def exact(self, command: Command, undo: bool = False) -> str:
        """What would be done, with all values filled in: it is shown before, and written down."""
        values = self.run.facts.vars
        if command.where == "agent" and not undo:
            given = ", ".join(f"{name}={shown(str(value), values)}" for name, value in command.arguments.items())
            return self._redact(f"{values.get(AGENT, 'agent')}: {command.action}({given})")
        return self._redact(" ".join(self._hands.words(command.undo if undo else command.run, self.run.book, values)))

    async def _claimed(self, step: Step) -> int | None:
        """The step's version, once nobody else can begin with it. None: the database is away, or is not told."""
        db, run_id = self._db(), self.run.facts.run_id
        if db is None:
            return None
        try:
            if not await self.sync() and not self._away:
                raise OfferError(f"not done: the run cannot be written to the database ({self.sync_error})")
            rows = {row.step_id: row for row in await within(SYNC_SECONDS, runs.steps(db, run_id))}
            row = rows.get(step.id)
            expected = row.version if row is not None and row.actor == self.me else deed.version(self.run, step.id)
            return await within(SYNC_SECONDS, runs.claim(db, run_id, step.id, expected, CLAIM_SECONDS))
        except Conflict:
            await self.pull()
            raise
        except Unavailable as error:
            self.sync_error = str(error)
            return None

    # -- writing

    def correct(self, event_id: str, text: str, at: datetime | None = None) -> None:
        """An entry of the timeline, without taking the old one away."""
        body = {"text": self._redact(text)[:MOST_TEXT], **({"at": at.isoformat()} if at else {})}
        self._write(Kind.CORRECTED, "", body, event_id)

    def leave(self) -> None:
        if self.run.open and self.run.owner == self.me:
            self._write(Kind.LEFT, "", {})

    def _went(self, place: str) -> str:
        self._write(Kind.WENT, self.run.here or "", {"next": place})
        return f"at {place}" if place else "behind the last step"

    def _write(self, kind: Kind, step: str, body: dict[str, Any], supersedes: str | None = None) -> Event:
        """On the disk before it counts. Times only grow, so that the order is the same everywhere."""
        last = max((event.at for event in self.run.events), default=self.run.facts.started_at)
        at = max(self._now(), last + timedelta(microseconds=1))
        event = Event(str(uuid.uuid4()), at, self.me, self._origin, kind, step, fitted(self._clean(body)), supersedes)
        self._journal.add(self._kept, event)
        self.run = after(self.run, event)
        return event

    def _clean(self, value: Any) -> Any:
        """The one gate to disk and database: no secret, and nothing that is too long."""
        if isinstance(value, str):
            return self._redact.tail(value)
        if isinstance(value, dict):
            return {key: self._clean(one) for key, one in value.items()}
        return [self._clean(one) for one in value] if isinstance(value, list | tuple) else value

    def _step_named(self, text: str) -> str:
        steps: Sequence[Step] = self.run.book.steps
        if text.isdecimal() and 1 <= int(text) <= len(steps):
            return steps[int(text) - 1].id
        if self.run.book.step(text) is None:
            raise OfferError(f"there is no step {text}: 1 to {len(steps)}, or {', '.join(s.id for s in steps)}")
        return text

    # -- with the database

    async def sync(self) -> bool:
        """Write what the database has not; True when it has all. What it cannot take now, the journal keeps."""
        db, waiting = self._db(), list(self._kept.unsynced)
        if db is None:
            self.sync_error = "the database is away"
            return not waiting
        if not waiting:
            return True
        try:
            recorded = await within(SYNC_SECONDS, keeping.push(db, self._kept))
        except StoreError as error:
            self.sync_error, self._away = str(error), isinstance(error, Unavailable)
            return False
        self._journal.settle(self._kept, [event.event_id for event in waiting])
        self.sync_error = ""
        if recorded.conflicts or recorded.owner != self.run.owner:
            await self.pull()
        return True

    async def pull(self) -> None:
        """What others did. Raises nothing: it comes with the next look."""
        db = self._db()
        if db is None:
            return
        try:
            rows = await within(SYNC_SECONDS, runs.events(db, self.run.facts.run_id))
        except StoreError as error:
            self.sync_error = str(error)
            return
        events = [keeping.event(row) for row in rows]
        if {event.event_id for event in events} - {event.event_id for event in self._kept.events}:
            await asyncio.to_thread(self._journal.learn, self._kept, events)
            self.run = folded(self._facts, self.run.book, self._kept.events)


def _at(step: Step | None) -> Step:
    assert step is not None
    return step


def _command(step: Step) -> Command:
    assert isinstance(step.action, Command)
    return step.action


def fitted(body: dict[str, Any]) -> dict[str, Any]:
    """So small that the database takes it: of evidence the ends, shorter and shorter."""
    most = MOST_EVIDENCE
    while len(json.dumps(body, ensure_ascii=False).encode()) > MOST_BODY and most > LEAST_EVIDENCE:
        most //= 2
        body = _shorter(body, most)
    return body


def _shorter(value: Any, most: int) -> Any:
    if isinstance(value, dict):
        return {key: _shorter(one, most) for key, one in value.items()}
    return value[-most:] if isinstance(value, str) else value
