"""The doctor's second view: the table of hardening, and what was found when it was tried."""

from collections.abc import Iterator
from dataclasses import dataclass

from probes.hardening import SEVERITIES, Item, Verdict
from store.agents import PartState
from tui.panes.pane import facts, paragraph
from tui.render import Line, Span, glyph, literal
from tui.table import Column, Table

STATES = {"pass": PartState.OK, "unknown": PartState.UNKNOWN, "waived": PartState.OFF}
ORDER = ("fail", "unknown", "waived", "", "pass")


@dataclass(frozen=True, slots=True)
class Tried:
    """An item, and its verdict when there is one."""

    item: Item
    verdict: Verdict | None = None

    @property
    def state(self) -> str:
        """pass, fail, unknown, waived; "" before it was tried."""
        return self.verdict.state if self.verdict else ""

    @property
    def found(self) -> str:
        return self.verdict.finding.found if self.verdict else "not tried yet"

    @property
    def rank(self) -> tuple[int, int, str]:
        return ORDER.index(self.state), SEVERITIES.index(self.item.severity), self.item.id


def _mark(row: Tried) -> Span:
    if not row.state:
        return Span("· -", "dim")
    grave = PartState.CRIT if row.item.severity in SEVERITIES[:2] else PartState.WARN
    state = STATES.get(row.state, grave)
    return Span(f"{glyph(state, False)} {row.state}", state)


COLUMNS = (
    Column[Tried]("state", "STATE", 9, lambda r, _: _mark(r), lambda r, _: r.state),
    Column[Tried]("check", "CHECK", 8, lambda r, _: Span(r.item.id), lambda r, _: r.item.id),
    Column[Tried]("severity", "SEVERITY", 8, lambda r, _: Span(r.item.severity), lambda r, _: r.item.severity, 1),
    Column[Tried]("what", "WHAT", 0, lambda r, _: Span(r.item.what), lambda r, _: r.item.what),
    Column[Tried]("found", "FOUND", 48, lambda r, _: Span(literal(r.found), "" if r.verdict else "dim"),
                  lambda r, _: r.found, 2),
)  # fmt: skip


def table() -> Table[Tried]:
    return Table(COLUMNS, lambda row: row.item.id)


def detail(row: Tried, cells: int) -> tuple[str, list[Line]]:
    """Why it matters, what was found, and what to do."""
    return f"{row.item.id} {row.item.what}", [line for part in _lines(row, cells) for line in part]


def _lines(row: Tried, cells: int) -> Iterator[list[Line]]:
    item, verdict = row.item, row.verdict
    yield facts([("found", literal(row.found)), ("why", item.why), ("from", item.where)], cells)
    if row.state == "fail":
        yield facts([("to do", item.fix), ("runbook", f"{item.runbook} (b)" if item.runbook else "-")], cells)
    if verdict is not None and verdict.waiver:
        yield facts([("waived", verdict.waiver)], cells)
    if verdict is not None and verdict.finding.evidence:
        yield [()]
        for line in verdict.finding.evidence.splitlines()[-40:]:
            yield paragraph(literal(line), cells)
