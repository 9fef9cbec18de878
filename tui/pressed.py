"""Keys and clicks become actions, in the order in which they came."""

from collections import deque
from typing import ClassVar

from textual import events
from textual.binding import Binding

from tui import actions, frame
from tui.actions import ACTIONS
from tui.drawing import Drawing
from tui.effects import Say
from tui.entry import Entry
from tui.keymap import keys
from tui.lines import Lines

PASTED_KEYS, PASTED_SECONDS = 5, 0.03
BESIDE_SECRETS = ("copy", "export", "back", "quit", "up", "down", "page_up", "page_down", "redraw", "help")


class Pressed(Drawing):
    """An action has a key in a place; what it does is the console's."""

    _keys_at: deque[float]

    BINDINGS: ClassVar = [
        Binding("tab", "focus_next", show=False, priority=True),
        Binding("shift+tab", "focus_previous", show=False, priority=True),
    ]

    @property
    def typing(self) -> bool:
        """Keys are text now."""
        return self.query_one(Entry).display or bool(self.query("FormView"))

    async def on_event(self, event: events.Event) -> None:
        """Keys that no field takes are done here, one after the other.

        Left to Textual they would first travel through widgets, and of a quick `:silence` the s would come too early.
        """
        if isinstance(event, events.Key) and not event.is_forwarded and not self.typing:
            if not await self._check_bindings(event.key, priority=True):
                self._press(event.key, event.time)
            return
        await super().on_event(event)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Tab goes on in a form; in the line at the bottom it completes."""
        if action in ("focus_next", "focus_previous"):
            return bool(self.query("FormView")) and not isinstance(self.focused, Entry)
        return True

    def _press(self, key: str, at: float) -> None:
        """Which action a key has depends on the place. at: when it came, not when its turn is, monotonic."""
        if self.answered_by_key(key, at):
            self.draw()
            return
        name = self._action_of(key)
        if name is None:
            return
        if self.bar.secrets and name not in BESIDE_SECRETS:
            self.effect(Say("a secret is shown: hand it over and close it first (esc)", "warn"))
            return
        if self._pasted(name, at):
            self.effect(Say("many keys at once: a paste? They were ignored; : takes text", "warn"))
        else:
            self.perform(name, "")

    def _action_of(self, key: str) -> str | None:
        place, keymap = self.pane.place, self.options.keymap
        return next((a.id for a in ACTIONS if a.here(place) and key in keys(a, keymap)), None)

    def _pasted(self, name: str, at: float) -> bool:
        """Text that was pasted into the screen must not do things. Moving about is harmless."""
        self._keys_at.append(at)
        full = len(self._keys_at) == PASTED_KEYS and at - self._keys_at[0] < PASTED_SECONDS
        action = actions.find(name, self.pane.place)
        return full and action is not None and action.role is not None

    def on_lines_clicked(self, message: Lines.Clicked) -> None:
        cells, keymap = self.size.width, self.options.keymap
        entries = {
            "tabs": frame.tab_entries(self.view, cells),
            "footer": frame.footer_entries(self.pane.place, keymap, cells),
        }
        if message.part == "pane" and not self.page and not self.typing:
            hit = self.pane.click(message.x, message.y)
            if hit and message.chain > 1:
                self.perform("open", "")
            self.moved()
        for entry in entries.get(message.part, []):
            if entry.start <= message.x < entry.end and not self.typing:
                self.perform(entry.action, "")
        self.draw()

    def on_lines_wheel(self, message: Lines.Wheel) -> None:
        self.perform("down" if message.by > 0 else "up", "")

    def on_paste(self, event: events.Paste) -> None:
        self.effect(Say("there is no field for what was pasted", "warn"))
