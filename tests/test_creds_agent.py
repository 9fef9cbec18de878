"""The whole agent with credentials, as a process beside a real broker: what its operator does and sees."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from probes.broker import BrokerLogin
from probes.mqtt import connect
from probes.tls import verifying_context
from stack.local import LocalAgent, LocalStack, Tenant, short_directory
from tests.servers import Database

ROOT = Path(__file__).parent.parent
DEVICES = tuple(f"d{n}" for n in range(10))


@pytest_asyncio.fixture(scope="module")
async def stack() -> AsyncIterator[LocalStack]:
    directory = short_directory("iot-creds")
    found = LocalStack(directory, creds=True)
    await found.cluster.start()
    await found.prepare([Tenant("acme", DEVICES)])
    found.broker.start()
    yield found
    await asyncio.to_thread(found.stop)
    shutil.rmtree(directory, ignore_errors=True)


@pytest_asyncio.fixture
async def agent(stack: LocalStack) -> AsyncIterator[LocalAgent]:
    found = stack.agent("agent-1", {"canary__interval_seconds": 1.0, "creds__check_seconds": 1.0})
    found.start()
    await found.ready()
    yield found
    assert await asyncio.to_thread(found.stop) == 0


async def iot_agent(agent: LocalAgent, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "agent", *arguments, "--config", str(agent.config_file)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("IOT_")} | agent.environment
    return await asyncio.to_thread(
        subprocess.run, argv, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=90
    )


async def iot_console(stack: LocalStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"IOT_CONSOLE_DATABASE_URL": stack.owner_url}
    argv = [sys.executable, "-m", "tui", *arguments]
    return await asyncio.to_thread(
        subprocess.run, argv, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=60
    )


def device(stack: LocalStack, shown: str) -> BrokerLogin:
    """A login from what `device create` prints."""
    username, password = (line.split(": ")[1] for line in shown.splitlines())
    tls = verifying_context(stack.authority.ca_file, stack.broker.server_name)
    return BrokerLogin("127.0.0.1", stack.broker.device_port, tls, username, password)


async def test_from_the_command_line_to_a_row(stack: LocalStack, agent: LocalAgent) -> None:
    made = await iot_console(stack, "device", "create", "acme/new")
    assert made.returncode == 0, made.stderr
    assert "is in force at agent-1 after" in made.stderr
    async with connect(device(stack, made.stdout)) as client:
        assert await client.publish("tenants/acme/devices/new/telemetry", b'{"seq": 1}') < 0x80
        assert await client.publish("tenants/acme/devices/d1/telemetry", b'{"seq": 1}') == 0x87
        query = "select count(*) from iot.telemetry_v where device = 'new'"
        async with asyncio.timeout(60):
            while await Database(stack.cluster, stack.database).fetch(query) != [(1,)]:
                await asyncio.sleep(0.05)
            while "last login" not in (await iot_console(stack, "devices")).stdout:
                await asyncio.sleep(0.05)
        revoked = await iot_console(stack, "device", "revoke", "acme/new", "--reason", "a test", "--yes")
        assert revoked.returncode == 0, revoked.stderr
        async with asyncio.timeout(60):
            await client.closed.wait()
    status = await iot_agent(agent, "creds", "status", "--json")
    found = json.loads(status.stdout)
    assert (status.returncode, found["state"], found["entries"]) == (0, "applied", 10)
    assert found["version"].startswith("2.")
    assert (await iot_console(stack, "credentials", "brokers")).returncode == 0


async def test_changing_the_agents_own_logins_loses_nothing(stack: LocalStack, agent: LocalAgent) -> None:
    log = stack.state / "fleet.log"
    fleet = stack.simulator(log, "--devices", "10", "--rate", "200", "--seconds", "12", "--bad", "0")
    slots = []
    for _ in range(2):
        done = await iot_agent(agent, "creds", "rotate-identity")
        assert done.returncode == 0, done.stderr
        slots.append(done.stdout)
    assert slots == ["slot a -> slot b\n", "slot b -> slot a\n"]
    assert await asyncio.to_thread(fleet.wait, 60) == 0, fleet.tail()
    published = fleet.report()["good"]
    query = "select count(*) from iot.telemetry_v where device <> 'new' and tenant_id > 0"
    async with asyncio.timeout(60):
        while await Database(stack.cluster, stack.database).fetch(query) != [(published,)]:
            await asyncio.sleep(0.1)
        while (await asyncio.to_thread(agent.metrics)).get('iot_part_ok{part="canary"}') != 1.0:
            await asyncio.sleep(0.05)


async def test_the_certificate_is_watched_and_a_new_one_is_checked(stack: LocalStack, agent: LocalAgent) -> None:
    directory = stack.broker.directory
    seen = await iot_agent(agent, "certs", "status", "--certificate", str(directory / "server.crt"))
    assert seen.returncode == 0, seen.stderr
    assert "the file holds the same" in seen.stdout
    metrics = await asyncio.to_thread(agent.metrics)
    assert metrics['iot_part_ok{part="certificate"}'] == 1.0
    assert metrics["iot_certificate_expiry_seconds"] > 0
    new = stack.state / "new"
    new.mkdir()
    stack.authority.issue(new)
    good = await iot_agent(agent, "certs", "rotate-check", str(new / "server.crt"), str(new / "server.key"), "--json")
    assert (good.returncode, json.loads(good.stdout)["names"][0]) == (0, stack.broker.server_name)
    differs = await iot_agent(agent, "certs", "status", "--certificate", str(new / "server.crt"))
    assert (differs.returncode, "THE FILE HOLDS ANOTHER ONE" in differs.stdout) == (1, True)
    bad = await iot_agent(agent, "certs", "rotate-check", str(new / "server.crt"), str(directory / "server.key"))
    assert (bad.returncode, "Traceback" in bad.stderr) == (1, False)


async def test_init_overwrites_nothing_unless_forced(stack: LocalStack, agent: LocalAgent) -> None:
    argv = ["creds", "init", "--directory", str(stack.broker.files), "--state-dir", str(agent.state_dir)]
    again = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "agent", *argv], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert (again.returncode, "--force replaces them, then restart the broker" in again.stderr) == (1, True)


async def test_without_an_identity_the_agent_says_what_to_do(stack: LocalStack) -> None:
    found = stack.agent("agent-1", {"agent__state_dir": str(stack.state / "elsewhere")})
    done = await iot_agent(found, "run")
    assert done.returncode == 2
    assert "run `iot-agent creds init` before the broker starts" in done.stderr
