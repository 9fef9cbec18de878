"""alerts.yaml on disk: changed under a lock, from the text as it is now, and checked before it is written."""

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from alerting import rules


class ChangedMeanwhileError(Exception):
    """The file is not what it was when it was looked at."""


def digest(text: str) -> str:
    """What a text is known by."""
    return hashlib.sha256(text.encode()).hexdigest()


def change(path: Path, seen: str | None, edit: Callable[[str], str]) -> str:
    """Write what edit makes of the text; returns it. A reader sees the old file or the new one, never half of it.

    seen: digest of the text that was looked at. Raises ChangedMeanwhileError, OSError, PatchError from edit, and
    DocumentError when the file would be wrong: then nothing is written.
    """
    with path.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        before = path.read_text()
        if seen is not None and digest(before) != seen:
            raise ChangedMeanwhileError(f"{path} was changed by somebody else meanwhile: look at it again")
        after = edit(before)
        rules.load(after)
        _write(path, after)
    return after


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.chmod(path.stat().st_mode & 0o777)
    temporary.rename(path)
