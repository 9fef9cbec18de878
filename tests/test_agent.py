"""The agent as a process: what its users, systemd and Prometheus see of it."""

import asyncio
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agent.systemd import Notifier
from stack.broker import password_line
from stack.certificates import Authority
from stack.local import LocalAgent, LocalStack, Tenant, short_directory
from store import agents
from store.agents import PartState
from store.db import connected
from store.target import parse_target
from tests.servers import Database

ROOT = Path(__file__).parent.parent
MQTT_SERVER_NAME = "localhost"


@pytest_asyncio.fixture(scope="module")
async def stack() -> AsyncIterator[LocalStack]:
    directory = short_directory("iot-agent")
    found = LocalStack(directory)
    await found.cluster.start()
    await found.prepare([Tenant("acme", ("d1", "d2"))])
    found.broker.start()
    yield found
    await asyncio.to_thread(found.stop)
    shutil.rmtree(directory, ignore_errors=True)


@pytest_asyncio.fixture
async def agent(stack: LocalStack) -> AsyncIterator[LocalAgent]:
    found = stack.agent("agent-1", {"canary__interval_seconds": 1.0})
    found.start()
    await found.ready()
    yield found
    assert await asyncio.to_thread(found.stop) == 0


async def rows(stack: LocalStack, query: str) -> list[tuple[object, ...]]:
    return await Database(stack.cluster, stack.database).fetch(query)


async def until_rows(stack: LocalStack, query: str, expected: list[tuple[object, ...]]) -> None:
    async with asyncio.timeout(60):
        while await rows(stack, query) != expected:
            await asyncio.sleep(0.05)


def get(agent: LocalAgent, path: str) -> tuple[int, bytes]:
    """(status code, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def mosquitto_pub(stack: LocalStack, topic: str, payload: str, times: int = 1) -> None:
    """As a device: verified TLS, its own password from a file."""
    username = "acme/devices/d1"
    file = stack.state / "mosquitto_pub"
    lines = [f"-h {MQTT_SERVER_NAME}", f"-p {stack.broker.device_port}", f"--cafile {stack.authority.ca_file}"]
    lines += [f"-u {username}", f"-P {stack.broker.passwords[username]}"]
    file.write_text("\n".join(lines))
    argv = ["mosquitto_pub", "-q", "1", "-t", topic, "-m", payload, "--repeat", str(times), "--repeat-delay", "0.01"]
    subprocess.run(argv, check=True, env=os.environ | {"XDG_CONFIG_HOME": str(stack.state)}, timeout=30)


async def test_a_device_publishes_the_same_thing_often_and_it_is_one_row(stack: LocalStack, agent: LocalAgent) -> None:
    topic = "tenants/acme/devices/d1/telemetry"
    for _ in range(3):
        await asyncio.to_thread(mosquitto_pub, stack, topic, '{"seq": 1, "temperature": 21.5}', 20)
    await asyncio.to_thread(mosquitto_pub, stack, topic, '{"seq": 2, "temperature": 21.5}')
    query = "select payload->>'seq', qos from public.telemetry where tenant_id > 0 order by 1"
    await until_rows(stack, query, [("1", 1), ("2", 1)])


async def test_the_canary_comes_back_and_health_is_good(stack: LocalStack, agent: LocalAgent) -> None:
    async with asyncio.timeout(60):
        while "iot_canary_seconds" not in (metrics := await asyncio.to_thread(agent.metrics)):
            await asyncio.sleep(0.05)
    assert 0 < metrics["iot_canary_seconds"] < 10
    code, text = await asyncio.to_thread(get, agent, "/healthz")
    body = json.loads(text)
    assert (code, body["ok"]) == (200, True)
    assert body["parts"]["broker"] == {"state": "ok", "detail": "connected"}
    assert (await asyncio.to_thread(get, agent, "/other"))[0] == 404


async def test_health_turns_bad_and_good_with_the_broker(stack: LocalStack, agent: LocalAgent) -> None:
    await asyncio.to_thread(stack.broker.stop)
    async with asyncio.timeout(60):
        while (await asyncio.to_thread(agent.metrics))['iot_part_ok{part="broker"}'] == 1.0:
            await asyncio.sleep(0.05)
    code, text = await asyncio.to_thread(get, agent, "/healthz")
    assert (code, json.loads(text)["parts"]["broker"]["state"]) == (503, "crit")
    await asyncio.to_thread(stack.broker.start)
    await agent.ready()


async def test_the_heartbeat_says_what_the_agent_knows(stack: LocalStack, agent: LocalAgent) -> None:
    async with connected(parse_target(stack.owner_url), "test") as db:
        async with asyncio.timeout(60):
            while not (known := await agents.all_agents(db)) or known[0].status.cores == 0:
                await asyncio.sleep(0.05)
        row = known[0]
        assert (row.agent_id, row.status.cores) == ("agent-1", os.cpu_count())
        assert row.status.memory_total > row.status.memory_used > 0
        assert {part.name for part in row.status.parts} == {
            "broker", "ingest", "database", "spool", "canary", "credentials", "certificate", "disk", "partitions", "alerts",
        }  # fmt: skip
        assert all(part.state in PartState for part in row.status.parts)
        assert await agents.recent_samples(db, "agent-1", 60)


async def test_samples_of_an_outage_are_sent_afterwards(stack: LocalStack, agent: LocalAgent) -> None:
    await asyncio.sleep(1.5)
    await asyncio.to_thread(stack.cluster.stop)
    await asyncio.sleep(4)
    await stack.cluster.start()
    query = """select coalesce(max(gap), 0) < 2.5 from (
      select extract(epoch from at - lag(at) over (order by at)) as gap from iot.agent_samples
      where at > now() - interval '7 seconds') g"""
    await until_rows(stack, query, [(True,)])


async def test_systemd_is_told(stack: LocalStack) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(stack.state / "notify"))
        receiver.settimeout(60)
        found = stack.agent("agent-2")
        found.environment["NOTIFY_SOCKET"] = str(stack.state / "notify")
        found.start()
        await found.ready()
        said: list[str] = []
        while "READY=1" not in said or not any(line.startswith("WATCHDOG") for line in said):
            said += (await asyncio.to_thread(receiver.recv, 4096)).decode().splitlines()
        assert any(line.startswith("STATUS=") for line in said)
        await asyncio.to_thread(found.stop)
        while "STOPPING=1" not in said:
            said += (await asyncio.to_thread(receiver.recv, 4096)).decode().splitlines()


def test_an_abstract_socket_and_none_at_all_are_fine() -> None:
    Notifier({}).send("READY=1")
    Notifier({"NOTIFY_SOCKET": "/no/such/socket"}).send("READY=1")
    assert Notifier({"WATCHDOG_USEC": "60000000"}).watchdog_seconds == 60


async def test_what_libraries_log_is_json_too() -> None:
    code = """
