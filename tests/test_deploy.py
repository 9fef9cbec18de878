"""What deploy/ ships, as far as it can be run without systemd."""

import asyncio
import grp
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from probes.broker import BrokerLogin
from probes.mqtt import LoginRefused, connect
from probes.tls import verifying_context
from stack.broker import INGEST_USER, Broker
from stack.certificates import SERVER_NAME, Authority
from stack.local import LocalAgent, LocalStack, Tenant, short_directory, to_toml
from store import brokers, credentials
from store.db import connected
from store.target import parse_target

ROOT = Path(__file__).parent.parent
DISTRIBUTION = Path("/etc/mosquitto/mosquitto.conf")


async def test_the_brokers_configuration_fits_into_the_distributions(broker: Broker, authority: Authority) -> None:
    """As /etc/mosquitto/conf.d/iot.conf: a setting that both files make would keep the broker from starting."""
    broker.stop()
    place = broker.directory
    ours = broker._configuration().split(f"pid_file {place}")[0]
    (place / "conf.d").mkdir()
    (place / "conf.d" / "iot.conf").write_text(ours)
    text = DISTRIBUTION.read_text()
    for system, private in (
        ("/etc/mosquitto/conf.d", place / "conf.d"),
        ("/run/mosquitto/", f"{place}/"),
        ("/var/lib/mosquitto/", f"{place}/"),
        ("/var/log/mosquitto/", f"{place}/"),
    ):
        assert system in text
        text = text.replace(system, str(private))
    broker._configuration = lambda: text  # type: ignore[method-assign]
    for path in (place / "conf.d", place / "conf.d" / "iot.conf"):
        path.chmod(0o755)
    broker.start()
    tls = verifying_context(authority.ca_file, SERVER_NAME)
    login = BrokerLogin("127.0.0.1", broker.service_port, tls, INGEST_USER, broker.passwords[INGEST_USER])
    async with connect(login) as client:
        await client.ping()


@asynccontextmanager
async def commands(place: Path, on_line: Callable[[str], None]) -> AsyncIterator[Path]:
    """A pipe in the place of the system's service manager: what is written to it, we are asked for."""
    pipe = place / "commands"
    os.mkfifo(pipe)
    pipe.chmod(0o666)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    loop = asyncio.get_running_loop()

    def read() -> None:
        for line in os.read(reader, 4096).decode().split():
            on_line(line)

    loop.add_reader(reader, read)
    try:
        yield pipe
    finally:
        loop.remove_reader(reader)
        os.close(reader)


def powerless(*argv: str) -> list[str]:
    """A command without any capability, in the broker's group: root then has the rights of any other user."""
    if os.geteuid() != 0:
        return list(argv)
    group = grp.getgrnam("mosquitto").gr_gid
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", f"--groups={group}", "--", *argv]


async def test_an_agent_without_rights_replaces_the_files_and_asks_for_the_reload() -> None:
    """As deploy/ sets it up: the directory is the broker's and setgid, the agent is in the broker's group."""
    place = short_directory("iot-deploy")
    stack = LocalStack(place, creds=True)
    stack.broker.managed = False  # so that we run `creds init` ourselves, as the other user
    await stack.cluster.start()
    await stack.prepare([Tenant("acme", ())])
    stack.broker.managed = True
    stack.broker.make_files_directory()
    state_dir = place / "agent-1"
    state_dir.mkdir()
    asked: list[str] = []

    def obey(line: str) -> None:
        asked.append(line)
        stack.broker.send({"reload": signal.SIGHUP, "stop": signal.SIGTERM}[line])

    try:
        init = ["creds", "init", "--directory", str(stack.broker.files), "--state-dir", str(state_dir)]
        process = await asyncio.create_subprocess_exec(*powerless(sys.executable, "-m", "agent", *init), cwd=ROOT)
        assert await process.wait() == 0
        stack.broker.start()
        async with commands(place, obey) as pipe:
            agent = stack.agent(settings={"http__port": 0})
            write = [sys.executable, "-c", "import sys; open(sys.argv[1], 'w').write(sys.argv[2] + '\\n')", str(pipe)]
            creds = {"enabled": True, "directory": str(stack.broker.files), "reload_command": [*write, "reload"]}
            _replace_section(agent, creds)
            with agent.log.open("wb") as log:
                run = powerless(sys.executable, "-m", "agent", "run", "--config", str(agent.config_file))
                process = await asyncio.create_subprocess_exec(
                    *run, cwd=ROOT, stderr=log, env=os.environ | agent.environment
                )
            try:
                await _a_new_device_gets_in(stack)
            finally:
                process.terminate()
                assert await process.wait() == 0
        assert asked.count("reload") >= 2
        assert "Traceback" not in agent.log.read_text()
    finally:
        await asyncio.to_thread(stack.stop)
        shutil.rmtree(place, ignore_errors=True)


def _replace_section(agent: LocalAgent, creds: dict[str, object]) -> None:
    text = agent.config_file.read_text().partition("[creds]")[0]
    agent.config_file.write_text(text + to_toml({"creds": creds}))
    agent.config_file.chmod(0o644)
    agent.environment.pop("MQTT_BROKER_PASSWORD", None)
    agent.environment.pop("IOT_CANARY__PASSWORD", None)


async def _a_new_device_gets_in(stack: LocalStack) -> None:
    secret = credentials.new_secret()
    async with connected(parse_target(stack.owner_url), "test", 2) as db, asyncio.timeout(60):
        while not await brokers.all_brokers(db):
            await asyncio.sleep(0.05)
        await credentials.create(db, "acme", {"d1": secret.stored})
        tls = verifying_context(stack.authority.ca_file, SERVER_NAME)
        login = BrokerLogin("127.0.0.1", stack.broker.device_port, tls, "acme/devices/d1", secret.password)
        while True:
            try:
                async with connect(login):
                    return
            except LoginRefused:
                await asyncio.sleep(0.05)


def test_the_polkit_rule_names_one_unit_and_three_verbs() -> None:
    rule = (ROOT / "deploy/50-iot-agent.rules").read_text()
    assert rule.count("==") == 6
    for word in (
        "org.freedesktop.systemd1.manage-units",
        "iot-agent",
        "mosquitto.service",
        "reload",
        "restart",
        "stop",
    ):
        assert f'"{word}"' in rule
    unit = (ROOT / "deploy/iot-agent.service").read_text()
    assert "User=iot-agent\n" in unit
    assert "SupplementaryGroups=mosquitto\n" in unit


@pytest.mark.parametrize("name", ["agent.toml"])
def test_the_shipped_settings_are_valid(name: str, tmp_path: Path) -> None:
    from agent.config import load

    found = load(ROOT / "deploy" / name, {"DATABASE_URL": "postgresql://u:p@db.example.net/d"})
    assert found.creds.enabled
    assert json.loads(found.model_dump_json())["creds"]["reload_command"] == [
        "systemctl",
        "reload",
        "mosquitto.service",
    ]
