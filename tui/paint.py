"""Sends only cells that changed. Textual sends every cell of a widget that changed, some twenty times as many bytes.

The names of Textual that are not public are used here and nowhere else; its version is pinned for that reason.
IOT_CONSOLE_FULL_PAINT=1 turns this off, and so does any error in here.
"""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from rich.color import ColorSystem
from rich.console import Console as RichConsole
from rich.segment import Segment
from rich.style import Style
from textual._cells import cell_len
from textual._compositor import ChopsUpdate, CompositorUpdate, LayoutUpdate
from textual.app import App
from textual.screen import Screen

from tui.render import literal

OFF_VARIABLE = "IOT_CONSOLE_FULL_PAINT"
JOINED = 4  # unchanged cells between two changes that cost less to send than another move of the cursor
Cell = tuple[str, str]  # a character with what combines with it, and its SGR codes; "" behind a wide one
UNKNOWN: Cell = ("\0", "")


class Front:
    """What is on the terminal now, as far as we have written it."""

    def __init__(self) -> None:
        self._rows: list[list[Cell]] = []
        self._codes: dict[Style, str] = {}

    def forget(self) -> None:
        """The terminal may show anything: everything is sent again."""
        self._rows = []

    def written(self, update: LayoutUpdate | ChopsUpdate, size: tuple[int, int], system: ColorSystem | None) -> str:
        """The bytes that turn the terminal into what the update says; they are taken as sent."""
        cells, rows = size
        if len(self._rows) != rows or (self._rows and len(self._rows[0]) != cells):
            self._rows = [[UNKNOWN] * cells for _ in range(rows)]
            self._codes.clear()
        pen = ""
        out: list[str] = []
        for y, x, segments, first, last in _pieces(update, cells):
            if not 0 <= y < rows:
                continue  # an update may be of the size before
            at, new = _cut(self._cells(segments, system), x, first, min(last, cells))
            for start, end in _runs(self._rows[y], at, new):
                out.append(f"\x1b[{y + 1};{start + 1}H")
                for text, codes in new[start - at : end - at]:
                    if codes != pen:
                        out.append(f"\x1b[0;{codes}m" if codes else "\x1b[0m")
                        pen = codes
                    out.append(text)
            self._rows[y][at : at + len(new)] = new
        if pen:
            out.append("\x1b[0m")
        return "".join(out)

    def _cells(self, segments: Iterable[Segment], system: ColorSystem | None) -> list[Cell]:
        cells: list[Cell] = []
        for text, style, control in segments:
            if control or not text:
                continue
            if not text.isprintable():  # whoever drew it: nothing but our own sequences goes to the terminal
                text = literal(text)
            codes = self._code(style, system)
            if text.isascii():
                cells += [(char, codes) for char in text]
                continue
            for char in text:
                wide = cell_len(char)
                if wide == 0 and cells:
                    base = max(i for i in range(len(cells)) if cells[i][0])
                    cells[base] = (cells[base][0] + char, cells[base][1])
                else:
                    cells += [(char, codes), *[("", codes)] * (wide - 1)]
        return cells

    def _code(self, style: Style | None, system: ColorSystem | None) -> str:
        if style is None or system is None:
            return ""
        found = self._codes.get(style)
        if found is None:
            found = self._codes[style] = style._make_ansi_codes(system)
        return found


def _pieces(update: LayoutUpdate | ChopsUpdate, cells: int) -> Iterator[tuple[int, int, Iterable[Segment], int, int]]:
    """(line, first cell, segments, from, up to) of everything the update holds.

    Of a piece, only the cells from and up to are meant: beside them, a partial update has backgrounds without what
    stands on them.
    """
    if isinstance(update, LayoutUpdate):
        for y, strips in enumerate(update.strips, update.region.y):
            yield y, update.region.x, [segment for strip in strips for segment in strip], 0, cells
        return
    for y, first, last in update.spans:
        for x, strip in update.chops[y].items():
            if strip is not None:
                yield y, x, strip, first, last


def _cut(drawn: list[Cell], x: int, first: int, last: int) -> tuple[int, list[Cell]]:
    """(where they begin, the cells from first up to last) of cells that begin at x; no wide character is cut in two."""
    start, end = max(x, first), min(x + len(drawn), last)
    if start >= end:
        return max(0, first), []
    while start > x and not drawn[start - x][0]:
        start -= 1
    while end < x + len(drawn) and not drawn[end - x][0]:
        end += 1
    return start, drawn[start - x : end - x]


def _runs(old: list[Cell], x: int, new: list[Cell]) -> list[tuple[int, int]]:
    """Where new, that begins at x, differs: runs from a cell up to another, never beginning inside a wide character."""
    runs: list[tuple[int, int]] = []
    for i, cell in enumerate(new, x):
        if cell == old[i]:
            continue
        start = i
        while start > x and not new[start - x][0]:
            start -= 1
        if runs and start - runs[-1][1] <= JOINED:
            runs[-1] = (runs[-1][0], i + 1)
        else:
            runs.append((start, i + 1))
    return runs


class Changes(CompositorUpdate):
    """An update that is worked out only when it is really written."""

    def __init__(self, app: "CellDiff", update: LayoutUpdate | ChopsUpdate) -> None:
        self._app = app
        self._update = update

    def render_segments(self, console: RichConsole) -> str:
        try:
            return self._app.front.written(self._update, self._app.size, console._color_system)
        except Exception as error:  # whatever it is: the screen must go on
            self._app.paint_whole(error)
            return self._update.render_segments(console)


class CellDiff(App[str]):
    """An app that is frugal with bytes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.front = Front()
        self._whole = bool(os.environ.get(OFF_VARIABLE))

    def paint_whole(self, error: Exception) -> None:
        """For the rest of this session."""
        self._whole = True
        self.log.error(f"painting whole widgets from now on: {error!r}")

    def _display(self, screen: Screen[Any], renderable: Any) -> None:
        if not self._whole and isinstance(renderable, LayoutUpdate | ChopsUpdate):
            renderable = Changes(self, renderable)
        super()._display(screen, renderable)
