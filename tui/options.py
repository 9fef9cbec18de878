"""How a console looks, and where its files are."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tui.keymap import Keymap

if TYPE_CHECKING:
    from tui.library import Runbook  # slow to import
    from tui.profile import Profile

STATE = Path("~/.local/state/iot-console")


def state_directory() -> Path:
    """Where this person's console keeps what must outlast it."""
    state = os.environ.get("XDG_STATE_HOME")
    return Path(state) / "iot-console" if state else STATE.expanduser()


@dataclass(frozen=True)
class Options:
    """runbooks: reads them, when they are wanted. profiles: environments one may change to.

    profile: the one that was chosen; console: the command that leads to it.
    files_dir: where exports and reports go at first.
    """

    environment: str = "PROD"
    ascii_only: bool = False
    theme: str = "auto"
    keymap: Keymap = field(default_factory=dict)
    state_dir: Path = field(default_factory=state_directory)
    files_dir: Path = field(default_factory=Path.cwd)
    alerts_file: Path | None = None
    runbooks: Callable[[], list["Runbook"]] = list
    runbook_names: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    profile: "Profile | None" = None
    console: tuple[str, ...] = ()
