"""Runbooks: what to do for each kind of alert; runs, open ones first; and one run, step by step."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

from store import runs
from store.alert_views import EpisodeRow
from store.db import Db
from tui.effects import Copy, Effect, Prompt, Say
from tui.library import Runbook
from tui.panes import run_deeds as deeds
from tui.panes import run_view
from tui.panes.pane import Pane, facts, paragraph
from tui.render import Line, Span, age, box, fit, literal, when
from tui.runbook import timeline
from tui.runbook.conduct import Conductor
from tui.runbook.desk import Desk, Listed
from tui.runbook.offer import Offer, standing
from tui.table import Column, Table
from tui.view import View

SEVERITIES = {"sev1": "crit", "sev2": "warn"}
READ_SECONDS = 300.0  # between two looks at the files
PUSH_SECONDS = 10.0  # between two looks for runs that the database has not all of
COLUMNS = (
    Column[Runbook]("runbook", "RUNBOOK", 27, lambda r, _: Span(r.id), lambda r, _: r.id),
    Column[Runbook](
        "severity", "SEV", 6, lambda r, _: Span(r.severity, SEVERITIES.get(r.severity, "")), lambda r, _: r.severity, 1
    ),
    Column[Runbook](
        "title", "TITLE", 0, lambda r, _: Span(literal(r.error or r.title), "crit" if r.error else ""),
        lambda r, _: r.title,
    ),
    Column[Runbook](
        "alerts", "ALERTS", 30, lambda r, _: Span(", ".join(r.alerts), "dim"), lambda r, _: ", ".join(r.alerts), 2
    ),
)  # fmt: skip
RUN_COLUMNS = (
    Column[Listed]("run", "RUN", 8, lambda r, _: Span(r.run_id[:8]), lambda r, _: r.run_id),
    Column[Listed]("state", "STATE", 9, lambda r, _: Span(r.state, "warn" if r.state == "open" else "dim"),
                   lambda r, _: r.state),
    Column[Listed]("runbook", "RUNBOOK", 28, lambda r, _: Span(r.runbook), lambda r, _: r.runbook),
    Column[Listed]("mode", "MODE", 6, lambda r, _: Span(r.mode, "" if r.mode == "live" else "dim"),
                   lambda r, _: r.mode, 2),
    Column[Listed]("owner", "OWNER", 12, lambda r, _: Span(r.owner.removeprefix("iot_u_")), lambda r, _: r.owner),
    Column[Listed]("started", "STARTED", 17, lambda r, now: Span(when(r.started_at, now, False)),
                   lambda r, now: now - r.started_at.timestamp(), 1),
    Column[Listed]("outcome", "OUTCOME", 0,
                   lambda r, _: Span(literal(r.outcome or ("only on this machine" if r.local else ""))),
                   lambda r, _: r.outcome, 3),
)  # fmt: skip
OFFER_COLUMNS = (
    Column[Offer]("offer", "OFFER", 0, lambda o, _: Span(f"{'suggested: ' if o.suggested else ''}{literal(o.words)}"),
                  lambda o, _: o.words),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    runs: tuple[Listed, ...]
    drilled: dict[str, datetime]


class Runbooks(Pane):
    """They come with the program, and runs are kept on this machine first: no database is needed."""

    name = "runbooks"
    noun = "runbooks"
    views = ("runbooks", "runs", "run")
    detail_cells = 72
    dated = False
    seconds: ClassVar[float] = 2.0

    def __init__(self, read: Callable[[], list[Runbook]], desk: Desk) -> None:
        super().__init__()
        self._books: Table[Runbook] = Table(COLUMNS, lambda row: row.id, "runbook")
        self._runs: Table[Listed] = Table(RUN_COLUMNS, lambda row: row.run_id)
        self._offers: Table[Offer] = Table(OFFER_COLUMNS, lambda row: row.id)
        self._read = read
        self._read_at = 0.0
        self._desk = desk
        self._drilled: dict[str, datetime] = {}
        self._conductor: Conductor | None = None
        self._stood = ""  # how the run stood when the cursor was put
        self._progress = ""
        self._pushed_at = 0.0
        self._local_at = 0.0

    @property
    def table(self) -> Table[Any]:
        tables: dict[str, Table[Any]] = {"runbooks": self._books, "runs": self._runs, "run": self._offers}
        return tables[self.view]

    async def load(self, db: Db) -> Found:
        if self._conductor is not None and self._conductor.run.open and not self._conductor.doing:
            await self._conductor.sync()
            await self._conductor.pull()
        if time.monotonic() - self._pushed_at > PUSH_SECONDS:
            self._pushed_at = time.monotonic()
            await self._desk.push_waiting()
        return Found(tuple(await self._desk.runs()), await runs.drilled(db))

    def put(self, found: Found, now: float) -> None:
        self._runs.put(found.runs, now)
        self._drilled = found.drilled

    def old(self, view: View) -> bool:
        return False

    def empty(self, view: View) -> str:
        if self.view == "run":
            return "No run is open.\nA runbook is followed with n; a run is gone on with by enter in the view runs."
        return "No runbook was followed yet." if self.view == "runs" else super().empty(view)

    def draw(self, view: View, cells: int, rows: int) -> list[Line]:
        if view.now - self._read_at > READ_SECONDS:  # a runbook is wanted most when there is no database
            self._read_at = view.now
            self._books.put(self._read(), view.now)
        self.at = self.at if self.at is not None else view.now
        self.error = ""  # a database that is away is no reason not to read
        if self._desk.db() is None and view.now - self._local_at >= self.seconds:
            self._local_at = view.now
            self._runs.put(sorted(self._desk.local_runs().values(), key=lambda one: one.state != "open"), view.now)
        if self.view == "run" and self._conductor is not None:
            return self._draw_run(self._conductor, view, cells, rows)
        return super().draw(view, cells, rows)

    def _draw_run(self, conductor: Conductor, view: View, cells: int, rows: int) -> list[Line]:
        self._put_offers(conductor, view.now)
        if self.opened:
            lines = run_view.everything(conductor, cells - 2)
            self.scroll = max(0, min(self.scroll, len(lines) - (rows - 3)))
            shown = box(conductor.run.here or "the end", lines[self.scroll :], cells, rows - 1, "v: back", view.ascii)
            return [fit(line, cells) for line in [run_view.head(conductor, view, self._progress), *shown]]
        beside = cells >= run_view.WIDE
        inner = cells - run_view.STEPS_CELLS - 2 if beside else cells
        most = max(2, min(len(self._offers.shown), rows // 3))
        offers = self._offers.draw(inner, most + 1, view.now)[1:]
        lines, first = run_view.drawn(conductor, view, offers, self._progress, cells, rows)
        self.top = first - 1
        return [fit(line, cells) for line in (lines + [()] * rows)[:rows]]

    def _put_offers(self, conductor: Conductor, now: float) -> None:
        """The cursor begins at what is suggested, each time one comes somewhere or something was found."""
        found = conductor.offers()
        self._offers.put(found, now)
        stands = standing(conductor.run)
        if stands != self._stood:
            self._stood = stands
            likely = next((offer for offer in found if offer.suggested), None)
            if likely is not None:
                self._offers.select(likely.id)
            else:
                self._offers.edge(last=False)

    def detail(self, view: View, cells: int) -> tuple[str, list[Line]]:
        if self.view == "runs":
            return "", []
        row = self._books.current
        if row is None or self.view == "run":
            return "", []
        lines = [line for text in row.text.splitlines() for line in _marked(text, cells)]
        if self.opened:
            return row.title, lines
        firing = [alert.alert for alert in self._firing(view, row.id)]
        drilled = self._drilled.get(row.id)
        about = facts(
            [
                ("about", row.summary),
                ("alerts", ", ".join(row.alerts)),
                ("reviewed", row.reviewed),
                ("drilled", "never" if drilled is None else f"{age(view.now - drilled.timestamp())} ago"),
                ("firing now", ", ".join(firing) or "none"),
            ],
            cells,
        )
        return row.id, [*about, (), *lines]

    def _firing(self, view: View, runbook: str) -> list[EpisodeRow]:
        """The alert that led here first."""
        firing = [alert for alert in (view.snapshot.firing if view.snapshot else []) if alert.runbook == runbook]
        return sorted(firing, key=lambda alert: alert.event_id != self.about)

    # -- actions

    def do_new(self, argument: str, view: View) -> Effect:
        row = self._books.current
        if row is None:
            return Say("choose a runbook first", "warn")
        if self._conductor is not None and self._conductor.doing:
            return Say(f"not yet: {self._conductor.doing} is under way", "warn")
        firing = self._firing(view, row.id)
        if argument == "drill":  # an exercise is about no alert
            firing = []
        alert = firing[0] if len(firing) == 1 or (firing and firing[0].event_id == self.about) else None
        if firing and alert is None:
            return self._which_alert(row, firing, argument)
        return deeds.begin(self._desk, row.id, alert, argument, self._open)

    def _which_alert(self, row: Runbook, firing: list[EpisodeRow], mode: str) -> Effect:
        """Several fire: it is for one of them, or for none."""
        names = [alert.alert for alert in firing]

        def chosen(text: str) -> Effect:
            wanted = text.strip()
            if wanted not in (*names, "none"):
                raise ValueError(f"one of {', '.join(names)}, or none")
            alert = next((one for one in firing if one.alert == wanted), None)
            return deeds.begin(self._desk, row.id, alert, mode, self._open)

        return Prompt("For which alert", f"{', '.join(names)}, or none", chosen, names[0], (*names, "none"))

    def do_open(self, argument: str, view: View) -> Effect:
        if self.view == "runs":
            row = self._runs.current
            if row is None:
                return None
            if self._conductor is not None and self._conductor.run.facts.run_id == row.run_id:
                self.view = "run"
                return None
            if self._conductor is not None and self._conductor.doing:
                return Say(f"not yet: {self._conductor.doing} is under way", "warn")
            return deeds.resume(self._desk, row.run_id, self._open)
        if self.view != "run" or self._conductor is None:
            return super().do_open(argument, view)
        if self.opened:
            self.opened = False
            return None
        offer = self._offers.current
        if offer is None:
            return Say("this run is over: x exports its timeline", "warn")
        return deeds.taken(self._desk, self._conductor, offer, self._say, self._open)

    def do_text(self, argument: str, view: View) -> Effect:
        self.opened, self.scroll = not self.opened and self._conductor is not None, 0
        return None

    def do_comment(self, argument: str, view: View) -> Effect:
        conductor = self._conductor
        note = next((o for o in conductor.offers() if o.id == "note"), None) if conductor is not None else None
        if conductor is None or note is None:
            return Say("there is no run to write it into", "warn")
        return deeds.taken(self._desk, conductor, note, self._say, self._open)

    def do_edit(self, argument: str, view: View) -> Effect:
        conductor = self._conductor
        if conductor is None:
            return Say("there is no run to correct", "warn")
        ids = [entry.event_id for entry in timeline.entries(conductor.run)]

        def chosen(text: str) -> Effect:
            number, _, words = text.strip().partition(" ")
            if not number.isdecimal() or not words.strip():
                raise ValueError("the entry's number and what it should say, as in: 4 the broker was restarted by ben")
            return deeds.corrected(conductor, int(number), words.strip(), ids)

        return (
            chosen(argument) if argument else Prompt("Correct", "number of the entry (v shows them) and text", chosen)
        )

    def do_copy_all(self, argument: str, view: View) -> Effect:
        document = self.document(view.now)
        return Copy(document, "the timeline") if document else super().do_copy_all(argument, view)

    def document(self, now: float) -> str | None:
        if self.view != "run" or self._conductor is None:
            return None
        return timeline.markdown(self._conductor.run, datetime.fromtimestamp(now, UTC))

    def leave(self) -> bool:
        """From a run back to the list; it goes on whenever somebody opens it. False when there is none."""
        if self.view != "run" or self._conductor is None:
            return False
        if self._conductor.doing:
            self._conductor.stop_waiting()
            self._progress = "ending the wait …"
            return True
        self._conductor.leave()
        self._conductor, self.view, self.opened = None, "runs", False
        return True

    def _open(self, conductor: Conductor) -> None:
        self._conductor, self.view, self.opened, self._progress = conductor, "run", False, ""

    def _say(self, text: str) -> None:
        self._progress = text


def _marked(text: str, cells: int) -> list[Line]:
    """Markdown as it is, headings bold."""
    if text.startswith("#"):
        return [(Span(f" {text.lstrip('# ').partition(' {#')[0]}", "title"),)]
    return paragraph(literal(text), cells)
