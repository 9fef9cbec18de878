"""Examines what the table of hardening names: from this machine, and through an agent from the VM."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import date

from probes import checks_tenants
from probes.catalogue import Argument
from probes.finding import Finding, Outcome, unknown
from probes.hardening import Item, Verdict, Waiver, judged
from tui import checks
from tui.profile import Profile
from tui.runbook.desk import Desk
from tui.runbook.model import Probe
from tui.runbook.perform import Place

assert checks.__doc__, "importing it fills the catalogue"
SECONDS = 45.0
AT_ONCE = 6  # from here
WAITING = 8  # for an agent, which takes one after the other


def waivers_of(profile: Profile | None) -> list[Waiver]:
    return [Waiver(one.check, one.reason, one.until) for one in (profile.waivers if profile else ())]


async def examine(
    desk: Desk,
    items: Sequence[Item],
    waivers: list[Waiver],
    today: date,
    tell: Callable[[Verdict], None],
    place: str = "",
) -> list[Verdict]:
    """In the order of the items; tell is called with each as it comes. Never raises.

    place: console or agent, to look from there only; "": from wherever it can be seen, from here first.
    """
    examiner = _Examiner(desk, place)

    async def one(item: Item) -> Verdict:
        verdict = judged(item, await examiner.found(item), waivers, today)
        tell(verdict)
        return verdict

    try:
        return list(await asyncio.gather(*(one(item) for item in items)))
    finally:
        await checks_tenants.settled()


class _Examiner:
    def __init__(self, desk: Desk, place: str) -> None:
        self._desk = desk
        self._place = place
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._agents = asyncio.Semaphore(WAITING)

    async def found(self, item: Item) -> Finding:
        try:
            arguments = _arguments(self._desk, item)
        except LookupError as error:
            return unknown(str(error.args[0]))
        here = unknown("not looked from here")
        if self._place != "agent" and item.where != "agent":
            async with self._gate:
                here = await _look(self._desk, item, arguments, "console")
        if here.outcome is not Outcome.UNKNOWN or not self._agent_helps(item):
            return here
        async with self._agents:
            there = await _look(self._desk, item, arguments, "agent")
        if item.where == "agent" or self._place:
            return there
        if there.outcome is Outcome.UNKNOWN:
            return here
        return Finding(there.outcome, f"{there.found} (seen from the VM)", there.evidence)

    def _agent_helps(self, item: Item) -> bool:
        """That the VM reaches itself is no proof that anybody else does."""
        if self._place == "console" or item.where == "console":
            return False
        return item.where == "agent" or bool(self._place) or not _ours_to_ask(self._desk, item)


def _ours_to_ask(desk: Desk, item: Item) -> bool:
    """Whether the profile says how to look from here."""
    family = item.check.partition(".")[0]
    return (family in ("tls", "mqtt") and desk.listener is not None) or (family == "smoke" and desk.probe is not None)


def _arguments(desk: Desk, item: Item) -> dict[str, Argument]:
    """Raises LookupError with what the profile does not say."""
    arguments: dict[str, Argument] = dict(item.arguments)
    for name, place in (*item.needs.items(), *item.wants.items()):
        value = desk.config.get(place)
        if isinstance(value, str):
            arguments[name] = value
        elif name in item.needs:
            section, _, key = place.partition(".")
            raise LookupError(f"the profile does not say: [profiles.NAME.{section}] {key}")
    return arguments


async def _look(desk: Desk, item: Item, arguments: dict[str, Argument], where: str) -> Finding:
    probe = Probe.model_validate({"check": item.check, "with": arguments})
    found = await desk.hands().look([probe], where, SECONDS, {}, Place("", item.id))
    return next(iter(found.values()))
