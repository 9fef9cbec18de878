"""A widget that shows lines and repaints only those that changed."""

from collections.abc import Sequence

from rich.segment import Segment
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from tui.render import Line, line_width
from tui.style import MONOCHROME, STYLES


class Lines(Widget):
    """Lines of exactly the widget's width. Not a Static: that one repaints all of itself for one changed cell."""

    def __init__(self, monochrome: bool, widget_id: str) -> None:
        super().__init__(id=widget_id)
        self._styles = MONOCHROME if monochrome else STYLES
        self._lines: tuple[Line, ...] = ()

    def show(self, lines: Sequence[Line]) -> None:
        before, self._lines = self._lines, tuple(lines)
        if len(before) != len(self._lines):
            self.refresh()
            return
        for y, (old, new) in enumerate(zip(before, self._lines, strict=True)):
            if old != new:
                self.refresh(Region(0, y, self.size.width, 1))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return container.height

    def render_line(self, y: int) -> Strip:
        if y >= len(self._lines):
            return Strip.blank(self.size.width)
        line = self._lines[y]
        segments = [Segment(span.text, self._styles[span.style]) for span in line if span.text]
        return Strip(segments, line_width(line))
