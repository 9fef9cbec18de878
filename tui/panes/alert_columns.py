"""What the lists of alerts, silences and notifications show."""

from store.alert_views import EpisodeRow, MessageView, SilenceView
from tui.panes.device_columns import short
from tui.panes.pane import NOTHING
from tui.render import Span, age, literal
from tui.table import Column

SIGNS = {"critical": ("✗ CRIT", "crit"), "warning": ("▲ WARN", "warn")}
HIDDEN = ("alertname", "severity", "runbook")


def severity(row: EpisodeRow) -> Span:
    return Span(*SIGNS.get(row.severity, ("● INFO", "ok")))


def subject(row: EpisodeRow) -> str:
    """What it is about, from its labels: `acme/pump-7`, or all of them."""
    labels = {name: value for name, value in row.labels.items() if name not in HIDDEN}
    place = "/".join(labels.pop(name) for name in ("tenant", "device") if name in labels)
    rest = " ".join(f"{name}={value}" for name, value in sorted(labels.items()))
    return literal(" ".join(part for part in (place, rest) if part)) or NOTHING


def acked(row: EpisodeRow) -> Span:
    if row.silenced:
        return Span("silenced", "dim")
    if not row.acked:
        return Span("NEW", "strong")
    until = f" {row.ack_until:%H:%M}Z" if row.ack_until else ""
    return Span(f"{short(row.acked_by or '')}{until}")


def since(row: EpisodeRow, now: float) -> float:
    return now - row.fired_at.timestamp()


def value(row: EpisodeRow) -> str:
    return NOTHING if row.value is None else f"{row.value:.4g}"


SEVERITY = Column[EpisodeRow]("severity", "SEV", 6, lambda r, _: severity(r), lambda r, _: r.severity)
ALERT = Column[EpisodeRow]("alert", "ALERT", 22, lambda r, _: Span(r.alert), lambda r, _: r.alert)
SUBJECT = Column[EpisodeRow]("subject", "SUBJECT", 0, lambda r, _: Span(subject(r)), lambda r, _: subject(r))
VALUE = Column[EpisodeRow]("value", "VALUE", 8, lambda r, _: Span(value(r)), lambda r, _: r.value, 4)
SINCE = Column[EpisodeRow]("since", "SINCE", 7, lambda r, now: Span(age(since(r, now))), since)
RUNBOOK = Column[EpisodeRow]("runbook", "RUNBOOK", 20, lambda r, _: Span(r.runbook), lambda r, _: r.runbook, 3)
FIRING = (
    SEVERITY,
    ALERT,
    SUBJECT,
    VALUE,
    SINCE,
    Column[EpisodeRow]("ack", "ACK", 13, lambda r, _: acked(r), lambda r, _: acked(r).text, 1),
    RUNBOOK,
)
ENDED = (
    SEVERITY,
    ALERT,
    SUBJECT,
    Column[EpisodeRow]("ended", "ENDED", 7, lambda r, now: Span(age(ended(r, now))), lambda r, now: ended(r, now)),
    Column[EpisodeRow]("lasted", "LASTED", 7, lambda r, now: Span(age(lasted(r, now))), lambda r, now: lasted(r, now)),
    Column[EpisodeRow]("reason", "REASON", 12, lambda r, _: Span(r.end_reason or ""), lambda r, _: r.end_reason, 4),
    RUNBOOK,
)
SILENCES = (
    Column[SilenceView]("silence", "NO", 5, lambda r, _: Span(str(r.silence_id)), lambda r, _: float(r.silence_id)),
    Column[SilenceView]("tenant", "TENANT", 12, lambda r, _: Span(r.tenant), lambda r, _: r.tenant, 2),
    Column[SilenceView]("match", "MATCH", 0, lambda r, _: Span(matchers(r)), lambda r, _: matchers(r)),
    Column[SilenceView]("left", "LEFT", 7, lambda r, now: Span(age(left(r, now))), lambda r, now: left(r, now)),
    Column[SilenceView]("by", "BY", 12, lambda r, _: Span(short(r.created_by)), lambda r, _: r.created_by, 1),
    Column[SilenceView]("reason", "REASON", 24, lambda r, _: Span(literal(r.reason)), lambda r, _: r.reason, 3),
)
SENT = {"sent": "ok", "waiting": "warn"}
MESSAGE_COLUMNS = (
    Column[MessageView](
        "age",
        "AGE",
        7,
        lambda r, now: Span(age(now - r.created_at.timestamp())),
        lambda r, now: now - r.created_at.timestamp(),
    ),
    Column[MessageView](
        "status", "STATUS", 8, lambda r, _: Span(r.status, SENT.get(r.status, "crit")), lambda r, _: r.status
    ),
    Column[MessageView]("channel", "CHANNEL", 12, lambda r, _: Span(r.channel), lambda r, _: r.channel),
    Column[MessageView]("title", "TITLE", 0, lambda r, _: Span(literal(r.title or "")), lambda r, _: r.title or ""),
    Column[MessageView]("tries", "TRIES", 5, lambda r, _: Span(str(r.attempts)), lambda r, _: float(r.attempts), 2),
    Column[MessageView](
        "error", "LAST ERROR", 24, lambda r, _: Span(literal(r.last_error or "")), lambda r, _: r.last_error, 3
    ),
)


def ended(row: EpisodeRow, now: float) -> float | None:
    return None if row.ended_at is None else now - row.ended_at.timestamp()


def lasted(row: EpisodeRow, now: float) -> float:
    return (row.ended_at.timestamp() if row.ended_at else now) - row.fired_at.timestamp()


def left(row: SilenceView, now: float) -> float:
    return max(0.0, row.ends_at.timestamp() - now)


def matchers(row: SilenceView) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(row.matchers.items()))
