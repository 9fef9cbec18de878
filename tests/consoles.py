"""Consoles on a real database: driven by keys in this process, or in a real pseudo-terminal."""

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from store import agents, dead_letters, directory, telemetry
from store.db import connected
from store.dead_letters import DeadLetter
from store.members import Role
from store.target import parse_target
from store.telemetry import Reading
from tests.screens import NAMES, RUNBOOKS, STATUS, text_of
from tests.servers import Database
from tui import library
from tui.app import Console
from tui.doing import TOO_QUICK_SECONDS
from tui.entry import Entry
from tui.options import Options
from tui.profile import Profile
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
        rows = [
            Reading(tenant_id, bucket, n, now.timestamp(), device, topic, 1, f'{{"n": {n}}}', None, False)
            for n in range(5)
        ]
        await telemetry.insert(db, rows, "a")
        await dead_letters.put(db, [DeadLetter(tenant_id, 9, now, topic, 1, b"{", "not-json", "cut off")], "a")
        await agents.beat(db, "vm-weu", "0.1.0", now, now, STATUS)
    return await database.person_url(login, tenant, role)


async def until(pilot: "Pilot[str]", app: Console, *words: str) -> str:
    """Until all of these stand on the screen."""
    return await _until(pilot, app, lambda text: all(word in text for word in words), f"waited for {words}")


async def until_gone(pilot: "Pilot[str]", app: Console, word: str) -> str:
    return await _until(pilot, app, lambda text: word not in text, f"waited for the end of {word}")


async def give(pilot: "Pilot[str]", app: Console, text: str) -> None:
    """Type it into the line that is open, quickly, and hand it over."""
    app.query_one(Entry).value = text
    await pilot.press("enter")


async def yes(pilot: "Pilot[str]", app: Console) -> None:
    """Read the question, and say yes."""
    await until(pilot, app, "y: yes")
    await pilot.pause(TOO_QUICK_SECONDS)
    await pilot.press("y")


async def _until(pilot: "Pilot[str]", app: Console, holds: Callable[[str], bool], what: str) -> str:
    ends_at = time.monotonic() + 30
    while not holds(text := text_of(app)):
        assert time.monotonic() < ends_at, f"{what}:\n{text}"
        await pilot.pause(0.05)
    return text


@asynccontextmanager
async def console(
    url: str, directory: Path, size: tuple[int, int] = (120, 36), **more: Any
) -> AsyncIterator[tuple[Console, "Pilot[str]"]]:
    """directory: for what the console keeps and writes. real_runbooks: those that are shipped; commands: of a profile."""
    real, commands = more.pop("real_runbooks", False), more.pop("commands", {})
    options = Options(
        "TEST",
        state_dir=directory / "state",
        files_dir=directory / "files",
        runbooks=(lambda: library.runbooks(library.directory())) if real else lambda: list(RUNBOOKS),
        runbook_names=NAMES,
        profile=Profile(host="/nowhere", user="nobody", commands=commands),
        **more,
    )
    app = Console(Way(parse_target(url)), options)
    async with app.run_test(size=size) as pilot:
        yield app, pilot


def run_cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "IOT_CONSOLE_DATABASE_URL"} | environment
    return subprocess.run(
        [sys.executable, "-m", "tui", *arguments], capture_output=True, text=True, env=env, timeout=60
    )
