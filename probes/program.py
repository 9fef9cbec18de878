"""Runs a program of this machine: no shell, no input, and an end, for itself and for whatever it has started."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

END_SECONDS = 1.0


class NotStartedError(Exception):
    """It is not there, or may not be run; the message names it."""


class NotEndedError(Exception):
    """It did not end in time and was killed: what it does may be done. The message names it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """code: its exit code. printed and complaint: stdout and stderr."""

    code: int
    printed: str
    complaint: str


def last_line(said: str, otherwise: str = "") -> str:
    """Where most programs say why they failed. otherwise: when it said nothing."""
    return (said.strip().splitlines() or [otherwise])[-1]


async def run(argv: Sequence[str], seconds: float, merged: bool = False) -> Ended:
    """merged: stderr goes to stdout, in the order in which it came. Raises NotStartedError, NotEndedError."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if merged else asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise NotStartedError(f"{argv[0]}: {error.strerror}") from error
    try:
        async with asyncio.timeout(seconds):
            printed, complaint = await process.communicate()
    except TimeoutError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(TimeoutError):  # a grandchild in a session of its own may hold its output open
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        raise NotEndedError(f"{argv[0]} did not end within {seconds:.0f} s") from None
    code = process.returncode
    assert code is not None
    return Ended(code, printed.decode(errors="replace"), (complaint or b"").decode(errors="replace"))
