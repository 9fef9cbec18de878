"""Copying over SSH: OSC 52, wrapped for tmux and screen; into a file when the text is too long for that."""

import base64
import os
from collections.abc import Callable, Mapping
from pathlib import Path

LONGEST = 74_994  # bytes of base64 that terminals take at least


def sequence(text: str, environment: Mapping[str, str]) -> str | None:
    """The escape sequence that puts text into the terminal's clipboard; None when it is too long."""
    encoded = base64.b64encode(text.encode()).decode()
    if len(encoded) > LONGEST:
        return None
    osc = f"\x1b]52;c;{encoded}\x07"
    if environment.get("TMUX"):
        return f"\x1bPtmux;{osc.replace(chr(27), chr(27) * 2)}\x1b\\"
    if environment.get("TERM", "").startswith("screen"):
        return f"\x1bP{osc}\x1b\\"
    return osc


def copy(text: str, write: Callable[[str], object], directory: Path) -> str:
    """Copy; returns how. Raises OSError when it had to be a file and that fails."""
    escape = sequence(text, os.environ)
    if escape is not None:
        write(escape)
        return "copied, if the terminal allows OSC 52"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / "copied.txt"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)
    return f"too long for the clipboard, in {path}"
