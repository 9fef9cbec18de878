"""Actions that are everywhere: lists, time, copies, files. Each returns an effect, as those of panes do."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tui import export
from tui.actions import PANES
from tui.effects import Copy, Effect, Go, Prompt, Say
from tui.style import THEMES
from tui.view import Metric

if TYPE_CHECKING:
    from tui.app import Console

WINDOWS = (15, 60, 180)
METRICS = tuple(Metric)
MOST_LINES = 10_000


@dataclass
class General:
    """What the app does itself. home: where files are put."""

    app: "Console"
    home: Path

    def act(self, action: str, argument: str) -> tuple[bool, Effect]:
        """(whether it is one of these, its effect)."""
        if action in PANES:
            return True, Go(action, filter=argument)
        method = getattr(self, f"do_{action}", None)
        if method is None:
            return False, None
        return True, method(argument)

    # -- lists

    def do_up(self, _: str) -> Effect:
        return self._move(-1)

    def do_down(self, _: str) -> Effect:
        return self._move(1)

    def _move(self, by: int) -> Effect:
        pane = self.app.pane
        if pane.opened or self.app.page:
            self.app.scroll(by)
        else:
            pane.table.move(by)
            self.app.moved()
        return None

    def do_page_up(self, _: str) -> Effect:
        return self._page(-1)

    def do_page_down(self, _: str) -> Effect:
        return self._page(1)

    def _page(self, by: int) -> Effect:
        if self.app.pane.opened or self.app.page:
            self.app.scroll(by * 10)
        else:
            self.app.pane.table.page(by)
            self.app.moved()
        return None

    def do_top(self, _: str) -> Effect:
        return self._edge(last=False)

    def do_bottom(self, _: str) -> Effect:
        return self._edge(last=True)

    def _edge(self, last: bool) -> Effect:
        if self.app.pane.opened or self.app.page:
            self.app.scroll(MOST_LINES if last else -MOST_LINES)
        else:
            self.app.pane.table.edge(last)
            self.app.moved()
        return None

    def do_mark(self, _: str) -> Effect:
        self.app.pane.table.mark()
        return None

    def do_mark_all(self, _: str) -> Effect:
        self.app.pane.table.mark_all()
        return None

    def do_view(self, _: str) -> Effect:
        self.app.pane.turn(1)
        self.app.wanted()
        return None

    def do_view_back(self, _: str) -> Effect:
        self.app.pane.turn(-1)
        self.app.wanted()
        return None

    def do_filter(self, argument: str) -> Effect:
        table = self.app.pane.table
        if argument:
            table.set_filter(argument)
            return None
        self.app.type_filter()
        return None

    def do_sort(self, argument: str) -> Effect:
        table = self.app.pane.table
        names = tuple(column.name for column in table.columns)

        def chosen(text: str) -> Effect:
            name = text.strip()
            if name not in names:
                raise ValueError(f"order by one of {', '.join(names)}")
            table.sort(name, descending=table.order == name and not table.descending)
            return None

        return chosen(argument) if argument else Prompt("Order by", ", ".join(names), chosen, choices=names)

    def do_columns(self, argument: str) -> Effect:
        table = self.app.pane.table
        names = tuple(column.name for column in table.columns)

        def chosen(text: str) -> Effect:
            wanted = text.split()
            unknown = [name for name in wanted if name not in names]
            if unknown or not wanted:
                raise ValueError(f"some of {' '.join(names)}")
            table.hidden = frozenset(names) - frozenset(wanted)
            return None

        shown = " ".join(name for name in names if name not in table.hidden)
        return chosen(argument) if argument else Prompt("Columns", "those to show", chosen, f"{shown} ", names)

    # -- time and looks

    def do_metric(self, _: str) -> Effect:
        metric = METRICS[(METRICS.index(self.app.view.metric) + 1) % len(METRICS)]
        self.app.view = replace(self.app.view, metric=metric)
        return None

    def do_window_less(self, _: str) -> Effect:
        return self._window(-1)

    def do_window_more(self, _: str) -> Effect:
        return self._window(1)

    def _window(self, step: int) -> Effect:
        index = WINDOWS.index(self.app.view.window_minutes) + step
        self.app.view = replace(self.app.view, window_minutes=WINDOWS[max(0, min(len(WINDOWS) - 1, index))])
        return None

    def do_freeze(self, _: str) -> Effect:
        self.app.freeze(self.app.view.frozen_at is None)
        return None

    def do_refresh(self, _: str) -> Effect:
        self.app.wanted()
        return None

    def do_local_time(self, _: str) -> Effect:
        self.app.view = replace(self.app.view, local_time=not self.app.view.local_time)
        return None

    def do_theme(self, argument: str) -> Effect:
        def chosen(text: str) -> Effect:
            if text.strip() not in THEMES:
                raise ValueError(f"one of {', '.join(THEMES)}")
            self.app.wear(text.strip())
            return None

        return chosen(argument) if argument else Prompt("Theme", ", ".join(THEMES), chosen, choices=tuple(THEMES))

    def do_profile(self, argument: str) -> Effect:
        """Ends this console; the command line begins another one, and asks for a password if it needs one."""
        known = self.app.options.profiles
        if not known:
            return Say("there is no config file with profiles: see iot-console profiles", "warn")

        def chosen(text: str) -> Effect:
            if text.strip() not in known:
                raise ValueError(f"one of {', '.join(known)}")
            self.app.exit(text.strip())
            return None

        return chosen(argument) if argument else Prompt("Profile", ", ".join(known), chosen, choices=known)

    def do_redraw(self, _: str) -> Effect:
        self.app.front.forget()
        self.app.refresh(layout=True, repaint=True)
        return None

    def do_suspend(self, _: str) -> Effect:
        self.app.action_suspend_process()
        return None

    # -- going, closing

    def do_previous(self, _: str) -> Effect:
        return Go(self.app.previous) if self.app.previous else Say("there was no pane before", "warn")

    def do_help(self, _: str) -> Effect:
        self.app.turn_page("" if self.app.page == "help" else "help")
        return None

    def do_messages(self, _: str) -> Effect:
        self.app.turn_page("" if self.app.page == "messages" else "messages")
        return None

    def do_command(self, argument: str) -> Effect:
        self.app.type_command(argument)
        return None

    def do_back(self, _: str) -> Effect:
        self.app.close_something()
        return None

    def do_quit(self, _: str) -> Effect:
        if self.app.close_something():
            return None
        if why := self.app.busy():
            return Say(why, "warn")
        self.app.exit()
        return None

    # -- out of here

    def do_copy(self, argument: str) -> Effect:
        secrets = self.app.bar.secrets
        if secrets:
            lines = [secrets[0].value] if len(secrets) == 1 else [f"{s.name},{s.value}" for s in secrets]
            return Copy("\n".join(lines), "the secret")
        return self.app.pane.act("copy", argument, self.app.view)

    def do_export(self, argument: str) -> Effect:
        if self.app.bar.secrets:
            return self._export_secrets(argument)
        name = self.app.pane.name
        document = self.app.pane.document(self.app.view.now)
        suffix = "csv" if document is None else "md"
        default = str(self.home / export.file_name(name, self.app.view.now, suffix))

        def chosen(text: str) -> Effect:
            path = Path(text.strip()).expanduser()
            pane = self.app.pane
            if document is not None:
                return self._written(path, document)
            try:
                rows = pane.table.records(self.app.view.now)
                export.write_rows(path, rows, pane.table.count(pane.noun), pane.at or self.app.view.now)
            except OSError as error:
                raise ValueError(f"{path}: {error.strerror}") from None
            return Say(f"{len(rows)} rows are in {path}", "ok")

        return (
            chosen(argument)
            if argument
            else Prompt("Export to", f"a .{suffix} file that is not there yet", chosen, default)
        )

    def _written(self, path: Path, document: str) -> Effect:
        try:
            export.write_document(path, document)
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from None
        return Say(f"it is in {path}", "ok")

    def _export_secrets(self, argument: str) -> Effect:
        default = str(self.home / export.file_name("secrets", self.app.clock(), "csv"))

        def chosen(text: str) -> Effect:
            path = Path(text.strip()).expanduser()
            secrets = self.app.bar.secrets
            try:
                export.write_secrets(path, [(secret.name, secret.value) for secret in secrets])
            except OSError as error:
                raise ValueError(f"{path}: {error.strerror}") from None
            return Say(f"{len(secrets)} secrets are in {path}, for you alone; esc closes them here", "ok")

        return (
            chosen(argument)
            if argument
            else Prompt("Secrets into", "a .csv file that is not there yet", chosen, default)
        )

    def do_report(self, _: str) -> Effect:
        """Text and a picture of the screen, without payloads and what looks like a secret."""
        if self.app.bar.secrets:
            return Say("close the secret first: a report must not hold it", "warn")
        path = self.home / export.file_name("report", self.app.clock(), "txt")
        try:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            export.write_report(path, self.app.as_report())
        except OSError as error:
            return Say(f"{path}: {error.strerror}", "crit")
        return Say(f"report in {path} and .svg, without payloads; read it before you send it", "ok")
