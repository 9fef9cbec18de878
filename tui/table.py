"""A list of rows: cursor, marks, order, filter, and what of it is on screen. The cursor belongs to a row, not a place.

Only visible rows are drawn, so that ten thousand cost no more than thirty.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from tui import filter as filtering
from tui.filter import Filter, Value
from tui.render import Line, Span, fit, pad

Row = TypeVar("Row")
GUTTER = 3  # cursor, mark, blank
ONE = {"people": "person"}


@dataclass(frozen=True)  # no slots: typing notes the row's type on each instance
class Column(Generic[Row]):
    """A column. show: the cell at this time; value: what filters and order go by, ages in seconds.

    cells 0: takes what is left. drop: the higher, the sooner it goes when there is no room; 0 never goes.
    """

    name: str
    title: str
    cells: int
    show: Callable[[Row, float], Span]
    value: Callable[[Row, float], Value]
    drop: int = 0


class Table(Generic[Row]):
    """key: what a row is known by for ever. order: the column it is sorted by at first; "" keeps the given order."""

    def __init__(
        self, columns: Sequence[Column[Row]], key: Callable[[Row], str], order: str = "", descending: bool = False
    ) -> None:
        self.columns = tuple(columns)
        self._by_name = {column.name: column for column in self.columns}
        self.filter = Filter()
        self.order = order
        self.descending = descending
        self.marked: set[str] = set()
        self.shown: list[Row] = []
        self.total = 0
        self.hidden: frozenset[str] = frozenset()
        self.key = key
        self._rows: Sequence[Row] = ()
        self._cursor: str | None = None
        self._index = 0
        self._top = 0
        self._now = 0.0
        self._page = 10
        self._slipped = False

    # -- rows

    def put(self, rows: Sequence[Row], now: float) -> bool:
        """Other rows; False when the one under the cursor is gone, and the cursor is at its neighbour."""
        self._rows, self._now, self.total = rows, now, len(rows)
        keys = {self.key(row) for row in rows} if self.marked else set()
        lost = bool(self.marked - keys)
        self.marked &= keys
        kept = self._arrange()
        self._slipped = self._slipped or lost or not kept
        return kept

    def slipped(self) -> bool:
        """The row under the cursor, or a marked one, went since somebody last moved or asked; told once."""
        found, self._slipped = self._slipped, False
        return found

    def set_filter(self, text: str) -> None:
        self.filter = filtering.parse(text, [column.name for column in self.columns])
        self._arrange()

    def sort(self, name: str, descending: bool) -> None:
        self.order, self.descending = name, descending
        self._arrange()

    def _arrange(self) -> bool:
        rows = [row for row in self._rows if self._fits(row)] if self.filter else list(self._rows)
        column = self._by_name.get(self.order)
        if column is not None:
            values = [(column.value(row, self._now), row) for row in rows]
            known = [pair for pair in values if pair[0] is not None]
            known.sort(key=_first, reverse=self.descending)
            rows = [row for _, row in known] + [row for value, row in values if value is None]
        self.shown = rows
        found = next((i for i, row in enumerate(rows) if self.key(row) == self._cursor), None)
        kept = found is not None or self._cursor is None
        self._go(self._index if found is None else found)
        return kept

    def _fits(self, row: Row) -> bool:
        def value(name: str) -> Value:
            return self._by_name[name].value(row, self._now)

        def words() -> str:
            return " ".join(c.show(row, self._now).text for c in self.columns).lower()

        return filtering.matches(self.filter, value, words)

    # -- cursor and marks

    @property
    def current(self) -> Row | None:
        return self.shown[self._index] if self.shown else None

    @property
    def chosen(self) -> list[Row]:
        """The marked rows; without marks the one under the cursor."""
        if self.marked:
            return [row for row in self._rows if self.key(row) in self.marked]
        return [self.shown[self._index]] if self.shown else []

    def move(self, by: int) -> None:
        self._slipped = False
        self._go(self._index + by)

    def page(self, by: int) -> None:
        self._go(self._index + by * max(1, self._page - 1))

    def edge(self, last: bool) -> None:
        self._go(len(self.shown) - 1 if last else 0)

    def select(self, key: str) -> bool:
        """Put the cursor on a row, or on it as soon as it is there; False when it is not shown now."""
        found = next((i for i, row in enumerate(self.shown) if self.key(row) == key), None)
        if found is not None:
            self._go(found)
        else:
            self._cursor = key  # it may be among the next rows
        return found is not None

    def click(self, line: int) -> bool:
        """A line of the drawn list, the heading is 0; False when there is no row."""
        index = self._top + line - 1
        if not 1 <= line <= self._page or index >= len(self.shown):
            return False
        self._go(index)
        return True

    def mark(self) -> None:
        """Mark the row under the cursor, or take the mark away, and go on to the next one."""
        if self.current is not None:
            self.marked ^= {self.key(self.current)}
            self.move(1)

    def mark_all(self) -> None:
        """All shown rows; when all are marked already, none."""
        keys = {self.key(row) for row in self.shown}
        self.marked = set() if keys <= self.marked else keys

    def _go(self, index: int) -> None:
        self._index = max(0, min(index, len(self.shown) - 1))
        self._cursor = self.key(self.shown[self._index]) if self.shown else self._cursor

    # -- drawing

    def draw(self, cells: int, rows: int, now: float) -> list[Line]:
        """A heading and the rows around the cursor: exactly rows lines."""
        layout = self._layout(cells)
        self._page = max(1, rows - 1)
        self._top = max(0, min(self._top, len(self.shown) - self._page))
        self._top = min(max(self._top, self._index - self._page + 1), self._index)
        lines = [self._heading(layout, cells)]
        visible = range(self._top, min(self._top + self._page, len(self.shown)))
        lines += [self._line(index, layout, cells, now) for index in visible]
        return (lines + [()] * rows)[:rows]

    def _layout(self, cells: int) -> list[tuple[Column[Row], int]]:
        kept = [column for column in self.columns if column.name not in self.hidden]
        while len(kept) > 1 and GUTTER + sum((c.cells or 12) + 1 for c in kept) > cells:
            least = max(kept, key=lambda c: c.drop)
            if not least.drop:
                break
            kept.remove(least)
        left = cells - GUTTER - sum(c.cells + 1 for c in kept if c.cells) - sum(1 for c in kept if not c.cells)
        return [(column, column.cells or max(4, left)) for column in kept]

    def _heading(self, layout: list[tuple[Column[Row], int]], cells: int) -> Line:
        arrow = "↓" if self.descending else "↑"
        titles = [f"{c.title} {arrow}" if c.name == self.order else c.title for c, _ in layout]
        text = " ".join(pad(title, width) for title, (_, width) in zip(titles, layout, strict=True))
        return fit((Span(" " * GUTTER + text, "heading"),), cells)

    def _line(self, index: int, layout: list[tuple[Column[Row], int]], cells: int, now: float) -> Line:
        row = self.shown[index]
        here, marked = index == self._index, self.key(row) in self.marked
        spans = [Span(f"{'▸' if here else ' '}{'✓' if marked else ' '} ", "key")]
        for column, width in layout:
            span = column.show(row, now)
            spans.append(Span(pad(span.text, width) + " ", span.style))
        line = fit(tuple(spans), cells)
        return tuple(Span(span.text, "selected") for span in line) if here else line

    def count(self, noun: str) -> str:
        """Such as `12 of 10 214 devices`. noun: in the plural."""
        noun = ONE.get(noun, noun.removesuffix("s")) if self.total == 1 else noun
        total = f"{self.total:,}".replace(",", " ")
        shown = f"{len(self.shown):,}".replace(",", " ")
        marks = f" · {self.marks()}" if self.marked else ""
        return f"{shown} of {total} {noun}{marks}" if self.filter else f"{total} {noun}{marks}"

    def marks(self) -> str:
        """Such as `3 marked, 1 not shown`; nothing without marks."""
        if not self.marked:
            return ""
        hidden = len(self.marked - {self.key(row) for row in self.shown})
        return f"{len(self.marked)} marked{f', {hidden} not shown' if hidden else ''}"

    def records(self, now: float, only: Collection[str] = ()) -> list[dict[str, Value]]:
        """The shown rows as values by column, for export."""
        return [{c.name: c.value(row, now) for c in self.columns if not only or c.name in only} for row in self.shown]


def _first(pair: tuple[Any, Row]) -> Any:
    """A column's values are all numbers or all text."""
    return pair[0]
