"""What the doctor examines, beyond what the console sees all the time: each item breaks one way in. Pure.

Ids are those of the operations guide. critical and high ones come first in the report when they fail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from probes.finding import Finding, Outcome

SEVERITIES = ("critical", "high", "medium", "low")


@dataclass(frozen=True, slots=True)
class Item:
    """check: of the catalogue. where: console, agent, or either of them. needs: arguments that the profile gives;
    wants: those that it may give instead of ours.

    why: in a sentence; fix: exactly what to do; runbook: what leads through it, or "".
    """

    id: str
    severity: str
    what: str
    check: str
    why: str
    fix: str
    runbook: str = ""
    where: str = "console"
    arguments: Mapping[str, str | int | float] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    wants: Mapping[str, str] = field(default_factory=dict)
    quick: bool = False


@dataclass(frozen=True, slots=True)
class Waiver:
    """A failure that is known and accepted, for a reason and until a day."""

    id: str
    reason: str
    until: date


@dataclass(frozen=True, slots=True)
class Verdict:
    """waiver: why a failure counts as none, "" otherwise."""

    item: Item
    finding: Finding
    waiver: str = ""

    @property
    def state(self) -> str:
        return "waived" if self.waiver else self.finding.outcome.value


def chosen(items: Sequence[Item], only: str, quick: bool, place: str = "") -> list[Item]:
    """only: ids or their beginnings, with commas. place: what shows from there, console or agent; "": from anywhere.

    Raises ValueError for one that fits nothing, or when nothing is left: no check is no proof.
    """
    wanted = [part.strip().upper() for part in only.split(",") if part.strip()]
    for part in wanted:
        if not any(item.id.startswith(part) for item in items):
            raise ValueError(f"there is no check {part}: {', '.join(item.id for item in items)}")
    fits = [item for item in items if not wanted or any(item.id.startswith(part) for part in wanted)]
    left = [item for item in fits if (item.quick or not quick) and (not place or item.where in (place, "either"))]
    if not left:
        limits = " and ".join(
            word for word in ("quick" if quick else "", f"seen from the {place}" if place else "") if word
        )
        raise ValueError(f"none of {only or 'them'} is {limits}")
    return left


def judged(item: Item, finding: Finding, waivers: list[Waiver], today: date) -> Verdict:
    """A waiver covers a failure, until its day; what is unknown it does not cover."""
    found = next((waiver for waiver in waivers if waiver.id == item.id and today <= waiver.until), None)
    if found is not None and finding.outcome is Outcome.FAIL:
        return Verdict(item, finding, f"{found.reason}, until {found.until}")
    return Verdict(item, finding)


def exit_code(verdicts: list[Verdict]) -> int:
    """0 all well or waived, 1 something fails, 2 nothing fails and something is unknown."""
    states = {verdict.state for verdict in verdicts}
    return 1 if "fail" in states else 2 if "unknown" in states else 0


def ordered(verdicts: list[Verdict]) -> list[Verdict]:
    """Failures first, the gravest of them first."""
    order = ("fail", "unknown", "waived", "pass")
    return sorted(verdicts, key=lambda v: (order.index(v.state), SEVERITIES.index(v.item.severity), v.item.id))
