"""Consoles on a real database: driven by keys in this process, or in a real pseudo-terminal."""

import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from fcntl import ioctl
from pathlib import Path

import pyte
from textual.pilot import Pilot

from store import agents, dead_letters, directory, telemetry
from store.db import connected
from store.dead_letters import DeadLetter
from store.members import Role
from store.target import parse_target
from store.telemetry import Reading
from tests.screens import RUNBOOKS, STATUS, text_of
from tests.servers import Database
from tui.app import Console
from tui.options import Options
from tui.way import Way


async def person_url(
    database: Database, login: str = "iot_u_anna", tenant: str = "platform", role: Role = Role.OWNER
) -> str:
    """Some rows, a dead letter and an agent's heartbeat, and someone who may see them."""
    now = datetime.now(UTC)
    async with connected(parse_target(database.owner_url), "test", 2) as db:
        tenant_id = await directory.create_tenant(db, "acme", "Acme")
        await directory.register(db, [(tenant_id, "d1")])
        await db.execute("select iot.ensure_partitions($1, $1)", now.date())
        device = (await directory.find(db, [("acme", "d1")]))["acme", "d1"].device_id
        assert device is not None
    async with connected(parse_target(await database.agent_url()), "test", 2) as db:
        topic = "tenants/acme/devices/d1/t"
        bucket = now.replace(second=0, microsecond=0)
        rows = [Reading(tenant_id, bucket, n, now, device, topic, 1, f'{{"n": {n}}}', None, False) for n in range(5)]
        await telemetry.insert(db, rows, "a")
        await dead_letters.put(db, [DeadLetter(tenant_id, 9, now, topic, 1, b"{", "not-json", "cut off")], "a")
        await agents.beat(db, "vm-weu", "0.1.0", now, now, STATUS)
    return await database.person_url(login, tenant, role)


async def until(pilot: "Pilot[str]", app: Console, *words: str) -> str:
    """Until all of these stand on the screen."""
    return await _until(pilot, app, lambda text: all(word in text for word in words), f"waited for {words}")


async def until_gone(pilot: "Pilot[str]", app: Console, word: str) -> str:
    return await _until(pilot, app, lambda text: word not in text, f"waited for the end of {word}")


async def _until(pilot: "Pilot[str]", app: Console, holds: Callable[[str], bool], what: str) -> str:
    ends_at = time.monotonic() + 30
    while not holds(text := text_of(app)):
        assert time.monotonic() < ends_at, f"{what}:\n{text}"
        await pilot.pause(0.05)
    return text


@asynccontextmanager
async def console(
    url: str, directory: Path, size: tuple[int, int] = (120, 36)
) -> AsyncIterator[tuple[Console, "Pilot[str]"]]:
    """directory: for what the console keeps and writes."""
    options = Options("TEST", state_dir=directory / "state", files_dir=directory / "files", runbooks=RUNBOOKS)
    app = Console(Way(parse_target(url)), options)
    async with app.run_test(size=size) as pilot:
        yield app, pilot


def _take_terminal() -> None:
    """Make it the terminal of the new session; otherwise there is nobody to hang up, and the console takes it for gone."""
    ioctl(0, termios.TIOCSCTTY, 0)


class Terminal:
    """The console in a real pseudo-terminal, read by a terminal emulator."""

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
            env=os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"} | environment,
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


def run_cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "IOT_CONSOLE_DATABASE_URL"} | environment
    return subprocess.run(
        [sys.executable, "-m", "tui", *arguments], capture_output=True, text=True, env=env, timeout=60
    )
