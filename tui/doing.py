"""Questions, answers and changes: the part of the app that waits for people and for the database."""

from collections.abc import Callable
from pathlib import Path

from store.db import Db
from store.errors import Denied, StoreError, Unavailable
from tui import actions, history
from tui.bar import THINK_SECONDS, Bar, Pending
from tui.effects import Ask, Done, Effect, Form, Level, Prompt, Say, Trial, Write
from tui.entry import Entry
from tui.form import FormView
from tui.paint import CellDiff
from tui.panes.pane import Pane
from tui.view import PathState, View

COMMAND_HINT = "tab completes, up: earlier ones, esc: leave"
MOST_WORDS = 8


class Doing(CellDiff):
    """What Console is besides a screen. Nothing is ever queued for a database that is away: it is refused, with why."""

    bar: Bar
    view: View
    db: Db | None = None
    clock: Callable[[], float]  # seconds since 1970
    state_dir: Path
    _asked: Prompt | None = None  # what the entry's text is for
    _mode = ""  # filter, command, prompt or confirm

    # -- of the console

    @property
    def pane(self) -> Pane:
        raise NotImplementedError

    def perform(self, name: str, argument: str) -> None:
        raise NotImplementedError

    def effect(self, effect: Effect) -> None:
        raise NotImplementedError

    def draw(self) -> None:
        raise NotImplementedError

    def wanted(self) -> None:
        raise NotImplementedError

    def moved(self) -> None:
        raise NotImplementedError

    # -- beginning

    def begin(self, effect: Prompt | Ask | Form | Write) -> None:
        """A question, a form, or a change."""
        if isinstance(effect, Ask | Form | Write) and (why := self._no_changes()):
            self.bar.say(why, "crit", self.clock())
            return
        match effect:
            case Prompt():
                self._asked = effect
                self.bar.prompt, self.bar.hint = effect.label, effect.hint
                self._type("prompt", effect.initial, effect.choices)
            case Ask():
                self.bar.ask, self.bar.hint = effect, ""
                if effect.level is not Level.NOTICED:
                    self._type("confirm", "")
            case Form():
                self._open_form(effect)
            case Write():
                self._write(effect)

    def _no_changes(self) -> str:
        """Why nothing can be changed now."""
        if self.db is None or self.view.path.state is not PathState.LIVE or self.view.stale:
            return "the database is away: nothing is changed, and nothing is queued for later"
        return ""

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
            self.bar.say("nothing was changed", "", self.clock())
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
        except ValueError as error:
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
            self._soon(ask)

    def answered_by_key(self, key: str) -> bool:
        """A question of level NOTICED, or one's own second thoughts; True when the key was for it."""
        if self.bar.ask is not None:
            ask = self.bar.ask
            if key == "y":
                self.bar.ask = None
                self._soon(ask)
            elif key in ("escape", "n", "q"):
                self.bar.ask = None
                self.bar.say("nothing was changed", "", self.clock())
            return True
        if key == "u" and self.bar.pending is not None:
            self.bar.pending = None
            self.bar.say("kept: nothing was changed", "ok", self.clock())
            return True
        undo = self.bar.undo(self.clock()) if key == "u" else None
        if undo is not None:
            self.begin(undo)
        return undo is not None

    def _soon(self, ask: Ask) -> None:
        if ask.level is Level.DESTROYS:
            self.bar.pending = Pending(ask.then, self.clock() + THINK_SECONDS)
        else:
            self._write(ask.then)

    def settle_pending(self) -> None:
        """Make the change that nobody took back in time."""
        pending = self.bar.pending
        if pending is not None and self.clock() >= pending.due:
            self.bar.pending = None
            self.begin(pending.write)

    # -- changing

    def _write(self, write: Write) -> None:
        self.bar.say(f"{write.doing} …", "dim", self.clock())
        self.run_worker(self._written(write), group="write", exit_on_error=False)

    async def _written(self, write: Write) -> None:
        assert self.db is not None
        try:
            done = await write.run(self.db)
        except Unavailable as error:
            self.bar.say(
                f"{write.doing}: the database went away, look whether it was done: {error}", "crit", self.clock()
            )
        except Denied as error:
            self.bar.say(f"refused by the database: {error}", "crit", self.clock())
        except (StoreError, ValueError) as error:
            self.bar.say(str(error), "crit", self.clock())
        else:
            await self._close_form()
            self._done(done)
        self.wanted()
        self.draw()

    def _done(self, done: Done) -> None:
        self.bar.say(done.text, "warn" if isinstance(done.then, Form) else "ok", self.clock(), done.undo)
        self.bar.secrets = done.secrets
        if done.then is not None:
            self.effect(done.then)

    # -- forms

    def _open_form(self, form: Form) -> None:
        self.mount(FormView(form), before="#bar")
        self.query_one("#pane").display = False

    async def _close_form(self) -> None:
        await self.query(FormView).remove()
        self.query_one("#pane").display = True

    def on_form_view_stored(self, message: FormView.Stored) -> None:
        try:
            self.effect(message.form.submit(message.values))
        except ValueError as error:
            self.query_one(FormView).say(f" ✗ {error}", wrong=True)
        self.draw()

    def on_form_view_tried(self, message: FormView.Tried) -> None:
        if why := self._no_changes():
            self.query_one(FormView).say(f" ✗ {why}", wrong=True)
            return
        self.query_one(FormView).say(f" {message.trial.doing} …")
        self.run_worker(self._try(message.trial), group="trial", exclusive=True, exit_on_error=False)

    async def _try(self, trial: Trial) -> None:
        assert self.db is not None
        try:
            said, wrong = await trial.run(self.db), False
        except (StoreError, ValueError) as error:
            said, wrong = f"✗ {error}", True
        for view in self.query(FormView):
            view.say("\n".join(f" {line}" for line in said.splitlines()), wrong)

    async def on_form_view_closed(self, message: FormView.Closed) -> None:
        if message.dirty and self.bar.flash is None:
            self.bar.say("what you typed is not stored: esc again leaves it, ctrl+s stores it", "warn", self.clock())
        else:
            await self._close_form()
            self.bar.flash = None
        self.draw()


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
