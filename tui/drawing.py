"""The console on the screen: which lines stand where. What they say comes from pure functions."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult

from tui import frame
from tui.actions import Action
from tui.doing import Doing
from tui.entry import Entry
from tui.lines import Lines
from tui.options import Options
from tui.render import Line, Span, fit, literal, plain, to_ascii
from tui.style import THEMES, Styles
from tui.view import View

if TYPE_CHECKING:
    from tui.form import FormView

PARTS = ("status", "tabs", "pane", "bar", "banner", "footer")


class Drawing(Doing):
    """Fixed lines around one pane; over it a page, such as the help, or a form."""

    CSS_PATH = Path(__file__).with_name("app.tcss")
    options: Options
    page = ""  # help or messages, over the pane
    _page_top = 0
    _shown: View  # what a frozen picture shows
    _styles: Styles

    def compose(self) -> ComposeResult:
        for part in PARTS:
            yield Lines(self._styles, part)
            if part == "bar":
                yield Entry()

    def allowed(self, action: Action) -> bool:
        """By the role in the tenants of the chosen rows; the database decides again."""
        if action.role is None:
            return True
        tenants = self.pane.tenants()
        me = self.view.me
        return all(me.may(action.role, tenant) for tenant in tenants) if tenants else me.may(action.role)

    def turn_page(self, page: str) -> None:
        self.page, self._page_top = page, 0

    def scroll(self, by: int) -> None:
        if self.page:
            self._page_top = max(0, self._page_top + by)
        else:
            self.pane.scroll = max(0, self.pane.scroll + by)

    def wear(self, theme: str) -> None:
        """Other colours."""
        self._styles = THEMES["mono" if os.environ.get("NO_COLOR") else theme].styles()
        for lines in self.query(Lines):
            lines.restyle(self._styles)
        self.front.forget()

    def draw(self) -> None:
        if not self.query("#footer"):
            return  # not composed yet
        self.view = replace(self.view, now=self.clock())
        cells = self.size.width
        me = self.view.me.login.removeprefix("iot_u_") or "nobody"
        self._put("status", [frame.status_line(self.view, cells)])
        self._put("tabs", [frame.tabs_line(self.view, cells)])
        above = self.bar.lines(cells, self.clock(), self.view.environment, me, self.view.ascii)
        self._shown_if("bar", above)
        banner = frame.banner_line(self.view, cells)
        self._shown_if("banner", [banner] if banner else [])
        self._put("footer", [self._footer(cells)])
        pane = self.query_one("#pane", Lines)
        width, rows = pane.size
        if width and rows:
            self._put("pane", self._over(width, rows) if self.page else self._drawn(width, rows))

    def _footer(self, cells: int) -> Line:
        for form in self.query("FormView"):
            keys = cast("FormView", form).keys
            return fit(tuple(span for key, word in keys for span in (Span(f" {key}", "key"), Span(f" {word} "))), cells)
        return frame.footer_line(self.pane.place, self.options.keymap, self.allowed, cells)

    def on_lines_resized(self) -> None:
        self.draw()

    def _drawn(self, cells: int, rows: int) -> list[Line]:
        """The pane; or, when drawing it fails, what failed: the rest of the console goes on."""
        try:
            return self.pane.draw(self._held(), cells, rows)
        except Exception as error:
            self.log.error(f"drawing {self.view.pane}: {error!r}")
            text = f"  ✗ this pane cannot be drawn: {type(error).__name__}: {error}"
            hint = "  The other panes work. r: try again; ! makes a report."
            return [fit(line, cells) for line in [(), (Span(text, "crit"),), (), (Span(hint),)] + [()] * rows][:rows]

    def _over(self, cells: int, rows: int) -> list[Line]:
        place = self.pane.place
        lines = (
            frame.help_lines(place, self.options.keymap, self.allowed, cells)
            if self.page == "help"
            else self.bar.messages(self.view.local_time) or [(Span(" Nothing was said yet.", "dim"),)]
        )
        self._page_top = max(0, min(self._page_top, len(lines) - rows))
        shown = lines[self._page_top : self._page_top + rows]
        return [fit(line, cells) for line in [*shown, *[()] * (rows - len(shown))]]

    def _held(self) -> View:
        """What the pane shows: now, or the moment it was frozen. Its age grows all the same."""
        if self.view.frozen_at is None:
            return self.view
        return replace(self.view, snapshot=self._shown.snapshot, now=self.view.frozen_at)

    def _put(self, part: str, lines: list[Line]) -> None:
        shown = [harmless(line) for line in lines]
        self.query_one(f"#{part}", Lines).show([to_ascii(line) for line in shown] if self.view.ascii else shown)

    def _shown_if(self, part: str, lines: list[Line]) -> None:
        widget = self.query_one(f"#{part}", Lines)
        if widget.styles.height is None or widget.styles.height.value != len(lines):
            widget.styles.height = len(lines)
        widget.display = bool(lines)
        self._put(part, lines)

    def as_report(self) -> str:
        """The screen as it stands, without colour and without what devices sent."""
        self.view = replace(self.view, bare=True)
        self.draw()
        parts = [self.query_one(f"#{part}", Lines) for part in PARTS]
        text = "\n".join(plain(part.lines) for part in parts if part.display) + "\n"
        self.view = replace(self.view, bare=False)
        return text


def harmless(line: Line) -> Line:
    """Whatever the database holds, nothing of it commands the terminal."""
    if all(span.text.isprintable() for span in line):
        return line
    return tuple(Span(literal(span.text), span.style) for span in line)
