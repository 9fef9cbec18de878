"""What a person may do at this point of a run, and what is suggested: one list for the screen, the shell and drills.

Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from probes.finding import Outcome
from tui.runbook.lint import ELSEWHERE
from tui.runbook.model import Check, Command, Decide, Handoff, Instruct, Note, Option, Wait
from tui.runbook.parse import Step
from tui.runbook.run import Run


@dataclass(frozen=True, slots=True)
class Offer:
    """id: its name. words: on the screen. goes: where it leads, "" behind the last step. asks: text to be given, a
    question each. changes: the world is changed by it, and it is asked first. stands: how the run stood then.
    """

    id: str
    words: str
    suggested: bool = False
    goes: str | None = None
    asks: tuple[str, ...] = ()
    changes: bool = False
    stands: str = ""


def offers(run: Run, me: str) -> list[Offer]:
    """In order; at most one is suggested."""
    stands = standing(run)
    return [replace(offer, stands=stands) for offer in _offers(run, me)] if run.open else []


def standing(run: Run) -> str:
    """Changes when the run goes somewhere, or when something was found or done where it is."""
    mark = run.mark(run.here) if run.here else None
    return f"{run.here}/{run.arrived_at}/{mark.at if mark else None}/{run.owner}/{run.state}"


def _offers(run: Run, me: str) -> list[Offer]:
    if run.owner != me:
        handed = bool(run.handed)
        take = Offer("accept", f"accept it from {_name(run.handed)}", True) if handed else Offer(
            "take", f"take it over from {_name(run.owner)}", asks=("Why, and does the other know?",))  # fmt: skip
        return [take, _note()]
    if run.step is None:
        return [*_at_the_end(run), _note(), _abandon()]
    found = list(_at(run, run.step))
    return [*found, *_elsewhere(run, found), _note(), _abandon()]


def suggestion(found: list[Offer]) -> Offer | None:
    return next((offer for offer in found if offer.suggested), None)


def _at(run: Run, step: Step) -> Iterator[Offer]:
    match step.action:
        case Check() as check:
            yield from _checking(run, step, check.on_pass, check.on_fail, check.on_unknown, "look")
        case Wait() as wait:
            yield from _checking(run, step, wait.on_pass, wait.on_fail, wait.on_fail, "wait until it is so")
        case Command() as command:
            yield from _commanding(run, step, command)
        case _:
            yield from _by_hand(run, step)


def _by_hand(run: Run, step: Step) -> Iterator[Offer]:
    match step.action:
        case Instruct(goto=goto):
            yield Offer("done", "done, go on", True, goto or _below(run, step))
            yield _skip(run, step)
        case Decide(options=options):
            likely = likely_option(run, options)
            for n, option in enumerate(options):
                yield Offer(f"option-{n + 1}", option.label, option is likely, option.goto)
        case Handoff(ask=ask, goto=goto):
            yield Offer("hand", "hand it over to whoever accepts", True, goto or _below(run, step), ask)
            yield _skip(run, step)
        case Note(ask=ask, goto=goto):
            yield Offer("answer", "write it down", True, goto or _below(run, step), ask)
            yield _skip(run, step)


def _checking(run: Run, step: Step, on_pass: str, on_fail: str, on_unknown: str, verb: str) -> Iterator[Offer]:
    mark = run.mark(step.id)
    if mark is None or mark.state == "running" or mark.at < _arrived(run):
        yield from _by_eye() if run.facts.mode == "manual" else [Offer("run", verb, True)]
        yield _skip(run, step)
        return
    outcome = run.results.get(step.id, Outcome.UNKNOWN)
    target = {Outcome.PASS: on_pass, Outcome.FAIL: on_fail, Outcome.UNKNOWN: on_unknown}[outcome]
    yield _go(run, step, target, f"it is {WORDS[outcome]}")
    if run.facts.mode != "manual":
        yield Offer("run", f"{verb} again")
    if outcome is Outcome.UNKNOWN or run.facts.mode == "manual":
        yield from _by_eye()
    yield _skip(run, step)


def _commanding(run: Run, step: Step, command: Command) -> Iterator[Offer]:
    mark, manual = run.mark(step.id), run.facts.mode == "manual"
    state = "" if mark is None or (mark.at < _arrived(run) and mark.state != "running") else mark.state
    nothing_done = state == "unknown" and command.verify is None
    by_hand = Offer("byhand", "I did it myself", manual or nothing_done, command.goto or _below(run, step))
    again = [] if manual else [Offer("do", "do it again" if state else "do it", not state, changes=True)]
    undo = [] if manual or not command.undo else [Offer("undo", "undo it", changes=True)]
    if state == "running":  # it may have happened, whoever came here since
        looks = command.verify is not None and not (mark is not None and mark.undo)
        yield from [Offer("verify", "look whether it was done", True)] if looks else [replace(by_hand, suggested=True)]
        yield from undo if not looks else [by_hand]
    elif state in ("fail", "unknown"):
        if command.verify is not None and state == "unknown":
            yield Offer("verify", "look whether it was done", True)
        going = _go(run, step, command.on_fail, "it failed" if state == "fail" else "it is not known")
        yield replace(going, suggested=state == "fail")
        yield from [by_hand, *again]
    elif state == "done":
        yield _go(run, step, f"goto {command.goto}" if command.goto else "next", "it is done")
        yield from [*again, *undo]
    else:
        yield from [*again, by_hand]
    if command.rollback:
        yield Offer("rollback", f"the way back: {_title(run, command.rollback)}", goes=command.rollback)
    yield _skip(run, step)


def _by_eye() -> Iterator[Offer]:
    yield from (Offer(name, words, asks=("What did you see?",)) for name, words in SAID.values())


SAID = {
    Outcome.PASS: ("said-pass", "I looked by hand: it is as it should be"),
    Outcome.FAIL: ("said-fail", "I looked by hand: it is not"),
    Outcome.UNKNOWN: ("said-unknown", "I cannot tell either"),
}
WORDS = {Outcome.PASS: "as it should be", Outcome.FAIL: "not as it should be", Outcome.UNKNOWN: "not known"}


def likely_option(run: Run, options: tuple[Option, ...]) -> Option | None:
    """The first whose results all hold; else the only one that asks for none, if everything that was asked is known."""
    for option in options:
        if option.when and all(run.fresh(key) == value for key, value in option.when.items()):
            return option
    if any(run.fresh(key) is None for option in options for key in option.when):
        return None
    others = [option for option in options if not option.when]
    return others[0] if len(others) == 1 else None


def _at_the_end(run: Run) -> Iterator[Offer]:
    if run.onward:
        yield Offer("onward", f"go on with runbook {run.onward}", True)
        return
    unproved = run.unproved()
    for n, step in enumerate(unproved):
        yield Offer(f"prove-{step}", f"prove it: {_title(run, step)}", n == 0, step)
    if not unproved:
        yield Offer("end", "end: it is mended", True)


def _elsewhere(run: Run, found: list[Offer]) -> Iterator[Offer]:
    """Any other step, and steps that lead back."""
    already = {offer.goes for offer in found}
    for step in run.book.steps:
        back = isinstance(step.action, Command) and step.action.kind == "rollback"
        if back and step.id not in already and step.id != run.here:
            yield Offer(f"goto-{step.id}", f"the way back: {step.title}", goes=step.id)
    yield Offer("goto", "go to another step", asks=("Which step? its number or its id",))


def _go(run: Run, step: Step, target: str, why: str) -> Offer:
    place = _below(run, step) if target == "next" else target.removeprefix("goto ")
    if not place:
        return Offer("go", f"{why}: that was the last step", True, "")
    words = f"runbook {place.removeprefix(ELSEWHERE)}" if place.startswith(ELSEWHERE) else _title(run, place)
    return Offer("go", f"{why}: go on to {words}", True, place)


def _skip(run: Run, step: Step) -> Offer:
    return Offer("skip", "skip it, and say why", goes=_below(run, step), asks=("Why is it skipped?",))


def _note() -> Offer:
    return Offer("note", "write a note into the timeline", asks=("Note",))


def _abandon() -> Offer:
    return Offer("abandon", "end it unfinished", asks=("Why does it end unfinished?",))


def _name(login: str) -> str:
    return login.removeprefix("iot_u_")


def _below(run: Run, step: Step) -> str:
    return run.after(step.id) or ""


def _title(run: Run, step_id: str) -> str:
    number = next((n for n, step in enumerate(run.book.steps, 1) if step.id == step_id), 0)
    return f"{number} {run.book.steps[number - 1].title}" if number else step_id


def _arrived(run: Run) -> datetime:
    """A result from before one came here again is history."""
    return run.arrived_at or run.facts.started_at
