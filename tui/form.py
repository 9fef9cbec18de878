"""A form over the pane: fields, what is wrong with them, what it means in words, and a trial before it is stored."""

from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Input, Label, Static

from tui.effects import Field, Form, Trial


class Choice(Static, can_focus=True):
    """One of some words: left, right and space go through them."""

    def __init__(self, field: Field) -> None:
        super().__init__(id=f"f-{field.name}", markup=False)
        self.choices = field.choices
        self.value = field.value if field.value in field.choices else field.choices[0]

    def on_mount(self) -> None:
        self._show()

    def _show(self) -> None:
        self.update(f"< {self.value or '(empty)'} >  {self.choices.index(self.value) + 1} of {len(self.choices)}")

    def on_key(self, event: events.Key) -> None:
        by = {"left": -1, "right": 1, "space": 1}.get(event.key)
        if by is None:
            return
        event.stop()
        event.prevent_default()
        self.value = self.choices[(self.choices.index(self.value) + by) % len(self.choices)]
        self._show()
        self.post_message(FormView.Edited())


class FormView(Vertical):
    """Shows a Form. ctrl+s stores, ctrl+t tries, escape leaves; nothing that was typed is lost by an error."""

    class Stored(Message):
        def __init__(self, form: Form, values: dict[str, str]) -> None:
            self.form, self.values = form, values
            super().__init__()

    class Tried(Message):
        def __init__(self, trial: Trial) -> None:
            self.trial = trial
            super().__init__()

    class Closed(Message):
        """Left without storing."""

    class Edited(Message):
        """A field has another value."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form
        self._first: dict[str, str] = {}
        self._asked = False

    def compose(self) -> ComposeResult:
        yield Static(f" {self._form.title}", classes="form-title", markup=False)
        with VerticalScroll(can_focus=False):
            for field in self._form.fields:
                with Horizontal(classes="field tall" if field.rows > 1 else "field"):
                    if field.rows == 1:
                        yield Label(f" {field.label}", classes="label", markup=False)
                    yield self._widget(field)
                    if field.hint:
                        yield Label(f" {field.hint}", classes="hint", markup=False)
        yield Static("", id="form-says", markup=False)

    def _widget(self, field: Field) -> Any:
        name = f"f-{field.name}"
        if field.rows > 1:
            from textual.widgets import TextArea  # slow to import

            area = TextArea(field.value, id=name, compact=True, show_line_numbers=True)
            area.cursor_blink = False
            return area
        if field.choices and not field.locked:
            return Choice(field)
        entry = Input(field.value, id=name, compact=True, select_on_focus=False, disabled=field.locked)
        entry.cursor_blink = False
        return entry

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """For the footer."""
        trial = (("ctrl+t", "test on the last 24 h"),) if self._form.trial else ()
        return (("ctrl+s", "store"), *trial, ("tab", "next field"), ("esc", "leave"))

    def on_mount(self) -> None:
        self._first = self.values()
        first = next((self.query_one(f"#f-{field.name}") for field in self._form.fields if not field.locked), None)
        if first is not None:
            first.focus()
        self._judge()

    def values(self) -> dict[str, str]:
        """By field, as it stands now."""
        return {field.name: self._value(self.query_one(f"#f-{field.name}")) for field in self._form.fields}

    @staticmethod
    def _value(widget: Any) -> str:
        return str(widget.text if hasattr(widget, "text") else widget.value)

    def _leave(self) -> None:
        """At once when nothing was changed, else at the second escape."""
        if self._asked or self.values() == self._first:
            self.post_message(self.Closed())
            return
        self._asked = True
        self.say(" What you typed is not stored: esc again leaves it, ctrl+s stores it.", wrong=True)

    def _judge(self) -> bool:
        """Say what is wrong, or what it means; True when nothing is wrong."""
        self._asked = False
        problems, words = self._form.check(self.values())
        labels = {field.name: field.label for field in self._form.fields}
        lines = [f" ✗ {labels.get(name, 'Rule')}: {text}" for name, text in problems.items()]
        self.say("\n".join(lines) or "\n".join(f" {line}" for line in words.splitlines()), bool(problems))
        return not problems

    def say(self, text: str, wrong: bool = False) -> None:
        says = self.query_one("#form-says", Static)
        says.update(text)
        says.set_class(wrong, "wrong")

    def on_input_changed(self) -> None:
        self._judge()

    def on_text_area_changed(self) -> None:
        self._judge()

    def on_form_view_edited(self) -> None:
        self._judge()

    def on_key(self, event: events.Key) -> None:
        if event.key == "ctrl+s":
            if self._judge():
                self.post_message(self.Stored(self._form, self.values()))
        elif event.key == "ctrl+t" and self._form.trial is not None:
            if self._judge():
                self.post_message(self.Tried(self._form.trial(self.values())))
        elif event.key == "escape":
            self._leave()
        elif event.key == "enter" and not hasattr(self.screen.focused, "text"):
            self.screen.focus_next()
        else:
            return
        event.stop()
        event.prevent_default()