import asyncio, logging
from agent import log
log.configure("info", "a")
logging.getLogger("mqtt").warning("could not %s", "disconnect")
async def main():
    asyncio.get_running_loop().create_future().set_exception(OSError("nobody looks"))
    logging.getLogger("httpx").info("a request, with its address")
asyncio.run(main())
"""
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"].splitlines()[0] for line in lines] == [
        "could not disconnect", "Future exception was never retrieved",
    ]  # fmt: skip
    assert "nobody looks" in lines[1]["exception"]


async def test_every_log_line_is_json_and_no_secret_is_in_any(stack: LocalStack, agent: LocalAgent) -> None:
    lines = agent.log.read_text().splitlines()
    assert all({"event", "level", "time", "agent"} <= json.loads(line).keys() for line in lines)
    secrets = [parse_target(stack.agent_url).password or "", *stack.broker.passwords.values()]
    assert not [secret for secret in secrets if secret in agent.log.read_text()]
    assert not [secret for secret in secrets if any(secret in part for part in _command_line(agent.process.pid))]


def _command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"mqtt__username": "nobody"}, "the broker refused user nobody: check mqtt.username and mqtt.password"),
        ({"mqtt__tls_name": "other.example.net"}, "check mqtt.ca_file and mqtt.tls_name"),
        ({"mqtt__port": 1}, "cannot connect to 127.0.0.1:1"),
    ],
)
async def test_what_is_wrong_with_the_broker_is_said_and_retried(
    stack: LocalStack, overrides: dict[str, object], words: str
) -> None:
    found = stack.agent("agent-3", overrides)
    found.start()
    async with asyncio.timeout(60):
        while not any(words in str(event.get("error")) for event in found.events()):
            await asyncio.sleep(0.05)
    cpu_before = _cpu_seconds(found.process.pid)
    await asyncio.sleep(1.5)
    assert _cpu_seconds(found.process.pid) - cpu_before < 0.5, "a busy loop"
    assert found.process.alive
    assert await asyncio.to_thread(found.stop) == 0


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_a_wrong_database_password_is_said_and_messages_are_spooled(stack: LocalStack) -> None:
    found = stack.agent("agent-4", {"canary__interval_seconds": 3600.0})
    found.environment["DATABASE_URL"] = stack.agent_url.replace("iot_agent_a:", "iot_agent_a:x")
    found.start()
    await found.ready()
    await asyncio.to_thread(mosquitto_pub, stack, "tenants/acme/devices/d1/telemetry", '{"seq": 77}')
    async with asyncio.timeout(60):
        while (await asyncio.to_thread(found.metrics)).get("iot_spool_rows", 0) < 2:  # the canary and the device
            await asyncio.sleep(0.05)
    assert any("check the user and password" in str(event.get("error")) for event in found.events())
    assert await asyncio.to_thread(found.stop) == 0


def cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("IOT_") and "DATABASE_URL" not in k} | environment
    argv = [sys.executable, "-m", "agent", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, env=env, cwd=ROOT, timeout=60)


def test_configuration_mistakes_end_with_code_two(tmp_path: Path, authority: Authority) -> None:
    done = cli("check-config")
    assert (done.returncode, "mqtt.host: Field required" in done.stderr) == (2, True)
    assert cli("run", "--config", str(tmp_path / "none.toml")).returncode == 2
    environment = {
        "IOT_MQTT__HOST": "127.0.0.1", "IOT_MQTT__USERNAME": "u", "MQTT_BROKER_PASSWORD": "hunter2", "IOT_HTTP__PORT": "0",
        "DATABASE_URL": "postgresql://u:hunter3@127.0.0.1/d", "IOT_MQTT__CA_FILE": str(tmp_path / "none.crt"),
        "IOT_AGENT__STATE_DIR": str(tmp_path),
    }  # fmt: skip
    fine = cli("check-config", **environment)
    assert (fine.returncode, fine.stdout.startswith("ok: agent")) == (0, True)
    assert "hunter" not in cli("check-config", "--json", **environment).stdout
    done = cli("run", **environment)
    assert (done.returncode, "mqtt.ca_file: cannot use" in done.stderr) == (2, True), done.stderr
    (tmp_path / "spool.sqlite").mkdir()
    environment["IOT_MQTT__CA_FILE"] = str(authority.ca_file)
    for command in ("run", "retire"):
        done = cli(command, **environment)
        assert done.returncode in (1, 2)
        assert done.stderr.endswith("spool.sqlite: unable to open database file\n"), done.stderr
    environment["IOT_AGENT__STATE_DIR"] = "/proc/nowhere"
    done = cli("run", **environment)
    assert (done.returncode, "agent.state_dir: cannot write to /proc/nowhere" in done.stderr) == (2, True), done.stderr


async def test_migrating_from_the_command_line(empty_database: Database, tmp_path: Path) -> None:
    url = {"IOT_ADMIN_DATABASE_URL": empty_database.owner_url}
    waiting = await asyncio.to_thread(cli, "migrate", "--check", "--json", **url)
    assert (waiting.returncode, json.loads(waiting.stdout)["pending"][0]) == (1, "0001 roles")
    assert (await asyncio.to_thread(cli, "migrate", **url)).returncode == 0
    assert (await asyncio.to_thread(cli, "migrate", "--check", **url)).stdout == "up to date\n"
    out = tmp_path / "agent.url"
    done = await asyncio.to_thread(cli, "provision", "agent", "iot_agent_cli", "--out", str(out), **url)
    assert done.returncode == 0, done.stderr
    assert out.stat().st_mode & 0o777 == 0o600
    async with connected(parse_target(out.read_text()), "test") as db:
        assert await db.value("select session_user") == "iot_agent_cli"
    again = await asyncio.to_thread(cli, "provision", "agent", "iot_agent_cli", "--out", str(out), **url)
    assert (again.returncode, "File exists" in again.stderr) == (2, True)
    bad = await asyncio.to_thread(cli, "provision", "agent", "root", "--out", str(tmp_path / "x"), **url)
    assert (bad.returncode, "named iot_agent_WORD" in bad.stderr) == (2, True)
    assert not (tmp_path / "x").exists()
    assert cli("migrate").returncode == 2


def test_password_lines_are_what_mosquitto_wants() -> None:
    user, kind, iterations, salt, digest = password_line("acme/devices/d1", "x" * 43).replace(":$", "$").split("$")
    assert (user, kind, iterations, len(salt), len(digest)) == ("acme/devices/d1", "7", "1", 16, 88)
