"""Connected devices: what each of them costs the broker, and how long a fleet takes to come back after a restart."""

import asyncio
import contextlib
import itertools
import random
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.creds import CHUNK, Bench, bench
from bench.publisher import PAYLOAD
from bench.rig import database, inserted, usage
from probes.broker import BrokerError, BrokerLogin
from probes.mqtt import MqttClient, connect

Row = dict[str, object]
FLEETS, QUICK_FLEETS = (100, 1_000, 10_000), (100, 1_000)
EVERY_SECONDS = 20.0  # between two messages of a device; the broker gives up a silent one after 45
TALK_SECONDS = 60.0
AT_ONCE = 50  # handshakes under way; a service's devices do not come in the same millisecond either
PATIENCE = 300.0
SOCKETS = 1.2  # open files a device, for the fleet and for the broker each


class Fleet:
    """Devices that stay connected over TLS, say something every EVERY_SECONDS, and come back when they are cut off."""

    def __init__(self) -> None:
        self.connected: set[str] = set()
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._numbers = itertools.count()

    def add(self, logins: list[BrokerLogin]) -> None:
        tasks = [asyncio.create_task(self._device(login), name=login.username) for login in logins]
        for task in tasks:
            task.add_done_callback(lambda _: self._changed.set())
        self._tasks += tasks

    async def complete(self) -> float:
        """Seconds until all are connected. Raises TimeoutError, or what a device failed with."""
        began = time.perf_counter()
        async with asyncio.timeout(PATIENCE):
            while len(self.connected) < len(self._tasks):
                self._changed.clear()
                await self._changed.wait()
                self.check()
        return time.perf_counter() - began

    def check(self) -> None:
        """Raises what a device failed with: it tries again for ever, so one that has ended has failed."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _device(self, login: BrokerLogin) -> None:
        while True:
            with contextlib.suppress(BrokerError):
                async with self._session(login) as client:
                    await self._talk(client, login.username)
            await asyncio.sleep(random.uniform(0, 1))

    @asynccontextmanager
    async def _session(self, login: BrokerLogin) -> AsyncIterator[MqttClient]:
        async with contextlib.AsyncExitStack() as stack:
            async with self._gate:
                client = await stack.enter_async_context(connect(login))
            self._count(login.username, True)
            try:
                yield client
            finally:
                self._count(login.username, False)

    def _count(self, username: str, there: bool) -> None:
        (self.connected.add if there else self.connected.discard)(username)
        self._changed.set()

    async def _talk(self, client: MqttClient, username: str) -> None:
        """Until the connection ends."""
        pause = random.uniform(0, EVERY_SECONDS)
        while not client.closed.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await client.closed.wait()
                    return
            pause = EVERY_SECONDS
            payload = PAYLOAD % (int(time.time() * 1000), next(self._numbers))
            code = await client.publish(f"tenants/{username}/telemetry", payload)
            assert code < 0x80, f"{username} may not publish: {code:#x}"


async def _grown(on: Bench, known: int, devices: int) -> list[BrokerLogin]:
    """Credentials for the devices that are not there yet, in force at the broker."""
    logins: list[BrokerLogin] = []
    for start in range(known, devices, CHUNK):
        names = [f"d{n}" for n in range(start, min(start + CHUNK, devices))]
        logins += (await on.create(*names)).values()
    await on.until_in_force()
    return logins


async def _measure(on: Bench, fleet: Fleet, new: list[BrokerLogin], devices: int) -> Row:
    broker, agent = on.stack.broker, on.agent.process
    before = usage(broker.pid)
    fleet.add(new)
    seconds = await fleet.complete()
    handshake = (usage(broker.pid).cpu - before.cpu) / len(new)
    async with database(on.stack) as db:
        rows, start, began = await inserted(db), usage(broker.pid), time.perf_counter()
        await asyncio.sleep(TALK_SECONDS)
        spent, took = usage(broker.pid), time.perf_counter() - began
        rate = (await inserted(db) - rows) / took
    fleet.check()
    if len(fleet.connected) < devices:
        raise RuntimeError(f"only {len(fleet.connected)} of {devices} devices are still connected")
    row: Row = {
        "devices": devices,
        "connects_a_second": round(len(new) / seconds),
        "handshake_cpu_ms": round(handshake * 1000, 2),
        "messages_a_second": round(rate, 1),
        "broker_cpu_percent": round(100 * (spent.cpu - start.cpu) / took, 1),
        "broker_rss_mb": round(spent.rss / 1e6, 1),
        "agent_rss_mb": round(usage(agent.pid).rss / 1e6, 1),
    }
    await asyncio.to_thread(broker.stop)
    while fleet.connected:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(broker.start)
    return row | {"all_back_seconds": round(await fleet.complete(), 1)}


async def run(quick: bool) -> dict[str, object]:
    """One fleet that grows; the broker's memory without devices is what each size is compared with."""
    fleets = QUICK_FLEETS if quick else FLEETS
    _allow_files(int(fleets[-1] * SOCKETS))
    async with bench() as on:
        empty = usage(on.stack.broker.pid).rss / 1e6
        rows, known = [], 0
        fleet = Fleet()
        try:
            for devices in fleets:
                new = await _grown(on, known, devices)
                rows.append(await _measure(on, fleet, new, devices))
                known = devices
        finally:
            await fleet.end()
    for row in rows:
        row["kb_a_device"] = round((float(str(row["broker_rss_mb"])) - empty) * 1000 / int(str(row["devices"])), 1)
    return {"broker_rss_mb_without_devices": round(empty, 1), "fleets": rows}


def _allow_files(wanted: int) -> None:
    """For us and, inherited, for the broker. Raises SystemExit where this machine does not let us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"{wanted} open files are needed, and `ulimit -Hn` is {hard}: raise it, or use --quick")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def table(found: dict[str, object]) -> str:
    heads = (("connected devices", 18), ("connects/s", 12), ("CPU each", 10), ("msg/s", 8), ("broker CPU", 12),
             ("broker", 10), ("a device", 11), ("agent", 9), ("all back after a restart", 26))  # fmt: skip
    lines = ["".join(f"{text:>{width}}" for text, width in heads)]
    lines.append(f"{0:>18}{found['broker_rss_mb_without_devices']:>49} MB")
    lines += [
        f"{row['devices']:>18}{row['connects_a_second']:>12}{row['handshake_cpu_ms']:>7} ms"
        f"{row['messages_a_second']:>8}{row['broker_cpu_percent']:>10} %{row['broker_rss_mb']:>7} MB"
        f"{row['kb_a_device']:>8} KB{row['agent_rss_mb']:>6} MB{row['all_back_seconds']:>24} s"
        for row in found["fleets"]  # type: ignore[attr-defined]
    ]
    return "\n".join(lines)
