"""What is written down when an offer is taken that only has to be written down. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from probes.finding import Finding, Outcome
from tui.runbook.offer import SAID, Offer
from tui.runbook.run import Kind, Run

Body = dict[str, Any]
Entry = tuple[Kind, str, Body]


def entry(run: Run, offer: Offer, given: Sequence[str]) -> Entry:
    """Kind, step and body of the event."""
    make = PLAIN.get(offer.id)
    if make is not None:
        return make(run, offer, given)
    step = run.here or ""
    if offer.id.startswith("option-"):
        return Kind.DECIDED, step, _settled(run, offer) | {"label": offer.words, "suggested": offer.suggested}
    return Kind.WENT, step, {"next": offer.goes or ""}


def version(run: Run, step: str | None) -> int:
    """Of a step's row in the database, as far as is known here."""
    mark = run.mark(step) if step is not None else None
    return mark.version if mark is not None else 0


def checked(run: Run, step: str, found: Mapping[str, Finding], outcome: Outcome) -> Body:
    """Of a check that was asked."""
    results = {name: asdict(one) for name, one in found.items()}
    return {"state": outcome.value, "outcome": outcome.value, "results": results, "expected": version(run, step)}


def did(run: Run, step: str, what: str, found: Finding) -> Body:
    """Of a command that is over. what: the exact words of what was done."""
    state = "done" if found.outcome is Outcome.PASS else found.outcome.value
    return {"state": state, "what": what, "found": found.found, "evidence": found.evidence,
            "outcome": found.outcome.value, "expected": version(run, step)}  # fmt: skip


def _settled(run: Run, offer: Offer) -> Body:
    return {"state": "done", "expected": version(run, run.here), "next": offer.goes or ""}


def _step(kind: Kind, **more: object) -> Callable[[Run, Offer, Sequence[str]], Entry]:
    return lambda run, offer, given: (kind, run.here or "", _settled(run, offer) | more)


def _skipped(run: Run, offer: Offer, given: Sequence[str]) -> Entry:
    return Kind.SKIPPED, run.here or "", _settled(run, offer) | {"state": "skipped", "reason": given[0]}


def _answered(kind: Kind) -> Callable[[Run, Offer, Sequence[str]], Entry]:
    def make(run: Run, offer: Offer, given: Sequence[str]) -> Entry:
        return kind, run.here or "", _settled(run, offer) | {"answers": dict(zip(offer.asks, given, strict=False))}

    return make


def _seen(outcome: Outcome) -> Callable[[Run, Offer, Sequence[str]], Entry]:
    """Somebody looked instead of us, and says so."""

    def make(run: Run, offer: Offer, given: Sequence[str]) -> Entry:
        step = run.here or ""
        return Kind.CHECKED, step, checked(run, step, {"by hand": Finding(outcome, given[0])}, outcome)

    return make


def _ended(state: str, outcome: str = "") -> Callable[[Run, Offer, Sequence[str]], Entry]:
    def make(run: Run, offer: Offer, given: Sequence[str]) -> Entry:
        said = outcome or (given[0] if given else f"went on with {run.onward}")
        return Kind.ENDED, "", {"state": state, "outcome": said}

    return make


PLAIN: dict[str, Callable[[Run, Offer, Sequence[str]], Entry]] = {
    "done": _step(Kind.DONE),
    "byhand": _step(Kind.DONE, found="by hand"),
    "skip": _skipped,
    "answer": _answered(Kind.ANSWERED),
    "hand": _answered(Kind.HANDED),
    "note": lambda run, offer, given: (Kind.NOTED, run.here or "", {"text": given[0]}),
    "take": lambda run, offer, given: (Kind.TAKEN, "", {"why": given[0]}),
    "accept": lambda run, offer, given: (Kind.ACCEPTED, "", {}),
    "end": _ended("done", "mended"),
    "onward": _ended("done"),
    "abandon": _ended("abandoned"),
    **{name: _seen(outcome) for outcome, (name, _) in SAID.items()},
}
