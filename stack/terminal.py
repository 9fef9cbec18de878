"""A program in a real pseudo-terminal, read by a terminal emulator."""

import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from contextlib import suppress
from fcntl import ioctl
from pathlib import Path

import pyte


def _surroundings() -> dict[str, str]:
    """A terminal with colours, whose size is what it says, not what a variable of ours says."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "TMUX")}
    return kept | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


def _take_terminal() -> None:
    """Make it the terminal of the new session: without one there is nobody to hang up, and the console ends."""
    ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """The console, unless argv says otherwise. output: every byte it sent."""

    def __init__(
        self,
        url_file: Path | None,
        *arguments: str,
        size: tuple[int, int] = (120, 36),
        argv: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.screen = pyte.Screen(*size)
        self.output = b""
        self._stream = pyte.ByteStream(self.screen)
        self.master, slave = pty.openpty()
        ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.process = subprocess.Popen(
            argv or [sys.executable, "-m", "tui", "--url-file", str(url_file), *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=_take_terminal,
            env=_surroundings() | environment,
        )  # fmt: skip
        os.close(slave)

    def read(self, seconds: float) -> bytes:
        """What arrives within the time."""
        got, ends_at = b"", time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            if select.select([self.master], [], [], left)[0]:
                with suppress(OSError):
                    got += (data := os.read(self.master, 65_536))
                    self._stream.feed(data)
        self.output += got
        return got

    def until(self, word: str, seconds: float = 20) -> None:
        ends_at = time.monotonic() + seconds
        while word not in "\n".join(self.screen.display):
            assert time.monotonic() < ends_at, "\n".join(self.screen.display)
            self.read(0.1)

    def quiet(self, seconds: float = 0.35) -> None:
        """Until nothing has arrived for so long."""
        while self.read(seconds):
            pass

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def close(self) -> None:
        """End it, whatever it does."""
        with suppress(OSError):
            os.close(self.master)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
