"""Faults of the whole chain, with real processes: nothing lost, nothing twice, everything accounted for.

Short by default; `make soak` (IOT_SOAK=1) runs the long form.
"""

import asyncio
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from stack.local import LocalAgent, LocalStack, fleet, short_directory
from stack.process import Child
from stack.proxy import Proxy

SOAK = os.environ.get("IOT_SOAK") == "1"
DEVICES = 20
RATE = 1000 if SOAK else 300
TIMED = "flat,nested,skewed"  # shapes that a device may send again without becoming another row
COUNTS = """
select count(*) as rows, count(distinct (tenant_id, device_id, topic, payload, payload_raw)) as distinct_rows
from public.telemetry where tenant_id > 0"""
LETTERS = "select count(*) from iot.dead_letters"


def long(soak: int, short: int) -> int:
    return soak if SOAK else short


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[LocalStack]:
    directory = short_directory("iot-fault")
    found = LocalStack(directory)
    await found.cluster.start()
    await found.prepare(fleet(DEVICES))
    found.broker.start()
    yield found
    await asyncio.to_thread(found.stop)
    shutil.rmtree(directory, ignore_errors=True)


class Trial:
    """An agent and a fleet; check() at the end decides."""

    def __init__(
        self, stack: LocalStack, seconds: float, shapes: str | None = None, bad: float = 0.01, **settings: object
    ) -> None:
        self.stack = stack
        self.agent: LocalAgent = stack.agent(settings=settings)
        options = ["--rate", str(RATE), "--seconds", str(seconds), "--bad", str(bad), "--repeat", "0.02"]
        self._options = [*options, "--shapes", shapes] if shapes else options
        self._fleet: Child | None = None

    async def start(self) -> None:
        self.agent.start()
        await self.agent.ready()
        self._fleet = self.stack.simulator(self.stack.state / "fleet.log", *self._options)

    async def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while not await asyncio.to_thread(condition):
                await asyncio.sleep(0.05)

    async def check(self, seconds: float = 90) -> dict[str, float]:
        """Lost 0, twice 0, dead letters exact, accounting balanced. Returns the agent's metrics."""
        assert self._fleet is not None
        assert await asyncio.to_thread(self._fleet.wait, 900) == 0, self._fleet.tail()
        tally = self._fleet.report()
        ends_at = time.monotonic() + seconds
        while True:
            rows, distinct = await self._fetch(COUNTS)
            letters = (await self._fetch(LETTERS))[0]
            metrics = await asyncio.to_thread(self.agent.metrics)
            # the canary goes on: what it has just sent may be in the agent's hands for a moment
            at_rest = metrics.get("iot_spool_rows") == 0 and metrics["iot_ingest_unsettled"] == 0
            if at_rest and rows >= tally["good"] and letters >= tally["bad"]:
                break
            assert time.monotonic() < ends_at, (
                f"{rows} rows, {letters} dead letters of {tally}; {metrics}; the log ends:\n{self.agent.process.tail(30)}"
            )
            await asyncio.sleep(0.2)
        assert tally["good"] > 100
        assert {"rows": rows, "distinct": distinct} == {"rows": tally["good"], "distinct": tally["good"]}, tally
        assert letters == tally["bad"]
        assert metrics["iot_ingest_unsettled"] == 0
        _balanced(metrics)
        assert self.agent.stop() == 0
        return metrics

    async def _fetch(self, query: str) -> tuple[int, ...]:
        connection = await asyncpg.connect(self.stack.cluster.superuser_url(self.stack.database))
        row = await connection.fetchrow(query)
        await connection.close()
        assert row is not None
        return tuple(row)


def _balanced(metrics: dict[str, float]) -> None:
    value = {name.removeprefix("iot_ingest_").removesuffix("_total"): v for name, v in metrics.items()}
    settled = sum(value[name] for name in ("inserted", "duplicates", "dead_letters", "spooled", "dropped"))
    assert value["received"] == settled
    drained = sum(value[f"drained_{name}"] for name in ("inserted", "duplicates", "dead_letters"))
    assert value["drained"] == drained


