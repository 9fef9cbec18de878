"""`python -m tests.still FILE`: a console with fixed rows in this terminal, for what only a terminal can tell.

On SIGUSR1 it writes its whole screen into FILE, as a terminal would have to be told it from nothing.
"""

import asyncio
import signal
import sys
from dataclasses import replace
from pathlib import Path

from tests.screens import FIRING, NAMES, RUNBOOKS, SNAPSHOT, Still
from tui.options import Options


class Telling(Still):
    """Can be asked what it means to show."""

    def on_mount(self) -> None:
        super().on_mount()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.tell)

    def tell(self) -> None:
        lines = [strip.render(self.console) for strip in self.screen._compositor.render_strips()]
        whole = "".join(f"\x1b[{y};1H{line}" for y, line in enumerate(lines, 1))
        target = Path(sys.argv[1])
        temporary = target.with_suffix(".new")
        temporary.write_text(whole)
        temporary.rename(target)


if __name__ == "__main__":
    here = Path(sys.argv[1]).parent
    app = Telling(
        Options(runbooks=lambda: list(RUNBOOKS), runbook_names=NAMES, state_dir=here / "state", files_dir=here)
    )
    app.view = replace(app.view, snapshot=replace(SNAPSHOT, alerts=FIRING))
    app.fill()
    app.run()
