"""The stack of a measurement: real database, broker, agent and publisher, each its own process."""

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from agent.build import client_id
from probes.broker import BrokerLogin
from probes.mqtt import connect
from probes.tls import verifying_context
from stack.broker import INGEST_USER, free_port
from stack.local import LocalAgent, LocalStack, fleet, short_directory
from stack.postgres import Cluster, embedded_binaries
from stack.process import Child
from store import people
from store.db import Db, connected
from store.target import parse_target

DEVICES = 20
ROWS = "select count(*) from public.telemetry where tenant_id > 0"
COUNTED = "select coalesce(sum(inserted), 0)::bigint from iot.ingest_minute where tenant_id > 0"


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds (user + system) and resident memory of one process."""

    cpu: float
    rss: int


def usage(pid: int) -> Usage:
    process = psutil.Process(pid)
    times = process.cpu_times()
    return Usage(times.user + times.system, process.memory_info().rss)


@dataclass(frozen=True, slots=True)
class Rig:
    """A stack, and the port of a listener without TLS that only measurements have."""

    stack: LocalStack
    plain_port: int

    def start_agent(self, name: str, tls: bool, settings: dict[str, object]) -> LocalAgent:
        agent = self.stack.agent(name, settings)
        agent.start(None if tls else [sys.executable, "-m", "bench.agent", agent.config_file, str(self.plain_port)])
        return agent

    async def login(self, name: str) -> str:
        """The database's URL for another agent: a login takes 20 connections, so each agent has its own."""
        stack = self.stack
        async with connected(parse_target(stack.cluster.owner_url(stack.database)), "bench", 1) as db:
            return stack.cluster.url(name, await people.put_agent(db, name), stack.database)

    async def forget(self, agent: LocalAgent) -> None:
        """End an agent for good: the broker would queue for its session what the next ones are measured with."""
        agent.stop()
        broker = self.stack.broker
        tls = verifying_context(broker.authority.ca_file, broker.server_name)
        password = broker.passwords[INGEST_USER]
        async with connect(
            BrokerLogin("127.0.0.1", broker.service_port, tls, INGEST_USER, password, client_id(agent.name))
        ):
            pass  # a clean start, and no session afterwards

    def start_publisher(self, messages: int, rate: float = 0.0) -> Child:
        """Publishers without TLS: what they cost is not what is measured."""
        argv: list[str | Path] = [
            sys.executable, "-m", "bench.publisher", "--port", str(self.plain_port),
            "--credentials", self.stack.credentials_file(), "--messages", str(messages), "--rate", str(rate),
        ]  # fmt: skip
        return self.stack.keep(Child("publisher", argv, self.stack.state / "publisher.log"))


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    """A database with fsync on, a broker with a plain listener beside the others."""
    directory = short_directory("iot-bench")
    cluster = Cluster(directory / "pg", embedded_binaries(), {"shared_buffers": "512MB", "max_wal_size": "4GB"})
    found = Rig(LocalStack(directory, cluster), free_port())
    found.stack.broker.more_configuration = f"\nlistener {found.plain_port} 127.0.0.1\n"
    try:
        await cluster.start()
        await found.stack.prepare(fleet(DEVICES))
        found.stack.broker.start()
        yield found
    finally:
        await asyncio.to_thread(found.stack.stop)
        shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def database(stack: LocalStack) -> AsyncIterator[Db]:
    async with connected(parse_target(stack.agent_url), "bench", 2) as db:
        yield db


async def inserted(db: Db) -> int:
    """Rows inserted so far, by the rollup."""
    return int(str(await db.value(COUNTED)))


async def until(db: Db, wanted: int, seconds: float = 300.0) -> float:
    """Wait until so many rows were inserted; returns the time at which that was seen."""
    ends_at = time.monotonic() + seconds
    while await inserted(db) < wanted:
        if time.monotonic() > ends_at:
            raise TimeoutError(f"{await inserted(db)} of {wanted} rows")
        await asyncio.sleep(0.02)
    return time.time()
