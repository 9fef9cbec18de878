"""What was typed behind `:`, over sessions."""

import os
from pathlib import Path

FILE = "history"
KEPT = 500


def read(directory: Path) -> list[str]:
    """The newest last; empty when there is no file, or none that can be read."""
    try:
        return (directory / FILE).read_text().splitlines()[-KEPT:]
    except (OSError, UnicodeDecodeError):
        return []


def add(directory: Path, text: str) -> None:
    """Best effort: a full disk must not keep a command from being done. The same twice in a row is kept once."""
    known = read(directory)
    if known[-1:] == [text]:
        return
    lines = [*known, text][-KEPT:]
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = directory / f"{FILE}.{os.getpid()}"
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write("\n".join(lines) + "\n")
        temporary.rename(directory / FILE)
    except OSError:
        return
