"""How commands read what they are given, say how far they are, and fail: with an exit code."""

import sys
from pathlib import Path
from typing import NoReturn

import typer

FAILED, USAGE = 1, 2


def fail(message: str, code: int) -> NoReturn:
    show_progress("")
    typer.echo(f"iot-agent: {message}" if "\n" not in message else f"iot-agent:\n{message}", err=True)
    sys.exit(code)


def show_progress(line: str) -> None:
    """Say on a terminal how far long work is, in place of what was said last; an empty line makes room."""
    if sys.stderr.isatty():
        typer.echo(f"\r\x1b[K{line}\r", nl=False, err=True)  # what comes next begins at the left, too


def text_of(path: Path) -> str:
    """The text of a file; one that cannot be read is wrong usage."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path}: {getattr(error, 'strerror', None) or error}", USAGE)
