"""The panes, each made when it is looked at first: most of what they import is not needed for the first picture."""

import asyncio
from collections.abc import Callable
from importlib import import_module
from typing import Any

from store.db import Db
from store.runtime import spared
from tui.actions import PANES
from tui.options import Options
from tui.panes.pane import Pane
from tui.way import Way


class Panes(dict[str, Pane]):
    """By name."""

    def __init__(self, options: Options, way: Way, present: Callable[[], Db | None]) -> None:
        super().__init__()
        self._options = options
        self._way = way
        self._present = present

    def __missing__(self, name: str) -> Pane:
        pane = self[name] = self._made(name)
        return pane

    async def warm(self) -> None:
        """Import the rest behind the first picture, and read the runbooks, so that nobody waits for it later."""
        with spared():
            for name in PANES:
                await asyncio.to_thread(import_module, f"tui.panes.{name}")
            await asyncio.to_thread(self._options.runbooks)

    def _desk(self) -> Any:
        """Where runs are conducted from."""
        options = self._options
        module = import_module("tui.runbook.desk")
        desk = module.made(self._way, options.state_dir, options.environment, options.profile, options.console)
        desk.db = self._present
        return desk

    def _made(self, name: str) -> Pane:
        module = import_module(f"tui.panes.{name}")
        options = self._options
        match name:
            case "runbooks":
                pane = module.Runbooks(options.runbooks, self._desk())
            case "rules":
                pane = module.Rules(options.alerts_file, options.runbook_names)
            case "doctor":
                pane = module.Doctor(import_module("sql").migrations(), self._desk, options.profile)
            case _:
                pane = getattr(module, name.capitalize())()
        assert isinstance(pane, Pane)
        return pane
