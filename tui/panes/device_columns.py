"""What the lists of devices, sets and brokers show."""

from dataclasses import dataclass

from store import members
from store.brokers import BrokerRow
from store.credentials import CredentialSet
from store.fleet import DeviceRow, Heard
from tui.filter import Value
from tui.panes.pane import NOTHING
from tui.render import Span, age, literal
from tui.table import Column

SILENT_SECONDS = 600.0  # as the rule device-silent has it at first


@dataclass(frozen=True, slots=True)
class Listed:
    """A device with what was heard of it. in_force: the set that all living brokers have."""

    device: DeviceRow
    heard: Heard | None
    in_force: int

    def state(self, now: float) -> tuple[str, str]:
        """(word with its sign, style)."""
        if self.device.disabled:
            return "○ disabled", "off"
        if self.heard is None:
            return "? never", "unknown"
        quiet = now - self.heard.seen_at.timestamp()
        return ("◌ silent", "warn") if quiet > SILENT_SECONDS else ("● online", "ok")

    def credential(self, now: float) -> tuple[str, str]:
        device = self.device
        if device.issued_at is None:
            return "none", "unknown" if not device.disabled else "off"
        old = age(now - device.issued_at.timestamp())
        if device.issued_in is not None and device.issued_in > self.in_force:
            return f"▲ pending {old}", "warn"
        return (f"▲ moving {old}", "warn") if device.moving else (f"applied {old}", "")


def seen(row: Listed, now: float) -> Value:
    return None if row.heard is None else max(0.0, now - row.heard.seen_at.timestamp())


def rate(row: Listed, _: float) -> Value:
    return 0.0 if row.heard is None else row.heard.last_minute / 60


def since_rotation(row: Listed, now: float) -> Value:
    return None if row.device.issued_at is None else now - row.device.issued_at.timestamp()


DEVICES = (
    Column[Listed]("device", "DEVICE", 0, lambda r, _: Span(r.device.device), lambda r, _: r.device.device),
    Column[Listed]("tenant", "TENANT", 12, lambda r, _: Span(r.device.tenant), lambda r, _: r.device.tenant, 1),
    Column[Listed]("status", "STATUS", 10, lambda r, now: Span(*r.state(now)), lambda r, now: r.state(now)[0][2:]),
    Column[Listed]("seen", "SEEN", 7, lambda r, now: Span(_age(seen(r, now))), seen),
    Column[Listed]("rate", "MSG/s", 6, lambda r, now: Span(f"{rate(r, now):.1f}"), rate, 2),
    Column[Listed](
        "credential", "CREDENTIAL", 17, lambda r, now: Span(*r.credential(now)), lambda r, now: r.credential(now)[0], 3
    ),
    Column[Listed]("rotated", "ROTATED", 7, lambda r, now: Span(_age(since_rotation(r, now))), since_rotation, 9),
)
GENERATIONS = (
    Column[CredentialSet]("set", "SET", 6, lambda r, _: Span(str(r.generation)), lambda r, _: float(r.generation)),
    Column[CredentialSet]("tenant", "TENANT", 12, lambda r, _: Span(r.tenant), lambda r, _: r.tenant, 1),
    Column[CredentialSet](
        "age",
        "AGE",
        7,
        lambda r, now: Span(age(now - r.created_at.timestamp())),
        lambda r, now: now - r.created_at.timestamp(),
    ),
    Column[CredentialSet]("by", "BY", 16, lambda r, _: Span(short(r.created_by)), lambda r, _: r.created_by, 2),
    Column[CredentialSet]("reason", "REASON", 0, lambda r, _: Span(literal(r.reason)), lambda r, _: r.reason),
)
STATES = {"applied": "ok", "pending": "warn"}
BROKERS = (
    Column[BrokerRow]("broker", "BROKER", 16, lambda r, _: Span(r.broker.broker_id), lambda r, _: r.broker.broker_id),
    Column[BrokerRow](
        "state",
        "STATE",
        10,
        lambda r, _: Span(r.broker.state, STATES.get(r.broker.state, "crit")),
        lambda r, _: r.broker.state,
    ),
    Column[BrokerRow](
        "set", "SET", 6, lambda r, _: Span(str(r.broker.generation)), lambda r, _: float(r.broker.generation)
    ),
    Column[BrokerRow]("checked", "CHECKED", 8, lambda r, _: Span(age(r.age_seconds)), lambda r, _: r.age_seconds, 1),
    Column[BrokerRow]("detail", "DETAIL", 0, lambda r, _: Span(literal(r.broker.detail)), lambda r, _: r.broker.detail),
)


def _age(seconds: Value) -> str:
    return age(seconds) if isinstance(seconds, float) else NOTHING


def short(login: str) -> str:
    """A person's login without what all of them share."""
    return login.removeprefix(members.LOGIN_PREFIX)
