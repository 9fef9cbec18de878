"""Examines what the table of hardening names: from this machine, and through an agent from the VM."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import date

from probes.catalogue import Argument
from probes.finding import Finding, Outcome, unknown
from probes.hardening import Item, Verdict, Waiver, judged
from tui import checks
from tui.runbook.desk import Desk
from tui.runbook.model import Probe
from tui.runbook.perform import Place

assert checks.__doc__, "importing it fills the catalogue"
SECONDS = 45.0
AT_ONCE = 6  # from here
WAITING = 8  # for an agent, which takes one after the other


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
    gate = asyncio.Semaphore(AT_ONCE)
    agents = asyncio.Semaphore(WAITING)

    async def one(item: Item) -> Verdict:
        try:
            arguments = _arguments(desk, item)
        except LookupError as error:
            verdict = judged(item, unknown(str(error.args[0])), waivers, today)
        else:
            verdict = judged(item, await found(item, arguments), waivers, today)
        tell(verdict)
        return verdict

    async def found(item: Item, arguments: dict[str, Argument]) -> Finding:
        here = unknown("not looked from here")
        if place != "agent" and item.where != "agent":
            async with gate:
                here = await _look(desk, item, arguments, "console")
        if place == "console" or item.where == "console" or here.outcome is not Outcome.UNKNOWN:
            return here
        async with agents:
            there = await _look(desk, item, arguments, "agent")
        return there if item.where == "agent" or there.outcome is not Outcome.UNKNOWN or place else here

    return list(await asyncio.gather(*(one(item) for item in items)))


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
