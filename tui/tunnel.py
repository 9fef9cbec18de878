"""A way to the database through SSH: the system's own client, with its config, agent, jump hosts and known hosts.

The end on this machine is a Unix socket in a directory of our own: no other user can reach it, as they could a port.
TLS goes through to the database, which is verified by its own name; whoever holds the SSH host sees nothing.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from probes.child import die_with_parent
from store.target import Target

DELAYS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
STEADY_SECONDS = 30.0  # up for so long, and the next failure is a first one again
WORDS = 5
OPTIONS = {
    "ExitOnForwardFailure": "yes",
    "StreamLocalBindMask": "0177",
    "StreamLocalBindUnlink": "yes",
    "StrictHostKeyChecking": "yes",
    "ControlMaster": "no",
    "ControlPath": "none",
    "ServerAliveInterval": "10",
    "ServerAliveCountMax": "3",
    "ConnectTimeout": "10",
    "PermitLocalCommand": "no",
    "LogLevel": "ERROR",
}
REMEDIES = (
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "the host key is not the known one: ask who runs the host first; "
     "when the change is right, ssh-keygen -R HOST and connect once by hand"),
    ("Host key verification failed", "the host key is not known: ssh to it once by hand and compare its fingerprint"),
    ("Permission denied", "no key is accepted: ssh-add your key, or see the host's authorized_keys"),
    ("Could not resolve hostname", "check the name in `ssh =`"),
    ("administratively prohibited", "the host forbids forwarding: AllowTcpForwarding in its sshd_config"),
)  # fmt: skip


class TunnelError(Exception):
    """There is no way through; the message says why, and what to do."""


@dataclass
class Tunnel:
    """run() keeps it up for ever. problem: why it is down now, "" while it is up. tries: failures in a row."""

    host: str
    target: Target
    directory: Path
    config: Path | None = None
    problem: str = "the SSH tunnel is not up yet"
    tries: int = 0
    up_since: float | None = None
    next_try: float = 0.0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def socket(self) -> Path:
        return self.directory / "db"

    def command(self) -> list[str]:
        """What is run. Without a terminal it asks nothing: a password cannot be typed into a screen that is drawn."""
        options = [part for name, value in OPTIONS.items() for part in ("-o", f"{name}={value}")]
        forward = f"{self.socket}:{self.target.host}:{self.target.port}"
        config = ["-F", str(self.config)] if self.config else []
        return ["ssh", *config, "-N", "-T", "-o", "BatchMode=yes", *options, "-L", forward, "--", self.host]

    def wake(self) -> None:
        """Try now instead of after the pause."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            await self._once()
            if time.monotonic() - began > STEADY_SECONDS:
                self.tries = 0
            delay = DELAYS[min(self.tries, len(DELAYS) - 1)]
            self.tries += 1
            self.next_try = time.time() + delay
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()

    async def _once(self) -> None:
        """From its start to its end; problem says why it ended."""
        self.socket.unlink(missing_ok=True)  # of the one before
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # ctrl+c in the terminal is for the console
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            self.problem = f"ssh cannot be started ({error.strerror}): install the OpenSSH client"
            return
        watch = asyncio.create_task(self._note_when_up())
        try:
            assert process.stderr is not None
            said = (await process.stderr.read()).decode(errors="replace")
            code = await process.wait()
        finally:
            watch.cancel()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
                await process.wait()
        self.up_since = None
        self.problem = explained(self.host, said, code)

    async def _note_when_up(self) -> None:
        """ssh makes the socket when the forward stands."""
        while not self.socket.exists():
            await asyncio.sleep(0.05)
        self.problem, self.up_since = "", time.time()


def explained(host: str, said: str, code: int) -> str:
    """Why ssh ended, with what to do about it."""
    words = "; ".join(line.strip() for line in said.splitlines() if line.strip(" @\r"))[-300:]
    remedy = next((text for sign, text in REMEDIES if sign in said), "")
    return f"ssh {host} ended ({code}){': ' + words if words else ''}{' → ' + remedy if remedy else ''}"


@asynccontextmanager
async def opened(host: str, target: Target, config: Path | None = None) -> AsyncIterator[tuple[Target, Tunnel]]:
    """A tunnel that keeps itself up, and the target through it. It may take a moment until it stands.

    config: instead of the user's own ~/.ssh/config.
    """
    directory = Path(tempfile.mkdtemp(prefix="iot-tunnel-"))  # mode 0700
    tunnel = Tunnel(host, target, directory, config)
    task = asyncio.create_task(tunnel.run())
    try:
        yield replace(target, through=tunnel.socket), tunnel
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        shutil.rmtree(directory, ignore_errors=True)


async def until_up(tunnel: Tunnel, seconds: float) -> None:
    """For commands: until it stands. Raises TunnelError with why it does not."""
    ends_at = time.monotonic() + seconds
    while tunnel.up_since is None:
        if tunnel.tries or time.monotonic() > ends_at:
            raise TunnelError(tunnel.problem)
        await asyncio.sleep(0.02)
