"""The agent's own logins at the broker: two slots, so that they can be changed without a gap.

Kept in a file that only the agent reads. While one identity takes over from the other, both are in the file and both
are valid at the broker, so that a crash in between locks nobody out.
"""

import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson

from agent.creds.render import CANARY, SLOT_B, Login, subtree
from store.mosquitto import SALT_BYTES, password_hash

FILE = "identity.json"
REQUEST = "rotate-identity"  # exists while somebody wants the identity changed
INGEST_RIGHTS = (("read", "tenants/#"), ("read", "$SYS/broker/#"))


class IdentityError(Exception):
    """The identity file is missing or damaged; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Three logins of one slot. made_at: seconds since 1970."""

    slot: str
    made_at: float
    control_password: str = field(repr=False)
    ingest_password: str = field(repr=False)
    canary_password: str = field(repr=False)

    @property
    def control(self) -> str:
        """Known to the dynamic-security plugin only; may send it commands."""
        return f"_control-{self.slot}"

    @property
    def ingest(self) -> str:
        """Reads what devices send."""
        return f"_ingest-{self.slot}"

    @property
    def canary(self) -> str:
        return CANARY if self.slot == "a" else CANARY + SLOT_B

    def logins(self) -> Iterator[Login]:
        """Entries of the password and ACL files."""
        yield Login(self.ingest, _stored(self.ingest_password), INGEST_RIGHTS)
        yield Login(self.canary, _stored(self.canary_password), (("readwrite", subtree(CANARY)),))

    def other(self, now: float) -> "Identity":
        """A new identity in the other slot."""
        return new_identity("b" if self.slot == "a" else "a", now)


@dataclass(frozen=True, slots=True)
class Identities:
    """current is used. coming is being introduced, or going is being removed; never both."""

    current: Identity
    coming: Identity | None = None
    going: Identity | None = None

    def valid(self) -> tuple[Identity, ...]:
        """Everything that the broker must let in, the one to try first in front."""
        return tuple(i for i in (self.current, self.coming, self.going) if i is not None)


def new_identity(slot: str, now: float) -> Identity:
    return Identity(slot, now, *(secrets.token_urlsafe(32) for _ in range(3)))


def load(state_dir: Path) -> Identities:
    """Raises IdentityError."""
    path = state_dir / FILE
    try:
        found = orjson.loads(path.read_bytes())
        current, coming, going = (found[name] and Identity(**found[name]) for name in ("current", "coming", "going"))
        return Identities(current, coming, going)
    except FileNotFoundError:
        raise IdentityError(f"{path} is missing: run `iot-agent creds init` before the broker starts") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise IdentityError(
            f"{path} cannot be used ({error}): run `iot-agent creds init --force`, then restart the broker"
        ) from error


def save(state_dir: Path, identities: Identities) -> None:
    """Atomic and durable, mode 0600. Raises OSError."""
    path = state_dir / FILE
    temporary = path.with_name(f".{FILE}.new")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "wb") as stream:
        stream.write(orjson.dumps(asdict(identities)))
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(path)


def requested(state_dir: Path, forget: bool = False) -> bool:
    """Whether somebody wants the logins changed. forget: they are."""
    path = state_dir / REQUEST
    found = path.exists()
    if forget:
        path.unlink(missing_ok=True)
    return found


def is_due(identity: Identity, days: float, now: float) -> bool:
    return now - identity.made_at > days * 86_400


def _stored(password: str) -> str:
    return password_hash(password, secrets.token_bytes(SALT_BYTES))
