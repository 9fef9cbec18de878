"""The console's screen: fixed lines around one pane. No SQL, no decisions: it turns messages and keys into a View."""

import asyncio
import os
import signal
import sys
import time
from dataclasses import replace

from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.message import Message

from store.db import Db, connected
from store.target import Target
from tui.actions import ACTIONS
from tui.feed import Feed, Fresh, Moved
from tui.frame import banner_line, footer_line, help_page, status_line, tabs_line
from tui.lines import Lines
from tui.overview import overview
from tui.render import Line, to_ascii
from tui.view import Metric, Path, PathState, View

WINDOWS = (15, 60, 180)
METRICS = tuple(Metric)
TERMINAL_CHECK_SECONDS = 2.0


class Console(App[None]):
    """target: the database. environment: the word that says where one is, such as PROD."""

    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [
        Binding(",".join(action.keys), action.id, action.help, show=False, priority=action.id == "quit", id=action.id)
        for action in ACTIONS
    ]

    class News(Message):
        """From the feed."""

        def __init__(self, news: Fresh | Moved) -> None:
            self.news = news
            super().__init__()

    def __init__(self, target: Target, environment: str, ascii_only: bool = False) -> None:
        super().__init__()
        self._target = target
        self._ascii = ascii_only
        now = time.time()
        address = "local socket" if target.local_socket else f"{target.host}:{target.port}"
        path = Path(PathState.CONNECTING, now)
        self.view = View(now, environment, f"{target.database} on {address}", path, None, ascii=ascii_only)
        self._shown = self.view
        self._help = False
        self._feed: Feed | None = None

    def compose(self) -> ComposeResult:
        monochrome = bool(os.environ.get("NO_COLOR"))
        for part in ("status", "tabs", "pane", "banner", "footer"):
            yield Lines(monochrome, part)

    def on_mount(self) -> None:
        self.run_worker(self._follow(), exit_on_error=True)
        self.set_interval(1.0, self._tick)
        self.set_interval(TERMINAL_CHECK_SECONDS, self._leave_without_terminal)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.exit)
        self._draw()

    async def _follow(self) -> None:
        async with connected(self._target, "iot-console", 2) as db:
            await self.feed(db).run()

    def feed(self, db: Db) -> Feed:
        self._feed = Feed(db, lambda news: void(self.post_message(self.News(news))))
        return self._feed

    # -- messages

    def on_console_news(self, message: News) -> None:
        match message.news:
            case Fresh(snapshot):
                self.view = replace(self.view, snapshot=snapshot)
            case Moved(path):
                self.view = replace(self.view, path=path)
        self._draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    def _tick(self) -> None:
        """Ages grow while nothing is heard; while data flows, its own messages redraw."""
        if self.view.data_age is None or self.view.data_age > 1.5 or self.view.frozen_at is not None:
            self._draw()

    def _leave_without_terminal(self) -> None:
        """A closed terminal whose hang-up was ignored (nohup, sudo) must not leave us spinning."""
        if self.is_headless:
            return
        try:
            os.tcgetpgrp(sys.__stdin__.fileno() if sys.__stdin__ else 0)
        except OSError:
            self.exit()

    # -- actions

    def action_help(self) -> None:
        self._help = not self._help
        self._draw()

    def action_metric(self) -> None:
        chosen = METRICS[(METRICS.index(self.view.metric) + 1) % len(METRICS)]
        self.view = replace(self.view, metric=chosen)
        self._draw()

    def action_window_less(self) -> None:
        self._choose_window(-1)

    def action_window_more(self) -> None:
        self._choose_window(1)

    def _choose_window(self, step: int) -> None:
        index = WINDOWS.index(self.view.window_minutes) + step
        self.view = replace(self.view, window_minutes=WINDOWS[max(0, min(len(WINDOWS) - 1, index))])
        self._draw()

    def action_freeze(self) -> None:
        frozen_at = None if self.view.frozen_at is not None else time.time()
        self.view = replace(self.view, frozen_at=frozen_at)
        self._shown = self.view
        self._draw()

    def action_refresh(self) -> None:
        if self._feed is not None:
            self._feed.wake()

    def action_local_time(self) -> None:
        self.view = replace(self.view, local_time=not self.view.local_time)
        self._draw()

    def action_redraw(self) -> None:
        self.refresh(layout=True, repaint=True)

    async def action_back(self) -> None:
        self._help = False
        if self.view.frozen_at is not None:
            self.view = replace(self.view, frozen_at=None)
        self._draw()

    # -- drawing

    def _draw(self) -> None:
        self.view = replace(self.view, now=time.time())
        pane = self.query_one("#pane", Lines)
        cells, rows = pane.size
        if not cells or not rows:
            return
        self._put("status", [status_line(self.view, cells)])
        self._put("tabs", [tabs_line(self.view, cells)])
        self._put("pane", help_page(cells, rows) if self._help else overview(self._held(), cells, rows))
        self._put("footer", [footer_line(cells)])
        banner = banner_line(self.view, cells)
        self.query_one("#banner", Lines).set_class(banner is not None, "shown")
        self._put("banner", [banner] if banner else [])

    def _held(self) -> View:
        """What the pane shows: now, or the moment it was frozen. Its age grows all the same."""
        if self.view.frozen_at is None:
            return self.view
        held = self._shown.snapshot
        return replace(self.view, snapshot=held, now=self.view.frozen_at)

    def _put(self, part: str, lines: list[Line]) -> None:
        self.query_one(f"#{part}", Lines).show([to_ascii(line) for line in lines] if self._ascii else lines)


def void(_: object) -> None:
    """For a callback whose result nobody wants."""
