"""The console: its life, and what actions ask of the screen. No SQL and no decisions: effects happen here."""

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from textual.message import Message

from store.db import Db, connected
from store.members import Role
from tui import actions, clipboard, frame
from tui.bar import Bar
from tui.doing import FAILURES
from tui.effects import Copy, Effect, Go, Say
from tui.entry import Entry
from tui.feed import Feed, Fresh, Loaded, Moved, News
from tui.general import General
from tui.options import Options
from tui.panes.pane import Pane
from tui.panes.shelf import Panes
from tui.pressed import Pressed
from tui.style import THEMES
from tui.tunnel import Tunnel
from tui.view import LATE_SECONDS, Path, PathState, View
from tui.way import Way, opened

TERMINAL_CHECK_SECONDS = 2.0
SLIPPED = "the row under the cursor, or a marked one, has just gone: look again, then press again"
FROZEN_SECONDS = 5.0  # between two pictures of a screen that stands
PASTED_KEYS, PASTED_SECONDS = 5, 0.03
PARTS = ("status", "tabs", "pane", "bar", "banner", "footer")


class Console(Pressed):
    """way: to the database. now: the clock, for tests that draw."""

    ENABLE_COMMAND_PALETTE = False
    AUTO_FOCUS = None

    class Heard(Message):
        """From the feed."""

        def __init__(self, news: News) -> None:
            self.news = news
            super().__init__()

    def __init__(self, way: Way, options: Options, now: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._way = way
        self._tunnel: Tunnel | None = None
        self.options = options
        self.clock = now
        path = Path(PathState.CONNECTING, now())
        self.view = View(now(), options.environment, way.words, path, None, ascii=options.ascii_only)
        self._shown = self.view
        self.bar = Bar()
        self.state_dir = options.state_dir
        self._behind: dict[str, Loaded] = {}  # what came while the picture was frozen
        self.general = General(self, options.files_dir)
        self.panes = Panes(options, way, self.present)
        self.previous = ""
        self.feed: Feed | None = None
        self._styles = THEMES[options.theme].styles()
        self._keys_at: deque[float] = deque(maxlen=PASTED_KEYS)

    @property
    def pane(self) -> Pane:
        return self.panes[self.view.pane]

    def on_mount(self) -> None:
        self.query_one(Entry).display = False
        self.set_focus(None)
        self.wear(self.options.theme)
        self.run_worker(self._follow(), exit_on_error=True)
        self.set_interval(1.0, self._tick)
        self.set_interval(TERMINAL_CHECK_SECONDS, self._leave_without_terminal)
        for signum in (signal.SIGHUP, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, self.exit)
        self.app_resume_signal.subscribe(self, lambda _: self.front.forget())
        self.draw()

    async def _follow(self) -> None:
        async with opened(self._way) as (target, self._tunnel), connected(target, "iot-console", 3) as db:
            self.follow(db)
            assert self.feed is not None
            async with asyncio.TaskGroup() as group:
                group.create_task(self.feed.listen())
                await self.feed.run()

    def present(self) -> Db | None:
        """The database, while it answers."""
        return self.db if self.view.path.state is PathState.LIVE else None

    def follow(self, db: Db) -> None:
        """Live on this database from now on."""
        self.db = db
        self.feed = Feed(db, lambda news: void(self.post_message(self.Heard(news))), lambda: self.pane)

    # -- messages

    def on_console_heard(self, message: Heard) -> None:
        """What stands frozen is drawn rarely; but that the database is lost is said at once."""
        match message.news:
            case Fresh(snapshot):
                if self.view.snapshot is None:
                    self.run_worker(self.panes.warm(), exit_on_error=False)
                self.view = replace(self.view, snapshot=snapshot)
            case Moved(path):
                self.view = replace(self.view, path=self._explained(path))
            case Loaded() as loaded if self.view.frozen_at is not None:
                self._behind[loaded.pane.name] = loaded
            case Loaded() as loaded:
                self._take(loaded)
        if self.view.frozen_at is None or isinstance(message.news, Moved) or self._long_frozen():
            self.draw()

    def _take(self, loaded: Loaded) -> None:
        pane = loaded.pane
        pane.error = loaded.error
        if loaded.found is not None:
            pane.take(loaded.found, self.clock())
        if pane.lacks():
            self.moved()

    def _long_frozen(self) -> bool:
        return self.clock() - self.view.now >= FROZEN_SECONDS

    def _explained(self, path: Path) -> Path:
        """Behind a tunnel that is down, the tunnel's words say more than the database's silence."""
        if path.state is PathState.LOST and self._tunnel is not None and self._tunnel.problem:
            return replace(path, error=self._tunnel.problem)
        return path

    def on_resize(self) -> None:
        self.front.forget()
        self.call_after_refresh(self.draw)

    def _tick(self) -> None:
        """Ages grow while nothing is heard; while data flows, its own messages redraw."""
        self.settle_pending()
        if self.view.frozen_at is not None and not self._long_frozen():
            return
        age = self.clock() - self.view.snapshot.at if self.view.snapshot else None
        if age is None or age > LATE_SECONDS / 2 or self.bar.flash or self.bar.pending:
            self.draw()

    def _leave_without_terminal(self) -> None:
        """A closed terminal whose hang-up was ignored (nohup, sudo) must not leave us spinning."""
        if self.is_headless:
            return
        try:
            os.tcgetpgrp(sys.__stdin__.fileno() if sys.__stdin__ else 0)
        except OSError:
            self.exit()

    def perform(self, name: str, argument: str) -> None:
        """Do an action, or say why not."""
        action = actions.find(name, self.pane.place)
        if action is None:
            self.effect(Say(f"{name.replace('_', ' ')}: not here", "warn"))
        elif not self.allowed(action):
            self.effect(Say(frame.refusal(action, self._who_may(action.role)), "warn"))
        elif action.role is not None and self.pane.table.slipped():
            self.effect(
                Say("the row under the cursor, or a marked one, has just gone: look again, then press again", "warn")
            )
        else:
            try:
                ours, found = self.general.act(name, argument)
                self.effect(found if ours else self.pane.act(name, argument, self.view))
            except FAILURES as error:
                self.effect(Say(str(error), "warn"))
        self.draw()

    def _who_may(self, role: Role | None) -> str:
        return self.panes["users"].who_may(role) if role else ""

    # -- what actions ask of the screen

    def effect(self, effect: Effect) -> None:
        """Make it happen."""
        match effect:
            case Say(text, style):
                self.bar.say(text, style, self.clock())
            case Go():
                self.go(effect)
            case Copy(text, what):
                self._copy(text, what)
            case None:
                pass
            case other:
                self.begin(other)
        self.draw()

    def go(self, to: Go) -> None:
        """To a pane. The filter of where one comes to is kept, unless another one is given."""
        name, key = to.pane, to.key
        if name != self.view.pane:
            self.previous, self.view = self.view.pane, replace(self.view, pane=name)
        self.page = ""
        pane = self.pane
        pane.view = to.view or pane.view
        pane.about = to.about
        if to.filter:
            pane.table.set_filter(to.filter)
        if key and not pane.table.select(key):
            pane.table.set_filter("")
            pane.table.select(key)
        pane.opened = bool(key) and name == "runbooks"
        self.wanted()

    def _fatal_error(self) -> None:
        """As Textual's, but without the values of variables: among them may be passwords."""
        from rich.segment import Segments
        from rich.traceback import Traceback

        self._exit_renderables.append(Segments(self.console.render(Traceback(), self.console.options)))
        self._close_messages_no_wait()

    async def action_quit(self) -> None:
        """ctrl+q, wherever one is: as q, and never over a change that is under way."""
        self.perform("quit", "")

    def wanted(self) -> None:
        """Ask the database now."""
        if self._tunnel is not None:
            self._tunnel.wake()
        if self.feed is not None:
            self.feed.wake()

    def moved(self) -> None:
        """The cursor is on another row: what belongs to it is wanted."""
        if self.feed is not None:
            self.feed.look()

    def freeze(self, on: bool) -> None:
        self.view = replace(self.view, frozen_at=self.clock() if on else None)
        self._shown = self.view
        for loaded in self._behind.values() if not on else ():
            self._take(loaded)
        self._behind.clear()

    def close_something(self) -> bool:
        """The topmost thing that is open; False when nothing is."""
        if self.bar.secrets or self.bar.ask:
            self.bar.secrets, self.bar.ask = (), None
        elif self.page:
            self.page = ""
        elif self.pane.opened:
            self.pane.opened = False
        elif self.pane.leave():
            self.wanted()
        elif self.pane.table.marked:
            self.pane.table.marked.clear()
        elif self.pane.table.filter.text:
            self.pane.table.set_filter("")
        elif self.view.frozen_at is not None:
            self.freeze(False)
        else:
            return False
        return True

    def _copy(self, text: str, what: str) -> None:
        driver = self._driver
        if driver is None:
            return
        try:
            how = clipboard.copy(text, driver.write, self.options.state_dir)
            driver.flush()
            self.bar.say(f"{what}: {how}", "ok", self.clock())
        except OSError as error:
            self.bar.say(f"cannot copy: {error.strerror}", "crit", self.clock())


def void(_: object) -> None:
    """For a callback whose result nobody wants."""
