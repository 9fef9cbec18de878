"""What a question about the world comes to. Three results, never two: what could not be asked is unknown. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """UNKNOWN is never taken for PASS."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """found: in one line. evidence: more of it, such as the end of a log."""

    outcome: Outcome
    found: str
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """Parameters of a named check or action."""

    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()


def passed(found: str, evidence: str = "") -> Finding:
    return Finding(Outcome.PASS, found, evidence)


def failed(found: str, evidence: str = "") -> Finding:
    return Finding(Outcome.FAIL, found, evidence)


def unknown(found: str) -> Finding:
    return Finding(Outcome.UNKNOWN, found)


def judged(holds: bool, found: str, evidence: str = "") -> Finding:
    return Finding(Outcome.PASS if holds else Outcome.FAIL, found, evidence)


def worst(outcomes: list[Outcome]) -> Outcome:
    """Of several: a failure counts most; then what is not known."""
    for one in (Outcome.FAIL, Outcome.UNKNOWN):
        if one in outcomes:
            return one
    return Outcome.PASS if outcomes else Outcome.UNKNOWN
