"""Alerts: what fires and who takes care of it; what ended, silences, notifications."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from alerting import durations
from store import alert_views
from store.alert_views import AlertingHealth, EpisodeRow, Happening, MessageView, SilenceView
from store.db import Db
from store.members import PLATFORM
from tui.effects import Effect, Go, Say
from tui.panes import alert_deeds as deeds
from tui.panes.alert_columns import ENDED, FIRING, MESSAGE_COLUMNS, SILENCES, lasted, matchers, since, subject, value
from tui.panes.device_columns import short
from tui.panes.pane import NOTHING, Pane, facts, heading, paragraph
from tui.render import Line, Span, age, literal, when
from tui.table import Table
from tui.view import View

ENDED_WITHIN = timedelta(days=7)
MESSAGES = 200


@dataclass(frozen=True, slots=True)
class Found:
    episodes: tuple[EpisodeRow, ...]
    silences: tuple[SilenceView, ...]
    messages: tuple[MessageView, ...]
    pending: int
    health: AlertingHealth


class Alerts(Pane):
    """The gravest first, then the newest."""

    name = "alerts"
    noun = "alerts"
    views = ("firing", "ended", "silences", "messages")
    seconds: ClassVar[float] = 2.0
    below = True

    def __init__(self) -> None:
        super().__init__()
        self._tables: dict[str, Table[Any]] = {
            "firing": Table(FIRING, lambda row: row.event_id),
            "ended": Table(ENDED, lambda row: row.event_id, "ended"),
            "silences": Table(SILENCES, lambda row: str(row.silence_id)),
            "messages": Table(MESSAGE_COLUMNS, lambda row: row.message_id),
        }
        self._found = Found((), (), (), 0, AlertingHealth(None, 0))
        self._story: tuple[str, tuple[Happening, ...]] = ("", ())
        self._fresh = False  # the story is as new as the list

    @property
    def table(self) -> Table[Any]:
        return self._tables[self.view]

    async def load(self, db: Db) -> Found:
        return Found(
            tuple(await alert_views.episodes(db, ENDED_WITHIN)),
            tuple(await alert_views.silences(db)),
            tuple(await alert_views.messages(db, MESSAGES)),
            await alert_views.pending(db),
            await alert_views.health(db),
        )

    def lacks(self) -> bool:
        row = self.table.current
        return isinstance(row, EpisodeRow) and not (self._fresh and row.event_id == self._story[0])

    async def inspect(self, db: Db) -> None:
        row = self.table.current
        if isinstance(row, EpisodeRow):
            self.know(row.event_id, tuple(await alert_views.timeline(db, row.event_id)))

    def know(self, event_id: str, story: tuple[Happening, ...]) -> None:
        """Take what happened to one alert."""
        self._story, self._fresh = (event_id, story), True

    def put(self, found: Found, now: float) -> None:
        self._found = found
        self._fresh = False
        self._tables["firing"].put([e for e in found.episodes if e.ended_at is None], now)
        self._tables["ended"].put([e for e in found.episodes if e.ended_at is not None], now)
        self._tables["silences"].put(found.silences, now)
        self._tables["messages"].put(found.messages, now)

    # -- drawing

    def summary(self, view: View) -> str:
        health, found = self._found.health, self._found
        evaluated = (
            "rules never evaluated" if health.age_seconds is None else f"evaluated {age(health.age_seconds)} ago"
        )
        broken = f" · {health.failing} broken" if health.failing else ""
        pending = f"{found.pending} pending · " if found.pending else ""
        marks = f"{self.table.marks()} · " if self.table.marked else ""
        return f"{marks}{pending}{evaluated}{broken}" if self.view == "firing" else self.table.count(self.view)

    def empty(self, view: View) -> str:
        if self.view == "silences":
            return "Nothing is silenced."
        if self.view == "messages":
            return "No notification within 8 days."
        ended = max((e.ended_at for e in self._found.episodes if e.ended_at), default=None)
        last = "none within 7 days" if ended is None else f"{age(view.now - ended.timestamp())} ago"
        if self.view == "ended":
            return "No alert has ended within 7 days."
        seconds = self._found.health.age_seconds
        proof = (
            "rules were never evaluated: is an agent running?"
            if seconds is None
            else f"rules evaluated {age(seconds)} ago"
        )
        return f"No alert is firing. Last one: {last}; {proof}."

    def detail(self, view: View, cells: int) -> tuple[str, list[Line]]:
        row = self.table.current
        if isinstance(row, EpisodeRow):
            return f"{row.alert} · {subject(row)}", self._about(row, view, cells)
        if isinstance(row, SilenceView):
            pairs = [
                ("of tenant", "all" if row.tenant == PLATFORM else row.tenant),
                ("match", matchers(row)),
                ("ends", when(row.ends_at, view.now, view.local_time)),
                ("by", short(row.created_by)),
                ("reason", row.reason),
            ]
            return f"silence {row.silence_id}", facts(pairs, cells)
        if isinstance(row, MessageView):
            pairs = [
                ("channel", row.channel),
                ("status", row.status),
                ("tries", str(row.attempts)),
                ("title", literal(row.title or "")),
                ("last error", literal(row.last_error or NOTHING)),
            ]
            return row.title or row.channel, facts(pairs, cells)
        return "", []

    def _about(self, row: EpisodeRow, view: View, cells: int) -> list[Line]:
        ack = (
            f"{short(row.acked_by or '')}{': ' + row.ack_note if row.ack_note else ''}"
            if row.acked
            else "nobody yet · a"
        )
        state = "silenced · stays visible, is not told" if row.silenced else ack
        lines = [
            *paragraph(literal(row.summary), cells, "strong"),
            *facts(
                [
                    ("value", value(row)),
                    ("since", f"{when(row.fired_at, view.now, view.local_time)} ({age(since(row, view.now))})"),
                    *(
                        [("ended", f"{when(row.ended_at, view.now, view.local_time)} {row.end_reason or ''}")]
                        if row.ended_at
                        else []
                    ),
                    ("taken by", state),
                    ("runbook", f"{row.runbook} · b"),
                    ("rule", row.rule_key),
                ],
                cells,
            ),
            (),
            heading("What happened"),
        ]
        for happening in self._story[1] if self._story[0] == row.event_id else ():
            by = f" · {short(happening.actor)}" if happening.actor else ""
            lines += paragraph(f"{when(happening.at, view.now, view.local_time)} {literal(happening.what)}{by}", cells)
        earlier = [e for e in self._found.episodes if e.alert == row.alert and e.labels == row.labels and e.ended_at]
        if earlier:
            lines += [(), heading(f"Earlier, 7 days: {len(earlier)}")]
            lines += [
                (Span(f" {age(since(e, view.now))} ago for {durations.words(lasted(e, view.now))}", "dim"),)
                for e in earlier[:5]
            ]
        return lines

    # -- what keys do

    def tenants(self) -> tuple[str, ...]:
        rows = self.table.chosen
        if self.view == "silences":
            return tuple(dict.fromkeys(row.tenant for row in rows))
        return tuple(dict.fromkeys(row.labels.get("tenant", PLATFORM) for row in rows if isinstance(row, EpisodeRow)))

    def do_acknowledge(self, argument: str, view: View) -> Effect:
        return deeds.acknowledge([row for row in self.table.chosen if not row.acked], argument)

    def do_comment(self, argument: str, view: View) -> Effect:
        return deeds.comment(self.table.chosen, argument)

    def do_undo(self, argument: str, view: View) -> Effect:
        if self.view != "firing":
            return Say("there is nothing to take back", "warn")
        return deeds.unacknowledge([row for row in self.table.chosen if row.acked])

    def do_silence(self, argument: str, view: View) -> Effect:
        return deeds.silence(self.table.chosen, argument, datetime.fromtimestamp(view.now, UTC))

    def do_runbook(self, argument: str, view: View) -> Effect:
        row = self.table.current
        return (
            Go("runbooks", "runbooks", row.runbook, about=row.event_id)
            if row is not None
            else Say("choose an alert first", "warn")
        )

    def do_history(self, argument: str, view: View) -> Effect:
        row = self.table.current
        return Go("alerts", view="ended", filter=f"alert={row.alert}") if row is not None else None

    def do_remove(self, argument: str, view: View) -> Effect:
        return deeds.end_silences(self.table.chosen)
