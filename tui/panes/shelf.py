"""The panes, each made when it is looked at first: most of what they import is not needed for the first picture."""

import asyncio
from importlib import import_module

from tui.actions import PANES
from tui.options import Options
from tui.panes.pane import Pane


class Panes(dict[str, Pane]):
    """By name."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self._options = options

    def __missing__(self, name: str) -> Pane:
        pane = self[name] = self._made(name)
        return pane

    async def warm(self) -> None:
        """Import the rest behind the first picture, so that nobody waits for it later."""
        for name in PANES:
            await asyncio.to_thread(import_module, f"tui.panes.{name}")

    def _made(self, name: str) -> Pane:
        module = import_module(f"tui.panes.{name}")
        options = self._options
        match name:
            case "runbooks":
                pane = module.Runbooks(options.runbooks)
            case "rules":
                pane = module.Rules(options.alerts_file, options.runbook_names)
            case "doctor":
                pane = module.Doctor(import_module("sql").migrations())
            case _:
                pane = getattr(module, name.capitalize())()
        assert isinstance(pane, Pane)
        return pane