async def test_the_agent_is_killed_again_and_again(stack: LocalStack) -> None:
    trial = Trial(stack, long(110, 14))
    await trial.start()
    for _ in range(long(50, 4)):
        await asyncio.sleep(random.uniform(0.8, 2.2))
        trial.agent.process.kill()
        trial.agent.start()
    await trial.check()


async def test_the_broker_restarts(stack: LocalStack) -> None:
    trial = Trial(stack, long(90, 12), TIMED)
    await trial.start()
    for _ in range(long(10, 2)):
        await asyncio.sleep(random.uniform(2, 4))
        await asyncio.to_thread(stack.broker.stop)
        await asyncio.to_thread(stack.broker.start)
    metrics = await trial.check()
    assert metrics["iot_broker_connects_total"] >= 2
    assert metrics["iot_broker_sessions_lost_total"] == 0


async def test_the_connection_is_reset_again_and_again(stack: LocalStack) -> None:
    proxy = Proxy(stack.broker.service_port)
    async with proxy.running():
        trial = Trial(stack, long(60, 10), mqtt__port=proxy.port)
        await trial.start()
        for _ in range(long(60, 8)):
            await asyncio.sleep(random.uniform(0.3, 1.5))
            proxy.reset()
        await trial.check()


async def test_the_database_restarts(stack: LocalStack) -> None:
    trial = Trial(stack, long(60, 10))
    await trial.start()
    for _ in range(long(6, 1)):
        await asyncio.sleep(3)
        await asyncio.to_thread(stack.cluster.stop)
        await asyncio.sleep(long(5, 2))
        await stack.cluster.start()
    await trial.check()


async def test_the_database_is_gone_for_long_and_the_agent_is_killed_meanwhile(stack: LocalStack) -> None:
    away = long(600, 5)
    trial = Trial(stack, away + 5)
    await trial.start()
    await asyncio.sleep(2)
    await asyncio.to_thread(stack.cluster.stop)
    await asyncio.sleep(away / 2)
    trial.agent.process.kill()
    trial.agent.start()
    await asyncio.sleep(away / 2)
    await stack.cluster.start()
    await trial.check(300)


@pytest.mark.parametrize("way", ["frozen", "black hole"])
async def test_the_database_hangs(stack: LocalStack, way: str) -> None:
    directory = stack.cluster.directory / "x"
    directory.mkdir()
    directory.chmod(0o755)
    proxy = Proxy(stack.cluster.socket_dir / ".s.PGSQL.5432", directory / ".s.PGSQL.5432")
    async with proxy.running():
        stack.agent_url = stack.agent_url.replace(str(stack.cluster.socket_dir), str(directory))
        trial = Trial(stack, long(40, 8), ingest__write_timeout_seconds=2.0)
        await trial.start()
        await asyncio.sleep(2)
        if way == "frozen":
            frozen = await _freeze(stack)
            await asyncio.sleep(long(20, 4))
            _thaw(frozen)
        else:
            proxy.stalled = True
            await asyncio.sleep(long(20, 4))
            proxy.stalled = False
        metrics = await trial.check()
        assert metrics["iot_ingest_spooled_total"] > 0


async def _freeze(stack: LocalStack) -> list[int]:
    connection = await asyncpg.connect(stack.cluster.superuser_url(stack.database))
    query = "select pid from pg_stat_activity where application_name like 'iot-agent%'"
    pids = [row[0] for row in await connection.fetch(query)] + [stack.cluster.pid]
    await connection.close()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


