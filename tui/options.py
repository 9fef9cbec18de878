"""How a console looks, and where its files are."""

from dataclasses import dataclass, field
from pathlib import Path

from tui.keymap import Keymap
from tui.library import Runbook

STATE = Path("~/.local/state/iot-console")


@dataclass(frozen=True)
class Options:
    """profiles: environments one may change to. files_dir: where exports and reports go at first."""

    environment: str = "PROD"
    ascii_only: bool = False
    theme: str = "auto"
    keymap: Keymap = field(default_factory=dict)
    state_dir: Path = field(default_factory=STATE.expanduser)
    files_dir: Path = field(default_factory=Path.cwd)
    alerts_file: Path | None = None
    runbooks: tuple[Runbook, ...] = ()
    profiles: tuple[str, ...] = ()
