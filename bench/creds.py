"""From a committed change to what a device sees: a new one let in, a revoked one cut off, and what others notice."""

import asyncio
import shutil
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from bench.rig import usage
from probes.broker import BrokerLogin
from probes.mqtt import LoginRefused, MqttClient, connect
from probes.tls import verifying_context
from stack.local import LocalAgent, LocalStack, Tenant, short_directory
from store import brokers, credentials
from store.db import Db, connected
from store.target import parse_target

Row = dict[str, object]
CONNECTED = 200
CHUNK = 5000  # devices in one statement
TALK_SECONDS = 0.005


class Bench:
    """devices: how many credentials the broker holds; every one of `logins` is connected meanwhile."""

    def __init__(self, stack: LocalStack, agent: LocalAgent, owner: Db) -> None:
        self.stack = stack
        self.agent = agent
        self.owner = owner
        self._tls = verifying_context(stack.authority.ca_file, stack.broker.server_name)

    def login(self, device: str, password: str) -> BrokerLogin:
        return BrokerLogin("127.0.0.1", self.stack.broker.device_port, self._tls, f"acme/devices/{device}", password)

    async def create(self, *names: str) -> dict[str, BrokerLogin]:
        secrets = {name: credentials.new_secret() for name in names}
        await credentials.create(self.owner, "acme", {name: secret.stored for name, secret in secrets.items()})
        return {name: self.login(name, secret.password) for name, secret in secrets.items()}

    async def until_in_force(self) -> None:
        wanted = await brokers.head(self.owner)
        while (rows := await brokers.all_brokers(self.owner)) and rows[0].broker.generation < wanted:
            await asyncio.sleep(0.02)

    async def created(self, name: str) -> float:
        """Seconds from commit to the first login."""
        login = (await self.create(name))[name]
        began = time.perf_counter()
        while True:
            with suppress(LoginRefused):
                async with connect(login):
                    return time.perf_counter() - began
            await asyncio.sleep(0.005)

    async def revoked(self, name: str, client: MqttClient) -> float:
        """Seconds from commit to the end of the live session."""
        await credentials.revoke(self.owner, "acme", name, "bench", None)
        began = time.perf_counter()
        await client.closed.wait()
        return time.perf_counter() - began


class Talk:
    """A steady stream from one device to itself; worst is the longest that a message took, in seconds."""

    def __init__(self, login: BrokerLogin) -> None:
        self.worst = 0.0
        self._login = login

    async def run(self) -> None:
        topic = f"tenants/{self._login.username}/talk"
        async with connect(self._login) as client:
            await client.subscribe(topic)
            while True:
                began = time.perf_counter()
                await client.publish(topic, b"1")
                await client.messages.get()
                self.worst = max(self.worst, time.perf_counter() - began)
                await asyncio.sleep(TALK_SECONDS)


async def measure(on: Bench, devices: int, rounds: int = 7) -> Row:
    names = [f"d{n}" for n in range(devices)]
    known: dict[str, BrokerLogin] = {}
    for start in range(0, devices, CHUNK):
        known |= await on.create(*names[start : start + CHUNK])
    await on.until_in_force()
    async with AsyncExitStack() as sessions:
        for name in names[:CONNECTED]:
            await sessions.enter_async_context(connect(known[name]))
        talk = Talk((await on.create("talker"))["talker"])
        await on.until_in_force()
        talking = asyncio.create_task(talk.run())
        new, cut, stalls = [], [], []
        for number in range(rounds):
            await asyncio.sleep(3)  # each alone: changes close together wait for each other on purpose
            talk.worst = 0.0
            new.append(await on.created(f"new{number}"))
            await on.until_in_force()
            stalls.append(talk.worst)
            login = (await on.create(f"old{number}"))[f"old{number}"]
            await on.until_in_force()
            async with connect(login) as client:
                await asyncio.sleep(3)
                cut.append(await on.revoked(f"old{number}", client))
            await on.until_in_force()
        talking.cancel()
    entry = await on.owner.row(
        "select percentile_cont(0.5) within group (order by took_ms) as took from iot.broker_log"
    )
    assert entry is not None
    return {
        "devices": devices,
        "created_ms": _ms(new),
        "created_worst_ms": round(max(new) * 1000, 1),
        "revoked_ms": _ms(cut),
        "revoked_worst_ms": round(max(cut) * 1000, 1),
        "stall_ms": _ms(stalls),
        "apply_ms": round(entry["took"], 1),
        "agent_rss_mb": round(usage(on.agent.process.pid).rss / 1e6),
    }


def _ms(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1000, 1)


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    directory = short_directory("iot-bench")
    stack = LocalStack(directory, creds=True)
    try:
        await stack.cluster.start()
        await stack.prepare([Tenant("acme", ())])
        stack.broker.start()
        agent = stack.agent()
        agent.start()
        await agent.ready()
        async with connected(parse_target(stack.owner_url), "bench", 4) as owner:
            yield Bench(stack, agent, owner)
    finally:
        await asyncio.to_thread(stack.stop)
        shutil.rmtree(directory, ignore_errors=True)


async def run(quick: bool) -> list[Row]:
    rows = []
    for devices in (100, 10_000) if quick else (100, 10_000, 100_000):
        async with bench() as on:
            rows.append(await measure(on, devices))
    return rows


def table(rows: list[Row]) -> str:
    """One line a fleet size; the last column compares with the smallest fleet."""
    heads = (("devices", 8), ("create -> login", 18), ("revoke -> cut", 16), ("stall", 10), ("apply", 10), ("RSS", 8))
    lines = ["".join(f"{text:>{width}}" for text, width in (*heads, ("create x", 10)))]
    for row in rows:
        ratio = float(str(row["created_ms"])) / float(str(rows[0]["created_ms"]))
        lines.append(
            f"{row['devices']:>8}{row['created_ms']:>15} ms{row['revoked_ms']:>13} ms{row['stall_ms']:>7} ms"
            f"{row['apply_ms']:>7} ms{row['agent_rss_mb']:>5} MB{ratio:>9.1f}x"
        )
    return "\n".join(lines)
