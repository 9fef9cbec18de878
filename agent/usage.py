"""How commands read what they are given, and how they fail: one line and an exit code."""

import sys
from pathlib import Path
from typing import NoReturn

import typer

FAILED, USAGE = 1, 2


def fail(message: str, code: int) -> NoReturn:
    typer.echo(f"iot-agent: {message}", err=True)
    sys.exit(code)


def text_of(path: Path) -> str:
    """The text of a file; one that cannot be read is wrong usage."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path}: {getattr(error, 'strerror', None) or error}", USAGE)
