"""The newest set without what was added since an older one: a way back that brings nothing back.

An older set as it was would let in again what was revoked since, and would undo rotations. Pure.
"""

from dataclasses import dataclass, replace

from agent.creds import render
from agent.creds.identity import Identities
from agent.creds.render import Files
from store.brokers import Desired, Grant

SECONDS = 3600.0  # what a person forgets ends by itself


@dataclass(frozen=True)
class StepBack:
    """generation: the set that is cut down; before: the older one. It holds for a time, or until a newer one comes."""

    generation: int
    before: int
    lines: frozenset[str]
    grants: frozenset[Grant]
    until: float

    @classmethod
    def of(cls, generation: int, before: int, files: Files, identities: Identities, now: float) -> "StepBack":
        own = tuple(login for identity in identities.valid() for login in identity.logins())
        lines = frozenset(render.device_lines(files.passwd))
        return cls(generation, before, lines, frozenset(render.grants_of(files.acl, own)), now + SECONDS)

    def holds(self, desired: int, now: float) -> bool:
        return desired == self.generation and now < self.until

    def within(self, wanted: Desired) -> Desired:
        """Of the newest set what the older one had too: the same password, the same grant."""
        if wanted.generation != self.generation:
            return wanted
        lines = tuple(line for line in wanted.lines if line in self.lines)
        return replace(wanted, lines=lines, grants=tuple(grant for grant in wanted.grants if grant in self.grants))

    @property
    def words(self) -> str:
        return f"; without what was added since set {self.before}, for an hour or until a newer set is made"
