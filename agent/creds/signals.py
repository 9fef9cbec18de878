"""How the broker is told to read its files again, and to stop."""

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COMMAND_SECONDS = 15.0


class SignalError(Exception):
    """The broker cannot be told; the message names the setting."""


@dataclass(frozen=True, slots=True)
class Signals:
    """By its pid file when there is one (same user, or container), otherwise by commands (systemd with polkit)."""

    pid_file: Path | None
    reload_command: Sequence[str]
    stop_command: Sequence[str]

    async def reload(self) -> None:
        await self._tell(signal.SIGHUP, self.reload_command, "creds.reload_command")

    async def stop(self) -> None:
        await self._tell(signal.SIGTERM, self.stop_command, "creds.stop_command")

    async def _tell(self, signum: signal.Signals, command: Sequence[str], setting: str) -> None:
        if self.pid_file is not None:
            _signal(self.pid_file, signum)
            return
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
            async with asyncio.timeout(COMMAND_SECONDS):
                _, complaint = await process.communicate()
        except (OSError, TimeoutError) as error:
            raise SignalError(f"{setting}: {' '.join(command)}: {error or 'takes too long'}") from error
        if process.returncode:
            text = complaint.decode(errors="replace").strip()[-300:]
            raise SignalError(f"{setting}: {' '.join(command)} failed ({process.returncode}): {text}")


def _signal(pid_file: Path, signum: signal.Signals) -> None:
    try:
        pid = int(pid_file.read_text())
        if "mosquitto" not in Path(f"/proc/{pid}/comm").read_text():  # the number may belong to another process now
            raise ProcessLookupError(f"process {pid} is not mosquitto")
        os.kill(pid, signum)
    except (OSError, ValueError) as error:
        raise SignalError(f"creds.broker_pid_file: {pid_file}: {error}") from error
