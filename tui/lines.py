"""A widget that shows lines and repaints only those that changed."""

from collections.abc import Sequence

from rich.segment import Segment
from textual import events
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tui.render import Line, line_width
from tui.style import Styles


class Lines(Widget):
    """Lines of exactly the widget's width. Not a Static: that one repaints all of itself for one changed cell."""

    ALLOW_SELECT = False

    class Clicked(Message):
        """A cell of a part was clicked; chain counts quick clicks on it."""

        def __init__(self, part: str, x: int, y: int, chain: int) -> None:
            self.part, self.x, self.y, self.chain = part, x, y, chain
            super().__init__()

    class Resized(Message):
        """There is more or less room than before."""

    class Wheel(Message):
        """by: rows, down is positive."""

        def __init__(self, by: int) -> None:
            self.by = by
            super().__init__()

    def __init__(self, styles: Styles, widget_id: str) -> None:
        super().__init__(id=widget_id)
        self._styles = styles
        self._lines: tuple[Line, ...] = ()

    @property
    def lines(self) -> tuple[Line, ...]:
        """What is shown."""
        return self._lines

    def restyle(self, styles: Styles) -> None:
        self._styles = styles
        self.refresh()

    def show(self, lines: Sequence[Line]) -> None:
        before, self._lines = self._lines, tuple(lines)
        if len(before) != len(self._lines):
            self.refresh()
            return
        for y, (old, new) in enumerate(zip(before, self._lines, strict=True)):
            if old != new:
                self.refresh(Region(0, y, self.size.width, 1))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines) if self.id == "bar" else container.height

    def render_line(self, y: int) -> Strip:
        if y >= len(self._lines):
            return Strip.blank(self.size.width, self._styles[""])
        line = self._lines[y]
        segments = [Segment(span.text, self._styles[span.style]) for span in line if span.text]
        return Strip(segments, line_width(line))

    def on_resize(self) -> None:
        self.post_message(self.Resized())

    def on_click(self, event: events.Click) -> None:
        self.post_message(self.Clicked(self.id or "", event.x, event.y, event.chain))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.post_message(self.Wheel(3))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.post_message(self.Wheel(-3))
