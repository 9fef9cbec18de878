"""The line at the bottom in which text is typed: filter, command, answer."""

from collections.abc import Callable, Sequence

from textual import events
from textual.message import Message
from textual.widgets import Input


class Entry(Input):
    """Enter hands the text over, escape leaves, tab completes, up and down go through what was typed before."""

    class Given(Message):
        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    class Left(Message):
        """Escape."""

    class Typed(Message):
        """The text changed."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    def __init__(self) -> None:
        super().__init__(id="entry", compact=True, select_on_focus=False)
        self.cursor_blink = False  # a blink costs 2.5 KB a second over SSH
        self._complete: Callable[[str], str] = lambda text: text
        self._before: Sequence[str] = ()
        self._place = 0

    def begin(
        self, text: str, complete: Callable[[str], str] | None = None, before: Sequence[str] = (), secret: bool = False
    ) -> None:
        """before: earlier entries, the newest last."""
        self._complete = complete or (lambda given: given)
        self._before, self._place = before, len(before)
        self.password = secret
        self.value = text
        self.cursor_position = len(text)

    def on_key(self, event: events.Key) -> None:
        if event.key == "escape":
            self.post_message(self.Left())
        elif event.key == "tab":
            self._replace(self._complete(self.value))
        elif event.key in ("up", "down") and self._before:
            self._place = max(0, min(len(self._before), self._place + (1 if event.key == "down" else -1)))
            self._replace(self._before[self._place] if self._place < len(self._before) else "")
        else:
            return
        event.stop()
        event.prevent_default()

    def _replace(self, text: str) -> None:
        self.value = text
        self.cursor_position = len(text)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.post_message(self.Given(event.value))

    def on_input_changed(self, event: Input.Changed) -> None:
        event.stop()
        self.post_message(self.Typed(event.value))
