"""Examines what the table of hardening names: from this machine, and through an agent from the VM."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import date
from xml.etree import ElementTree

from probes.catalogue import Argument
from probes.finding import Finding, unknown
from tui.hardening import Item, Verdict, Waiver, judged
from tui.runbook.desk import Desk
from tui.runbook.model import Probe
from tui.runbook.perform import Place

SECONDS = 30.0
AT_ONCE = 6  # from here; an agent takes one after the other


async def examine(
    desk: Desk, items: Sequence[Item], waivers: list[Waiver], today: date, tell: Callable[[Verdict], None]
) -> list[Verdict]:
    """In the order of the items; tell is called with each as it comes. Never raises."""
    gate = asyncio.Semaphore(AT_ONCE)
    agents = asyncio.Semaphore(1)

    async def one(item: Item) -> Verdict:
        async with agents if item.where == "agent" else gate:
            verdict = judged(item, await _found(desk, item), waivers, today)
        tell(verdict)
        return verdict

    return list(await asyncio.gather(*(one(item) for item in items)))


async def _found(desk: Desk, item: Item) -> Finding:
    arguments: dict[str, Argument] = dict(item.arguments)
    for name, place in item.needs.items():
        value = desk.config.get(place)
        if not isinstance(value, str):
            section, _, key = place.partition(".")
            return unknown(f"the profile does not say: [profiles.NAME.{section}] {key}")
        arguments[name] = value
    probe = Probe.model_validate({"check": item.check, "with": arguments})
    found = await desk.hands().look([probe], item.where, SECONDS, {}, Place("", item.id))
    return next(iter(found.values()))


def junit(verdicts: Sequence[Verdict], took: float) -> str:
    """For CI: unknown counts as an error, a waiver as skipped."""
    suite = ElementTree.Element("testsuite", name="iot-console doctor", tests=str(len(verdicts)), time=f"{took:.1f}")
    counts = {"fail": "failures", "unknown": "errors", "waived": "skipped"}
    for state, attribute in counts.items():
        suite.set(attribute, str(sum(verdict.state == state for verdict in verdicts)))
    for verdict in verdicts:
        item = verdict.item
        case = ElementTree.SubElement(suite, "testcase", classname=item.severity, name=f"{item.id} {item.what}")
        match verdict.state:
            case "fail":
                told = ElementTree.SubElement(case, "failure", message=verdict.finding.found)
                told.text = f"{item.why}\n{item.fix}\n{verdict.finding.evidence}"
            case "unknown":
                ElementTree.SubElement(case, "error", message=verdict.finding.found)
            case "waived":
                ElementTree.SubElement(case, "skipped", message=verdict.waiver)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode") + "\n"
