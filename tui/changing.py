"""Changes and forms: what the app waits for the database with.

Nothing is ever queued for a database that is away: it is refused, with why. What is not known to be done is said so.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from store.db import Db
from store.errors import Denied, StoreError, Unavailable
from tui.bar import THINK_SECONDS, Bar, Pending
from tui.effects import Ask, Done, Effect, Form, Go, Level, Secret, Trial, Work, Write
from tui.paint import CellDiff
from tui.panes.pane import Pane
from tui.view import PathState, View

if TYPE_CHECKING:
    from tui.form import FormView


class Changing(CellDiff):
    """A part of Console. Subclasses have the rest of it."""

    bar: Bar
    view: View
    db: Db | None = None
    clock: Callable[[], float]  # seconds since 1970
    state_dir: Path
    _writing = 0  # changes under way
    _stored_from: "FormView | None" = None  # the form whose change is under way

    @property
    def pane(self) -> Pane:
        raise NotImplementedError

    @property
    def typing(self) -> bool:
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

    def say(self, text: str, style: str = "") -> None:
        self.bar.say(text, style, self.clock())

    # -- may it be?

    def no_changes(self, effect: object = None) -> str:
        """Why nothing can be changed now; "" when it can."""
        if self.bar.secrets:
            return "a secret is shown: hand it over and close it first (esc)"
        if self.view.frozen_at is not None:
            return "the picture is frozen, the world is not: p goes on"
        works = isinstance(effect.then if isinstance(effect, Ask) else effect, Work)
        return "" if works else self.away()

    def away(self) -> str:
        if self.db is None or self.view.path.state is not PathState.LIVE or self.view.stale:
            return "the database is away: nothing is changed, and nothing is queued for later"
        return ""

    def busy(self) -> str:
        """What would be cut off by leaving now."""
        if self._writing:
            return "a change is under way: wait for its answer"
        if self.bar.pending is not None:
            return f"{self.bar.pending.write.doing} in a moment: wait, or u keeps it"
        return ""

    # -- changes

    def soon(self, ask: Ask) -> None:
        """What was confirmed: now, or after a time to think again. One at a time, so that none is forgotten."""
        if ask.level is not Level.DESTROYS:
            self.write(ask.then)
        elif self.bar.pending is not None:
            self.say(f"not begun: {self.bar.pending.write.doing} comes first, or u keeps it", "warn")
        else:
            self.bar.pending = Pending(ask.then, self.clock() + THINK_SECONDS)

    def settle_pending(self) -> None:
        """Make the change that nobody took back in time."""
        pending = self.bar.pending
        if pending is not None and self.clock() >= pending.due:
            self.bar.pending = None
            self.write(pending.write)

    def write(self, write: Write | Work) -> None:
        if why := "" if isinstance(write, Work) else self.away():
            self.say(f"{write.doing}: not done, {why}", "crit")
            return
        self.say(f"{write.doing} …", "dim")
        self._writing += 1
        self.run_worker(self._written(write, self.pane, self._stored_from), group="write", exit_on_error=False)

    async def _written(self, write: Write | Work, pane: Pane, form: "FormView | None") -> None:
        try:
            if isinstance(write, Work):
                done = await write.run()
            else:
                assert self.db is not None
                done = await write.run(self.db)
        except Unavailable as error:
            self.say(f"{write.doing}: the database went away, look whether it was done: {error}", "crit")
        except Denied as error:
            self.say(f"refused by the database: {error}", "crit")
        except (StoreError, ValueError) as error:
            self.say(str(error), "crit")
        except Exception as error:  # nobody may be left to guess
            self.say(f"{write.doing} failed unexpectedly ({type(error).__name__}): look whether it was done", "crit")
        else:
            pane.table.marked.clear()
            if form is not None:
                await self.close_form(form)
            self._done(done, pane)
        finally:
            self._writing -= 1
            self._stored_from = None
        self.wanted()
        self.draw()

    def _done(self, done: Done, pane: Pane) -> None:
        self.say(done.text, "warn" if isinstance(done.then, Form) else "ok")
        self.bar.offer(done.undo)
        if done.secrets:
            self._show(done.secrets)
        elsewhere = self.typing or self.pane is not pane
        if done.then is not None and not (isinstance(done.then, Go) and elsewhere):
            self.open_form(done.then) if isinstance(done.then, Form) else self.effect(done.then)

    def _show(self, secrets: tuple[Secret, ...]) -> None:
        """On top of those that are shown already. A question that would stand under them is taken back."""
        self.bar.secrets += secrets
        if self.bar.ask is not None:
            self.bar.ask = None
            self.say("the question was taken back: hand the secret over first", "warn")

    # -- forms

    def open_form(self, form: Form) -> None:
        from tui.form import FormView  # slow to import, and rarely wanted

        self.mount(FormView(form), before="#bar")
        self.query_one("#pane").display = False

    def _form(self) -> "FormView":
        return cast("FormView", self.query_one("FormView"))

    async def close_form(self, form: "FormView | None" = None) -> None:
        """That one, or all."""
        for view in self.query("FormView"):
            if form is None or view is form:
                await view.remove()
        self.query_one("#pane").display = not self.query("FormView")

    def on_form_view_stored(self, message: "FormView.Stored") -> None:
        form = self._form()
        if why := self.no_changes() or ("this is being stored" if self._stored_from is not None else ""):
            form.say(f" ✗ {why}", wrong=True)
            return
        try:
            effect = message.form.submit(message.values)
        except ValueError as error:
            form.say(f" ✗ {error}", wrong=True)
            return
        self._stored_from = form if isinstance(effect, Write) else None
        self.effect(effect)

    def on_form_view_tried(self, message: "FormView.Tried") -> None:
        if why := self.away():
            self._form().say(f" ✗ {why}", wrong=True)
            return
        self._form().say(f" {message.trial.doing} …")
        self.run_worker(self._try(message.trial), group="trial", exclusive=True, exit_on_error=False)

    async def _try(self, trial: Trial) -> None:
        assert self.db is not None
        try:
            said, wrong = await trial.run(self.db), False
        except (StoreError, ValueError) as error:
            said, wrong = f"✗ {error}", True
        except Exception as error:
            said, wrong = f"✗ failed unexpectedly: {type(error).__name__}: {error}", True
        for view in self.query("FormView"):
            cast("FormView", view).say("\n".join(f" {line}" for line in said.splitlines()), wrong)

    async def on_form_view_closed(self) -> None:
        await self.close_form()
        self.draw()
