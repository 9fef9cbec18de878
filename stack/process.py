"""Child processes that never outlive us."""

import json
import os
import pwd
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probes.child import die_with_parent


class StackError(Exception):
    """A part of the local stack cannot be started; the message says what to do."""


class Child:
    """One process with its output in a log file. Ctrl-C does not reach it: we stop it, in order."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        log: Path,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [str(part) for part in argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=die_with_parent,
                env=None if env is None else os.environ | dict(env),
                **as_user(user),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, signum: signal.Signals) -> None:
        self._process.send_signal(signum)

    def wait(self, timeout: float) -> int:
        """Exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self, signum: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:
        """Ask it to end; kill it when it does not. Returns the exit code."""
        if self.alive:
            self._process.send_signal(signum)
            self._process.send_signal(signal.SIGCONT)  # a frozen process cannot end
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def report(self) -> dict[str, int]:
        """The last JSON object that it printed. Raises StackError when there is none."""
        found = [line for line in self.log.read_text(errors="replace").splitlines() if line.startswith("{")]
        if not found:
            raise StackError(f"{self.name} printed no report; its output ends:\n{self.tail()}")
        report = json.loads(found[-1])
        assert isinstance(report, dict)
        return report

    def tail(self, lines: int = 8) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def as_user(user: str | None) -> dict[str, Any]:
    """Arguments of subprocess that change the user; empty when there is nothing to change."""
    if user is None or os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [entry.pw_gid]}


def give(path: Path, user: str | None) -> None:
    """Make a file or directory the user's own; does nothing unless we are root."""
    if user is not None and os.geteuid() == 0:
        entry = pwd.getpwnam(user)
        os.chown(path, entry.pw_uid, entry.pw_gid)


def first_user(*names: str) -> str | None:
    """The first of the users that exists here; None when we are not root, and stay who we are."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in (*names, "nobody") if name in known)
