"""The console's options from the command line, a profile and a person's files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from probes.shipped import runbook_names
from tui import keymap as keymaps
from tui import profile as profiles
from tui.command import USAGE, Chosen, fail, same_console
from tui.options import Options
from tui.profile import Profile, ProfileError
from tui.way import Way

if TYPE_CHECKING:
    from tui.library import Runbook

KEYS_FILE = Path("~/.config/iot-console/keys.toml")
THEMES = ("auto", "dark", "light", "contrast", "deuteranopia", "mono")


@dataclass(frozen=True, slots=True)
class Look:
    """What the command line says of it; None: as the profile has it."""

    environment: str | None
    theme: str | None
    keymap: Path | None
    alerts_file: Path | None
    ascii_only: bool
    mouse: bool

    def options(self, wanted: Chosen, way: Way, profile: Profile | None) -> Options:
        """Wrong ones end the program with exit code 2."""
        theme = self.theme or (profile.theme if profile else None) or "auto"
        if theme not in THEMES:
            fail(f"--theme {theme}: one of {', '.join(THEMES)}", USAGE)
        file = self.alerts_file or (profile.alerts_file if profile else None)
        if file is not None and not file.expanduser().is_file():
            fail(f"--alerts-file {file}: there is no such file on this machine", USAGE)
        return Options(
            environment=self.environment or (profile.environment if profile else "PROD"),
            ascii_only=self.ascii_only,
            theme=theme,
            keymap=self._keymap(),
            alerts_file=file.expanduser() if file else None,
            runbooks=_runbooks,
            runbook_names=runbook_names(),
            profiles=_names(wanted.config),
            profile=profile,
            console=same_console(wanted),
        )

    def _keymap(self) -> keymaps.Keymap:
        path = (self.keymap or KEYS_FILE).expanduser()
        if self.keymap is None and not path.exists():
            return {}
        try:
            return keymaps.load(path)
        except OSError as error:
            fail(f"--keymap {path}: {error.strerror}", USAGE)
        except ValueError as error:
            fail(str(error), USAGE)


def _runbooks() -> list["Runbook"]:
    from tui import library  # slow to import, and not needed for the first picture

    return library.runbooks(library.directory())


def _names(config: Path) -> tuple[str, ...]:
    """Profiles one may change to; a broken file only takes that away."""
    try:
        return tuple(profiles.load(config).profiles)
    except ProfileError:
        return ()
