"""Decisions about a set before it is applied. Pure."""

from agent.creds.render import Files, device_lines, device_names
from store.brokers import Desired

HANDFUL = 5
FEW = 20
SHARE = 0.2
OURS = "_set-"
HOW = "if this is meant: iot-console credentials confirm"


def refusal(before: Files | None, desired: Desired) -> str | None:
    """Why this set must not replace what is there, unless somebody confirmed it; None when it may.

    A set that takes away many devices at once is more likely a mistake, or a wrong database, than a wish.
    """
    if before is None or desired.confirmed:
        return None
    there = device_names(device_lines(before.passwd))
    gone = there - device_names(desired.lines)
    if gone and OURS not in before.passwd:
        return f"the password file was not written by us, and {len(gone)} of its users are not in the database; {HOW}"
    if too_many(len(gone), len(there)):
        many = f"{len(gone)} of {len(there)} devices"
        return f"set {desired.generation} would take away {many}; {HOW} {desired.generation}"
    return None


def too_many(gone: int, there: int) -> bool:
    """Whether nobody takes away so many at once on purpose: all of more than a handful, or a fifth of a fleet."""
    return gone >= there > HANDFUL or gone > max(FEW, SHARE * there)
