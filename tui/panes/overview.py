"""Overview: is data flowing, is anything wrong, is the machine well; and what could not be stored."""

from typing import Any, ClassVar

from store import dead_letters
from store.alert_views import EpisodeRow
from store.db import Db
from store.dead_letters import DeadLetterRow
from store.members import PLATFORM
from tui.effects import Ask, Done, Effect, Go, Level, Say, Write
from tui.overview import overview
from tui.panes import alert_deeds
from tui.panes.alert_columns import ALERT, RUNBOOK, SEVERITY, SINCE, SUBJECT, acked
from tui.panes.pane import Pane, facts, paragraph, same
from tui.render import Line, Span, age, literal, when
from tui.table import Column, Table
from tui.view import View

LETTERS = 500
STATES = {"open": "warn", "replayed": "ok", "discarded": "dim"}


def _state(row: DeadLetterRow) -> Span:
    return Span("waits for the agent", "warn") if row.replaying else Span(row.state, STATES[row.state])


def _age(row: DeadLetterRow, now: float) -> float:
    return now - row.last_at.timestamp()


FIRING = (
    SEVERITY, ALERT, SUBJECT, SINCE,
    Column[EpisodeRow]("ack", "ACK", 12, lambda r, _: acked(r), lambda r, _: acked(r).text, 1), RUNBOOK,
)  # fmt: skip
COLUMNS = (
    Column[DeadLetterRow]("age", "AGE", 7, lambda r, now: Span(age(_age(r, now))), _age),
    Column[DeadLetterRow]("tenant", "TENANT", 12, lambda r, _: Span(r.tenant), lambda r, _: r.tenant, 3),
    Column[DeadLetterRow]("reason", "REASON", 15, lambda r, _: Span(r.reason, "warn"), lambda r, _: r.reason),
    Column[DeadLetterRow]("topic", "TOPIC", 0, lambda r, _: Span(literal(r.topic)), lambda r, _: r.topic),
    Column[DeadLetterRow]("times", "TIMES", 6, lambda r, _: Span(f"x{r.times}"), lambda r, _: float(r.times), 2),
    Column[DeadLetterRow]("state", "STATE", 10, lambda r, _: _state(r), lambda r, _: _state(r).text),
)  # fmt: skip


class Overview(Pane):
    """now is drawn from the snapshot that the whole console lives on."""

    name = "overview"
    noun = "dead letters"
    views = ("now", "letters")
    below = True
    seconds: ClassVar[float] = 2.0

    def __init__(self) -> None:
        super().__init__()
        self._firing: Table[EpisodeRow] = Table(FIRING, lambda row: row.event_id)
        self._letters: Table[DeadLetterRow] = Table(COLUMNS, lambda row: str(row.dead_letter_id))
        self._payload: tuple[int, bytes | None] = (0, None)

    @property
    def table(self) -> Table[Any]:
        return self._firing if self.view == "now" else self._letters

    async def load(self, db: Db) -> tuple[DeadLetterRow, ...]:
        return tuple(await dead_letters.newest(db, LETTERS)) if self.view == "letters" else ()

    def lacks(self) -> bool:
        row = self._letters.current
        return self.view == "letters" and row is not None and row.dead_letter_id != self._payload[0]

    async def inspect(self, db: Db) -> None:
        row = self._letters.current
        if row is not None:
            self.know(row.dead_letter_id, await dead_letters.payload(db, row.dead_letter_id))

    def know(self, dead_letter_id: int, payload: bytes | None) -> None:
        """Take the message of one dead letter."""
        self._payload = (dead_letter_id, payload)

    def put(self, found: tuple[DeadLetterRow, ...], now: float) -> None:
        if self.view == "letters":
            self._letters.put(found, now)

    # -- drawing

    def draw(self, view: View, cells: int, rows: int) -> list[Line]:
        if self.view != "now":
            return super().draw(view, cells, rows)
        self._firing.put(view.snapshot.firing if view.snapshot else [], view.now)
        return overview(view, self._firing, cells, rows)

    def empty(self, view: View) -> str:
        return "No dead letter. What cannot be stored is kept here with its reason."

    def detail(self, view: View, cells: int) -> tuple[str, list[Line]]:
        if self.view == "now":
            alert = self._firing.current
            return (alert.alert, paragraph(literal(alert.summary), cells)) if alert is not None else ("", [])
        row = self._letters.current
        if row is None:
            return "", []
        lines = facts(
            [
                ("reason", row.reason),
                ("detail", literal(row.detail)),
                ("topic", literal(row.topic)),
                ("last", f"{when(row.last_at, view.now, view.local_time)} ({age(_age(row, view.now))} ago)"),
                ("times", str(row.times)),
                ("state", _state(row).text),
            ],
            cells,
        )
        number, payload = self._payload
        text = "…" if number != row.dead_letter_id or payload is None else view.sent(readable(payload))
        return f"dead letter {row.dead_letter_id}", [*lines, (), *paragraph(literal(text), cells)]

    # -- what keys do

    def tenants(self) -> tuple[str, ...]:
        if self.view == "now":
            rows = self._firing.chosen
            return tuple(dict.fromkeys(row.labels.get("tenant", PLATFORM) for row in rows))
        return tuple(dict.fromkeys(row.tenant for row in self._letters.chosen))

    def do_open(self, argument: str, view: View) -> Effect:
        if self.view == "letters":
            return super().do_open(argument, view)
        row = self._firing.current
        return Go("alerts", view="firing", key=row.event_id) if row else Go("alerts")

    def do_text(self, argument: str, view: View) -> Effect:
        return self.do_open(argument, view)

    def do_acknowledge(self, argument: str, view: View) -> Effect:
        return alert_deeds.acknowledge([row for row in self._firing.chosen if not row.acked], argument)

    def do_runbook(self, argument: str, view: View) -> Effect:
        row = self._firing.current
        return Go("runbooks", "runbooks", row.runbook, about=row.event_id) if row else Say("no alert is firing", "warn")

    def _ids(self, *states: str) -> list[int]:
        return [row.dead_letter_id for row in self._letters.chosen if row.state in states]

    def do_ingest_again(self, argument: str, view: View) -> Effect:
        return handle(self._ids("open"), "replay")

    def do_remove(self, argument: str, view: View) -> Effect:
        ids = self._ids("open")
        write = handle(ids, "discard")
        if not isinstance(write, Write):
            return write
        question = f"Discard {same([f'dead letter {n}' for n in ids], 'dead letters')}? u brings them back."
        return Ask(Level.NOTICED, question, (), write)

    def do_undo(self, argument: str, view: View) -> Effect:
        if self.view != "letters":
            return Say("there is nothing to take back", "warn")
        return handle(self._ids("discarded", "open"), "reopen")


def handle(ids: list[int], what: str) -> Effect:
    """what: replay, discard or reopen."""
    if not ids:
        return Say("nothing chosen that this could be done with", "warn")
    words = {"replay": "asked an agent to take", "discard": "discarded", "reopen": "opened again:"}

    async def run(db: Db) -> Done:
        count = await dead_letters.handle(db, ids, what)
        undo = None if what == "reopen" else handle(ids, "reopen")
        return Done(f"{words[what]} {count} dead letters", undo if isinstance(undo, Write) else None)

    return Write(f"{what} {len(ids)} dead letters", run)


def readable(payload: bytes) -> str:
    """As text when it is text, else as hexadecimal."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return f"{len(payload)} bytes: {payload[:400].hex(' ')}"
