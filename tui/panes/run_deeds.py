"""Effects of a run: to begin one, to go on with one, to take what it offers."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from store import alert_views
from store.alert_views import EpisodeRow
from store.errors import StoreError
from tui import library
from tui.effects import Ask, Done, Effect, Level, Prompt, Say, Work
from tui.runbook.conduct import AGENT, NOTE, Conductor
from tui.runbook.desk import Desk, agent_of, cause_of
from tui.runbook.fill import shown
from tui.runbook.model import Command
from tui.runbook.offer import Offer
from tui.runbook.parse import Runbook, RunbookError

MODES = {"": "live", "live": "live", "drill": "drill", "manual": "manual"}
Opened = Callable[[Conductor], None]


def begin(desk: Desk, name: str, alert: EpisodeRow | None, mode: str, opened: Opened) -> Effect:
    """Ask for what is not known, one after the other, then begin."""
    if mode not in MODES:
        return Say(f"{mode}: it is drill or manual, or nothing", "warn")
    try:
        book = library.read(library.directory() / f"{name}.md")
    except RunbookError as error:
        return Say(f"runbook {name} cannot be followed: {error}", "crit")
    return _asking(desk, book, alert, {}, lambda values: _begin(desk, book, alert, values, MODES[mode], opened))


def _asking(
    desk: Desk, book: Runbook, alert: EpisodeRow | None, given: dict[str, str],
    then: Callable[[dict[str, str]], Effect],
) -> Effect:  # fmt: skip
    filled = desk.needs(book, alert.labels if alert else {}, given)
    if not filled.asked:
        return then(filled.values)
    name = filled.asked[0]

    def answered(text: str) -> Effect:
        if not text.strip():
            raise ValueError(f"{book.front.id} needs {name}")
        return _asking(desk, book, alert, {**given, name: text.strip()}, then)

    return Prompt(name, f"for {book.front.title}", answered)


def _begin(
    desk: Desk, book: Runbook, alert: EpisodeRow | None, values: dict[str, str], mode: str, opened: Opened
) -> Effect:
    async def run() -> Done:
        try:
            conductor = await desk.begin(book, {**values, **agent_of(alert)}, cause_of(alert, mode))
        except OSError as error:
            raise ValueError(
                f"the journal cannot be kept on this machine: {error.filename}: {error.strerror}"
            ) from error
        opened(conductor)
        of = f" for {alert.alert}, which is yours now" if alert else ""
        return Done(f"run {conductor.run.facts.run_id[:8]}{of}; esc leaves it, and it can be gone on with")

    return Work(f"beginning {book.front.id}", run)


def resume(desk: Desk, run_id: str, opened: Opened) -> Effect:
    async def run() -> Done:
        conductor = await desk.resume(run_id)
        if conductor is None:
            raise ValueError(f"run {run_id[:8]} is not to be found")
        opened(conductor)
        return Done(f"run {run_id[:8]} of {conductor.run.owner.removeprefix('iot_u_')}")

    return Work(f"opening run {run_id[:8]}", run)


def taken(desk: Desk, conductor: Conductor, offer: Offer, said: Callable[[str], None], opened: Opened) -> Effect:
    """What is asked for, then what would be changed, then it is done."""
    if conductor.doing and offer.id != NOTE:
        return Say(f"not yet: {conductor.doing} is under way", "warn")
    if offer.id == "onward":
        return _onward(desk, conductor, offer, opened)
    return _answering(
        offer, offer.asks, (), lambda texts: _sure(conductor, offer, _take(conductor, offer, texts, said))
    )


def _answering(
    offer: Offer, questions: Sequence[str], texts: tuple[str, ...], then: Callable[[tuple[str, ...]], Effect]
) -> Effect:
    if not questions:
        return then(texts)

    def answered(text: str) -> Effect:
        if not text.strip():
            raise ValueError("whoever comes after you will read it")
        return _answering(offer, questions[1:], (*texts, text), then)

    return Prompt(questions[0], "", answered)


def _sure(conductor: Conductor, offer: Offer, work: Work) -> Effect:
    step = conductor.run.step
    if not offer.changes or step is None or not isinstance(step.action, Command):
        return work
    undoes = offer.id == "undo"
    question = f"Undo {step.title}?" if undoes else shown(step.action.confirm, conductor.run.facts.vars)
    exact = conductor.exact(step.action, offer.id == "undo")
    return Ask(Level.OUTAGE, question, (exact, "It is written down before it begins."), work, step.id)


def _take(conductor: Conductor, offer: Offer, texts: tuple[str, ...], said: Callable[[str], None]) -> Work:
    async def run() -> Done:
        try:
            return Done(await conductor.take(offer, texts, said))
        except OSError as error:
            raise ValueError(
                f"the journal cannot be kept on this machine: {error.filename}: {error.strerror}"
            ) from error
        finally:
            said("")

    return Work(offer.words, run)


def _onward(desk: Desk, conductor: Conductor, offer: Offer, opened: Opened) -> Effect:
    """The next runbook for the same alert, with what is known already."""
    facts = conductor.run.facts
    name = conductor.run.onward
    try:
        book = library.read(library.directory() / f"{name}.md")
    except RunbookError as error:
        return Say(f"runbook {name} cannot be followed: {error}", "crit")
    given = {key: value for key, value in facts.vars.items() if key in book.front.vars}
    agent = {AGENT: facts.vars[AGENT]} if AGENT in facts.vars else {}

    def then(values: dict[str, str]) -> Effect:
        async def run() -> Done:
            await conductor.take(offer)
            alert = await _still_firing(desk, facts.alert_id)
            opened(await desk.begin(book, {**values, **agent}, cause_of(alert, facts.mode, facts.tenant)))
            return Done(f"on with {name}")

        return Work(offer.words, run)

    return _asking(desk, book, None, given, then)


async def _still_firing(desk: Desk, event_id: str | None) -> EpisodeRow | None:
    db = desk.db()
    if db is None or event_id is None:
        return None
    try:
        firing = await alert_views.episodes(db, timedelta(0))
    except StoreError:
        return None
    return next((row for row in firing if row.event_id == event_id), None)


def corrected(conductor: Conductor, number: int, text: str, entries: Sequence[str]) -> Effect:
    """entries: event ids in the order of their numbers."""
    if not 1 <= number <= len(entries):
        raise ValueError(f"an entry's number is 1 to {len(entries)}: v shows them")
    event_id = entries[number - 1]

    async def run() -> Done:
        conductor.correct(event_id, text)
        await conductor.sync()
        return Done(f"entry {number} reads otherwise now; what it said before is still on record")

    return Work(f"correcting entry {number}", run)
