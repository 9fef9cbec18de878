"""Real faults on the local stack, each with the way to mend it. Bounded in time and size, and always undone."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil

from stack.azure import FakeAzure
from stack.local import LocalAgent, LocalStack
from stack.process import Child

MEMORY_SHARE, MEMORY_MOST = 4.0, 2 * 2**30  # percent of the machine, bytes
DISK_SHARE, DISK_MOST = 0.25, 4 * 2**30  # of what is free, bytes
BURN = "import os,sys\nos.nice(19)\nwhile os.getppid() == int(sys.argv[1]): pass"
HOLD = """
import os, sys, time
held = bytearray(int(sys.argv[2]))
held[::4096] = b"1" * len(held[::4096])
while os.getppid() == int(sys.argv[1]):
    time.sleep(0.1)
"""


@dataclass(slots=True)
class Scene:
    """Where a drill happens. agent is the one that watches; other is there when a drill needs a second one."""

    stack: LocalStack
    agent: LocalAgent
    azure: FakeAzure
    other: LocalAgent | None = None
    fleet: Child | None = None


Fault = Callable[[Scene], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def broker_killed(scene: Scene) -> AsyncIterator[None]:
    await asyncio.to_thread(scene.stack.broker.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(scene.stack.broker.start)


@asynccontextmanager
async def broker_hung(scene: Scene) -> AsyncIterator[None]:
    """Its port still accepts connections; only a handshake that does not end tells."""
    scene.stack.broker.send(signal.SIGSTOP)
    try:
        yield
    finally:
        scene.stack.broker.send(signal.SIGCONT)


@asynccontextmanager
async def database_stopped(scene: Scene) -> AsyncIterator[None]:
    await asyncio.to_thread(scene.stack.cluster.stop)
    try:
        yield
    finally:
        await scene.stack.cluster.start()


@asynccontextmanager
async def database_exhausted(scene: Scene) -> AsyncIterator[None]:
    """Connections until the server takes no more, not even those that it keeps for its superuser."""
    url = scene.stack.cluster.superuser_url("postgres")
    held: list[asyncpg.Connection] = []
    try:
        with suppress(asyncpg.PostgresError):
            while len(held) < 1000:
                held.append(await asyncpg.connect(url))
        yield
    finally:
        for connection in held:
            connection.terminate()


@asynccontextmanager
async def cpu_burnt(scene: Scene) -> AsyncIterator[None]:
    """A busy loop for each core, at the lowest priority, that ends with us."""
    argv = [sys.executable, "-c", BURN, str(os.getpid())]
    burners = [await asyncio.create_subprocess_exec(*argv) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            await burner.wait()


@asynccontextmanager
async def memory_taken(scene: Scene) -> AsyncIterator[None]:
    size = min(int(psutil.virtual_memory().total * MEMORY_SHARE / 100), MEMORY_MOST)
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLD, str(os.getpid()), str(size))
    try:
        yield
    finally:
        holder.kill()
        await holder.wait()


def disk_bite(path: Path) -> int:
    """Bytes that a filled disk loses: much more than everything else on the machine writes during a drill."""
    return min(int(psutil.disk_usage(str(path)).free * DISK_SHARE), DISK_MOST)


@asynccontextmanager
async def disk_filled(scene: Scene) -> AsyncIterator[None]:
    """Blocks that are taken and never written."""
    path = scene.agent.state_dir / "drill.fill"
    try:
        with path.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, disk_bite(scene.agent.state_dir))
        yield
    finally:
        path.unlink(missing_ok=True)


@asynccontextmanager
async def bad_messages(scene: Scene) -> AsyncIterator[None]:
    """A fleet of which every second message cannot be stored; afterwards a good one."""
    _fleet(scene, "--bad", "0.5", "--rate", "20")
    try:
        yield
    finally:
        _fleet(scene, "--rate", "20")


@asynccontextmanager
async def devices_silent(scene: Scene) -> AsyncIterator[None]:
    if scene.fleet is not None:
        await asyncio.to_thread(scene.fleet.stop)
    try:
        yield
    finally:
        _fleet(scene, "--rate", "10")


@asynccontextmanager
async def certificate_ending(scene: Scene) -> AsyncIterator[None]:
    """The broker serves, to connected clients' no notice, a certificate of three days."""
    broker = scene.stack.broker
    try:
        _issue(scene, 3)
        yield
    finally:
        _issue(scene, 60)
        broker.send(signal.SIGHUP)


def _issue(scene: Scene, days: float) -> None:
    broker = scene.stack.broker
    broker.authority.issue(broker.directory, days=days)
    broker.write_files()
    broker.send(signal.SIGHUP)


@asynccontextmanager
async def bill_tripled(scene: Scene) -> AsyncIterator[None]:
    usual = list(scene.azure.costs)
    scene.azure.costs = [*usual[:-1], 3 * usual[-1]]
    try:
        yield
    finally:
        scene.azure.costs = usual


@asynccontextmanager
async def agent_killed(scene: Scene) -> AsyncIterator[None]:
    assert scene.other is not None
    scene.other.process.kill()
    try:
        yield
    finally:
        scene.other.start()


def _fleet(scene: Scene, *options: str) -> None:
    if scene.fleet is not None:
        scene.fleet.stop()
    scene.fleet = scene.stack.simulator(scene.stack.state / "fleet.log", "--seconds", "300", *options)


def start_fleet(scene: Scene) -> None:
    """Devices that talk."""
    _fleet(scene, "--rate", "10")
