"""Lines of text and questions: the part of the app that waits for people."""

import time

from tui import actions, history
from tui.changing import Changing
from tui.effects import Ask, Form, Level, Prompt, Say, Work, Write
from tui.entry import Entry

COMMAND_HINT = "tab completes, up: earlier ones, esc: leave"
MOST_WORDS = 8
TOO_QUICK_SECONDS = 0.2  # nobody reads a question in that time: a paste, or a key that was held
FAILURES = (ValueError, OverflowError, RuntimeError, OSError)  # of what people typed


class Doing(Changing):
    """What Console is besides a screen and its changes."""

    _asked: Prompt | None = None  # what the entry's text is for
    _asked_at = 0.0  # since when a question stands, by the monotonic clock
    _mode = ""  # filter, command, prompt or confirm

    # -- beginning

    def begin(self, effect: Prompt | Ask | Form | Write | Work) -> None:
        """A question, a form, or a change."""
        if why := self.no_changes(effect) if not isinstance(effect, Prompt) else "":
            self.say(why, "crit")
            return
        match effect:
            case Prompt():
                self._asked = effect
                self.bar.prompt, self.bar.hint = effect.label, effect.hint
                self._type("prompt", effect.initial, effect.choices)
            case Ask():
                self.bar.ask, self.bar.hint, self._asked_at = effect, "", time.monotonic()
                if effect.level is not Level.NOTICED:
                    self._type("confirm", "")
            case Form():
                self.open_form(effect)
            case Write() | Work():
                self.write(effect)

    # -- one line of text

    def type_filter(self) -> None:
        names = tuple(f"{column.name}:" for column in self.pane.table.columns)
        self.bar.prompt = "Filter"
        self.bar.hint = "words, column:text, column<30m, !not · tab completes, enter keeps it, esc clears it"
        self._type("filter", self.pane.table.filter.text, names)

    def type_command(self, text: str) -> None:
        self.bar.prompt, self.bar.hint = "Command", COMMAND_HINT
        self._type("command", text, tuple(actions.words(self.pane.place)), tuple(history.read(self.state_dir)))

    def _type(self, mode: str, text: str, choices: tuple[str, ...] = (), before: tuple[str, ...] = ()) -> None:
        self._mode = mode
        entry = self.query_one(Entry)
        entry.begin(text, lambda given: completed(given, choices), before)
        entry.display = True
        self.set_focus(entry)  # at once: the next key may be waiting
        self.draw()

    def _stop_typing(self) -> None:
        self.query_one(Entry).display = False
        self.set_focus(None)
        self.bar.prompt = self.bar.hint = ""
        self._mode = ""

    def on_entry_typed(self, message: Entry.Typed) -> None:
        if self._mode == "filter":
            self.pane.table.set_filter(message.text)
            self.draw()
        elif self._mode == "command" and " " not in message.text:
            fitting = [word for word in actions.words(self.pane.place) if word.startswith(message.text)]
            self.bar.hint = " ".join(fitting[:MOST_WORDS]) if message.text else COMMAND_HINT
            self.draw()
        elif self._mode == "confirm" and self.bar.ask is not None:
            self.bar.hint = "" if message.text != self.bar.ask.expected else "· enter: do it"
            self.draw()

    def on_entry_left(self) -> None:
        if self._mode == "filter":
            self.pane.table.set_filter("")
        if self._mode == "confirm":
            self.bar.ask = None
            self.say("nothing was changed")
        self._stop_typing()
        self.draw()

    def on_entry_given(self, message: Entry.Given) -> None:
        mode, asked, text = self._mode, self._asked, message.text
        if mode == "confirm":
            self._confirmed(text)
        elif mode == "prompt" and asked is not None:
            self._answered(asked, text)
        elif mode == "command":
            self._stop_typing()
            self.command(text)
        else:
            self._stop_typing()
        self.draw()

    def _answered(self, asked: Prompt, text: str) -> None:
        """What will not do stays in the line, with what is wrong."""
        try:
            effect = asked.then(text)
        except FAILURES as error:
            self.bar.hint = f"✗ {error}"
            return
        self._stop_typing()
        self.effect(effect)

    def command(self, text: str) -> None:
        """`word argument`, as it may also be typed in a shell."""
        word, _, argument = text.strip().partition(" ")
        if not word:
            return
        history.add(self.state_dir, text.strip())
        action = actions.by_word(word, self.pane.place)
        if action is None:
            known = [one for one in actions.words(self.pane.place) if one.startswith(word[:2])]
            hint = f"; perhaps {', '.join(known[:4])}" if known else "; tab shows what there is"
            self.effect(Say(f"there is no {word} here{hint}", "warn"))
        else:
            self.perform(action.id, argument.strip())

    # -- confirming

    def _confirmed(self, text: str) -> None:
        ask = self.bar.ask
        if ask is None:
            self._stop_typing()
        elif text != ask.expected:
            self.bar.hint = f"✗ that is not {ask.expected}"
        else:
            self._stop_typing()
            self.bar.ask = None
            self.soon(ask)

    def answered_by_key(self, key: str, at: float) -> bool:
        """A question of level NOTICED, or one's own second thoughts; True when the key was for it."""
        if self.bar.ask is not None:
            self._yes_or_no(self.bar.ask, key, at)
            return True
        if key != "u":
            return False
        if self.bar.pending is not None:
            self.bar.pending = None
            self.say("kept: nothing was changed", "ok")
            return True
        if self.bar.undo_just_ended(self.clock()):
            self.say("too late to undo that here; u again takes back what the row offers", "warn")
            return True
        undo = self.bar.undo(self.clock())
        if undo is not None:
            self.begin(undo)
        return undo is not None

    def _yes_or_no(self, ask: Ask, key: str, at: float) -> None:
        if key == "y" and at - self._asked_at >= TOO_QUICK_SECONDS:
            self.bar.ask = None
            self.soon(ask)
        elif key in ("escape", "n", "q"):
            self.bar.ask = None
            self.say("nothing was changed")


def completed(text: str, choices: tuple[str, ...]) -> str:
    """The text with its last word filled up as far as all choices that fit agree."""
    head, _, last = text.rpartition(" ")
    fitting = [choice for choice in choices if choice.startswith(last)]
    if not fitting:
        return text
    common = fitting[0]
    for choice in fitting[1:]:
        while not choice.startswith(common):
            common = common[:-1]
    done = common + (" " if len(fitting) == 1 and not common.endswith(":") else "")
    return f"{head} {done}" if head else done