def _thaw(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


async def test_the_database_becomes_read_only(stack: LocalStack) -> None:
    trial = Trial(stack, long(40, 9))
    await trial.start()
    connection = await asyncpg.connect(stack.cluster.superuser_url("postgres"))
    ours = "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'iot-agent%'"
    await asyncio.sleep(2)
    await connection.execute(f"alter database {stack.database} set default_transaction_read_only = on")
    await connection.execute(ours)
    await asyncio.sleep(long(20, 4))
    await connection.execute(f"alter database {stack.database} reset default_transaction_read_only")
    await connection.execute(ours)
    await connection.close()
    metrics = await trial.check()
    assert metrics["iot_ingest_spooled_total"] > 0


async def test_the_spool_is_full_while_the_database_is_away(stack: LocalStack) -> None:
    trial = Trial(stack, long(60, 12), spool__max_bytes=2**18)
    await trial.start()
    await asyncio.sleep(1)
    await asyncio.to_thread(stack.cluster.stop)

    def held() -> bool:
        return any(event["event"].startswith("ingest is held") for event in trial.agent.events())  # type: ignore[attr-defined]

    await trial.until(held)
    await asyncio.sleep(1)
    await stack.cluster.start()
    await trial.check()


async def test_stopping_under_load_leaves_nothing_unsettled(stack: LocalStack) -> None:
    trial = Trial(stack, long(40, 9))
    await trial.start()
    for _ in range(long(10, 2)):
        await trial.agent.ready()  # before that it has nothing, and hears SIGTERM as any program does
        await asyncio.sleep(1)
        assert await asyncio.to_thread(trial.agent.stop) == 0
        last = trial.agent.events()[-1]
        assert last["event"] == "agent stopped"
        assert last["unsettled"] == 0
        trial.agent.start()
    await trial.check()


async def test_many_bad_messages_and_devices_that_repeat_themselves(stack: LocalStack) -> None:
    trial = Trial(stack, long(60, 6), bad=0.2)
    await trial.start()
    await trial.check()


async def test_two_agents_share_one_database(stack: LocalStack) -> None:
    """The second one receives everything too: what the first stored are its duplicates."""
    trial = Trial(stack, long(40, 6), TIMED)
    other = stack.agent("agent-2")
    other.start()
    await trial.start()
    await trial.check()
    assert other.stop() == 0
    stopped: Path = other.log
    assert '"unsettled": 0' in stopped.read_text()


async def test_agents_of_a_group_share_the_messages_while_one_is_killed_and_one_is_added(stack: LocalStack) -> None:
    """Each message is dealt to one of them; what was dealt to one that dies comes when it is back, and once."""
    trial = Trial(stack, long(60, 10), TIMED, mqtt__share_group="ingest")
    second = stack.agent("agent-2", {"mqtt__share_group": "ingest"})
    third = stack.agent("agent-3", {"mqtt__share_group": "ingest"})
    second.start()
    await second.ready()
    await trial.start()
    await trial.until(lambda: second.metrics().get("iot_ingest_inserted_total", 0) > 50)
    second.process.kill()
    third.start()
    await third.ready()
    await trial.until(lambda: third.metrics().get("iot_ingest_inserted_total", 0) > 50)
    second.start()
    first = await trial.check()
    assert first["iot_ingest_received_total"] > 50
    for agent in (second, third):
        metrics = await asyncio.to_thread(agent.metrics)
        assert metrics["iot_ingest_received_total"] > 0
        _balanced(metrics)
        assert await asyncio.to_thread(agent.stop) == 0


async def test_an_agent_that_is_retired_leaves_nothing_behind(stack: LocalStack) -> None:
    """What the broker kept for it while it was away is stored; then the broker deals nothing to it any more."""
    trial = Trial(stack, long(40, 8), TIMED, mqtt__share_group="ingest")
    other = stack.agent("agent-2", {"mqtt__share_group": "ingest"})
    other.start()
    await other.ready()
    await trial.start()
    await trial.until(lambda: other.metrics().get("iot_ingest_inserted_total", 0) > 20)
    running = await _retire(other)
    assert (running[0], "is running" in running[1]) == (2, True)
    assert await asyncio.to_thread(other.stop) == 0
    ours, its = os.openpty()
    code, said = await _retire(other, its)
    assert (code, "agent-2 is retired" in said) == (0, True), said
    os.close(its)
    assert "messages came, 0 are not stored yet" in os.read(ours, 65_536).decode()
    os.close(ours)
    await trial.check()


async def _retire(agent: LocalAgent, terminal: int = -2) -> tuple[int, str]:
    """terminal: a file descriptor for what is said on the way; otherwise that is part of the answer."""
    argv = (sys.executable, "-m", "agent", "retire", "--config", str(agent.config_file), "--seconds", "60")
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=-1, stderr=terminal, env=os.environ | agent.environment, cwd=Path(__file__).parent.parent
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()
