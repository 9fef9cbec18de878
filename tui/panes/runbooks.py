"""Runbooks: what to do, for each kind of alert."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from store.db import Db
from tui.library import Runbook
from tui.panes.pane import Pane, facts, paragraph
from tui.render import Line, Span, literal
from tui.table import Column, Table
from tui.view import View

SEVERITIES = {"sev1": "crit", "sev2": "warn"}
COLUMNS = (
    Column[Runbook]("runbook", "RUNBOOK", 28, lambda r, _: Span(r.id), lambda r, _: r.id),
    Column[Runbook](
        "severity", "SEV", 5, lambda r, _: Span(r.severity, SEVERITIES.get(r.severity, "")), lambda r, _: r.severity, 1
    ),
    Column[Runbook](
        "title",
        "TITLE",
        0,
        lambda r, _: Span(literal(r.error or r.title), "crit" if r.error else ""),
        lambda r, _: r.title,
    ),
    Column[Runbook](
        "alerts", "ALERTS", 30, lambda r, _: Span(", ".join(r.alerts), "dim"), lambda r, _: ", ".join(r.alerts), 2
    ),
)


class Runbooks(Pane):
    """They come with the program: there is nothing to ask a database for."""

    name = "runbooks"
    noun = "runbooks"
    views = ("runbooks",)
    detail_cells = 72
    dated = False
    seconds: ClassVar[float] = 3600.0

    def __init__(self, read: Callable[[], list[Runbook]]) -> None:
        super().__init__()
        self._table: Table[Runbook] = Table(COLUMNS, lambda row: row.id, "runbook")
        self._read = read

    @property
    def table(self) -> Table[Any]:
        return self._table

    async def load(self, db: Db) -> list[Runbook]:
        return await asyncio.to_thread(self._read)

    def draw(self, view: View, cells: int, rows: int) -> list[Line]:
        if self.at is None:  # a runbook is wanted most when there is no database
            self.take(self._read(), view.now)
        return super().draw(view, cells, rows)

    def put(self, found: list[Runbook], now: float) -> None:
        self._table.put(found, now)

    def old(self, view: View) -> bool:
        return False

    def detail(self, view: View, cells: int) -> tuple[str, list[Line]]:
        row = self._table.current
        if row is None:
            return "", []
        if self.opened:
            return row.title, [line for text in row.text.splitlines() for line in _marked(text, cells)]
        firing = [alert for alert in (view.snapshot.firing if view.snapshot else []) if alert.runbook == row.id]
        lines = facts(
            [
                ("about", row.summary),
                ("alerts", ", ".join(row.alerts)),
                ("reviewed", row.reviewed),
                ("firing now", ", ".join(alert.alert for alert in firing) or "none"),
            ],
            cells,
        )
        return row.id, [*lines, (), *[line for text in row.text.splitlines() for line in _marked(text, cells)]]


def _marked(text: str, cells: int) -> list[Line]:
    """Markdown as it is, headings bold."""
    if text.startswith("#"):
        return [(Span(f" {text.lstrip('# ').partition(' {#')[0]}", "title"),)]
    return paragraph(literal(text), cells)
