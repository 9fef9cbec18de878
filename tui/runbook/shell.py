"""A run in a plain terminal, or by a file of answers: what is offered is printed, and one of it is taken."""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from store.errors import StoreError
from tui.runbook.conduct import Conductor, OfferError
from tui.runbook.fill import shown
from tui.runbook.model import Command, Decide
from tui.runbook.offer import Offer, suggestion
from tui.runbook.parse import Step

MOST = 300  # a run that goes in circles ends
Texts = tuple[str, ...]


class NoAnswerError(Exception):
    """Nobody can answer; the message names the step, and what is offered there."""


@dataclass
class Answers:
    """By step: offers to take there, one after the other. follow: where there is none, what is suggested."""

    by_step: dict[str, deque[tuple[str, Texts]]] = field(default_factory=lambda: defaultdict(deque))
    follow: bool = False

    def next(self, step: str, offers: Sequence[Offer]) -> tuple[Offer, Texts]:
        """Raises NoAnswerError."""
        waiting = self.by_step.get(step)
        if waiting:
            name, texts = waiting.popleft()
            found = next((offer for offer in offers if name in (offer.id, offer.words)), None)
            if found is None:
                raise NoAnswerError(f"at {step}, {name!r} is not offered; {_names(offers)}")
            return found, texts
        likely = suggestion(list(offers))
        if not self.follow or likely is None or likely.asks:
            raise NoAnswerError(f"there is no answer for step {step}; {_names(offers)}")
        return likely, ()


def answers(written: Mapping[str, Any], follow: bool) -> Answers:
    """From a file: `step: OFFER`, `step: [OFFER, ...]`, or `step: {OFFER: text or [texts]}`. Raises ValueError.

    `steps behind the last one` go by the name `end`.
    """
    found = Answers(follow=follow)
    for step, value in written.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                found.by_step[step].append((one, ()))
            elif isinstance(one, dict) and len(one) == 1:
                ((name, texts),) = one.items()
                found.by_step[step].append((str(name), tuple(map(str, texts if isinstance(texts, list) else [texts]))))
            else:
                raise ValueError(f"{step}: an offer's name, or one with its texts, as in {{skip: not needed}}")
    return found


def _names(offers: Sequence[Offer]) -> str:
    return "offered: " + ", ".join(offer.id for offer in offers)


class Shell:
    """tell prints a line; ask reads one, None when nobody is there. yes: what changes the world is not asked."""

    def __init__(
        self, conductor: Conductor, tell: Callable[[str], None], ask: Callable[[str], str] | None, chosen: Answers,
        yes: bool,
    ) -> None:  # fmt: skip
        self._conductor = conductor
        self._tell = tell
        self._ask = ask
        self._answers = chosen
        self._yes = yes
        self._step = ""

    async def follow(self) -> None:
        """Until the run is over, or somebody leaves it. Raises NoAnswerError."""
        for _ in range(MOST):
            if not self._conductor.run.open:
                return
            self._show()
            found = self._conductor.offers()
            picked = self._pick(found)
            if picked is None:
                self._conductor.leave()
                await self._conductor.sync()
                return
            offer, texts = picked
            try:
                said = await self._conductor.take(offer.id, texts, lambda text: self._tell(f"   … {text}"))
                self._tell(f"   {said}")
            except (OfferError, StoreError) as error:
                self._tell(f"   ✗ {error}")
                if self._ask is None:
                    raise NoAnswerError(str(error)) from error
        raise NoAnswerError(f"the run goes in circles: {MOST} choices, and no end")

    def _pick(self, found: list[Offer]) -> tuple[Offer, Texts] | None:
        run = self._conductor.run
        if self._ask is None:
            offer, texts = self._answers.next(run.here or "end", found)
            if offer.changes and not self._yes:
                raise NoAnswerError(f"at {run.here}, {offer.id} changes the world: allow it with --yes")
            return offer, texts
        return self._asked(found, self._ask)

    def _asked(self, found: list[Offer], ask: Callable[[str], str]) -> tuple[Offer, Texts] | None:
        for n, one in enumerate(found, 1):
            self._tell(f"   {'▸' if one.suggested else ' '} {n}. {one.words}")
        while True:
            text = ask("number, enter for ▸, q to leave (it can be resumed)").strip()
            if text == "q":
                return None
            numbered = text.isdecimal() and 0 < int(text) <= len(found)
            offer = found[int(text) - 1] if numbered else None if text else suggestion(found)
            if offer is None or (offer.changes and not self._confirmed(ask)):
                continue
            return offer, tuple(ask(question) for question in offer.asks)

    def _confirmed(self, ask: Callable[[str], str]) -> bool:
        step = self._conductor.run.step
        if self._yes or step is None or not isinstance(step.action, Command):
            return True
        return ask(f"{shown(step.action.confirm, self._conductor.run.facts.vars)} Type yes to do it").strip() == "yes"

    def _show(self) -> None:
        """A step when one comes to it; its result comes with what was done."""
        run = self._conductor.run
        step, here = run.step, run.here or "end"
        if here == self._step:
            return
        self._step = here
        self._tell("")
        if step is None:
            self._tell("== behind the last step")
            return
        number = [one.id for one in run.book.steps].index(step.id) + 1
        self._tell(f"== {number} of {len(run.book.steps)}: {step.title}  [{step.id}]")
        for line in lines_of(step, self._conductor):
            self._tell(f"   {line}")


def lines_of(step: Step, conductor: Conductor) -> list[str]:
    """Prose with its variables filled in, and the exact words of what would be done."""
    values = conductor.run.facts.vars
    lines = shown(step.prose, values).splitlines()
    match step.action:
        case Command(confirm=confirm) as command:
            lines += ["", shown(confirm, values), f"    {conductor.exact(command)}"]
        case Decide(question=question):
            lines += ["", question]
        case _:
            pass
    return lines
