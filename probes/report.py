"""A doctor's verdicts as text, JSON and JUnit, for people, scripts and CI. Pure."""

import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from probes.hardening import Verdict

NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2
TOLD = ("id", "severity", "what", "where", "why", "fix", "runbook")
MARKS = {"pass": "ok", "fail": "FAIL", "unknown": "unknown", "waived": "waived"}


def lines(verdict: Verdict) -> list[str]:
    """What was found; for a failure also why it matters, and what to do."""
    item, found = verdict.item, " ".join(verdict.finding.found.split())
    said = [f"{MARKS[verdict.state]:<8} {item.id:<8} {item.severity:<9} {item.what}: {found}"]
    if verdict.state == "fail":
        by = f"; runbook {item.runbook}" if item.runbook else ""
        said.append(f"{'':<9}{item.why} To do: {item.fix}{by}")
    if verdict.waiver:
        said.append(f"{'':<9}waived: {verdict.waiver}")
    return said


def row(verdict: Verdict) -> dict[str, Any]:
    item = verdict.item
    about = {name: getattr(item, name) for name in TOLD}
    return {**about, "state": verdict.state, "found": verdict.finding.found, "evidence": verdict.finding.evidence,
            "waiver": verdict.waiver}  # fmt: skip


def junit(verdicts: Sequence[Verdict], took: float) -> str:
    """For CI: unknown counts as an error, a waiver as skipped."""
    suite = ElementTree.Element("testsuite", name="doctor", tests=str(len(verdicts)), time=f"{took:.1f}")
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
    return NOT_IN_XML.sub("?", ElementTree.tostring(suite, encoding="unicode")) + "\n"
