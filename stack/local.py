"""Everything together: database, broker, agents, devices."""

import asyncio
import json
import shlex
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import sql
from stack.broker import CANARY_USER, DEPLOY, INGEST_USER, Broker, free_port, password_line
from stack.certificates import Authority
from stack.confined import Program, confined
from stack.postgres import Cluster, embedded_binaries
from stack.process import Child, StackError, give
from store import credentials, directory, migrate, people
from store.db import connected
from store.target import parse_target

DATABASE = "iot"
FIRST_AGENT = "agent-1"
AGENT_LOGIN = "iot_agent_a"
OWNER_LOGIN = "iot_u_owner"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant of the demo fleet and the names of its devices."""

    slug: str
    devices: tuple[str, ...]


def fleet(devices: int, tenants: tuple[str, ...] = ("acme", "globex")) -> list[Tenant]:
    """Devices dealt out to tenants: dev-0001, dev-0002, ..."""
    return [
        Tenant(slug, tuple(f"dev-{n + 1:04}" for n in range(devices) if n % len(tenants) == i))
        for i, slug in enumerate(tenants)
    ]


def unit_environment() -> dict[str, str]:
    """What deploy/iot-agent.service sets: the agent is tried and measured with it."""
    prefix = "Environment="
    lines = (DEPLOY / "iot-agent.service").read_text().splitlines()
    words = (word for line in lines if line.startswith(prefix) for word in shlex.split(line.removeprefix(prefix)))
    return dict(word.split("=", 1) for word in words)


class LocalStack:
    """State lives in `state`; the database's directory is separate, because its path has to be short.

    creds: agent-1 brings the devices' credentials to the broker, as on a server; otherwise the broker's files stand
    still, and any number of agents share one login. confine: agents run without rights, as on a server.
    """

    def __init__(
        self,
        state: Path,
        cluster: Cluster | None = None,
        database: str = DATABASE,
        creds: bool = False,
        confine: bool = False,
    ) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.state = state
        self.database = database
        self.authority = Authority(state)
        self.cluster = cluster or Cluster(state / "pg", embedded_binaries())
        self.broker = Broker(state / "mqtt", self.authority, managed=creds)
        self.program = confined(state) if confine else Program()
        self.children: list[Child] = []
        self.agent_url = ""
        self.owner_url = ""

    async def prepare(self, tenants: list[Tenant]) -> None:
        """Schema, logins, tenants and devices in the database; passwords for the devices at the broker."""
        await self.cluster.create_database(self.database)
        async with connected(parse_target(self.cluster.owner_url(self.database)), "stack", 2) as db:
            await migrate.migrate(db, sql.migrations())
            self.agent_url = self.cluster.url(AGENT_LOGIN, await people.put_agent(db, AGENT_LOGIN), self.database)
            password = await people.put_owner(db, OWNER_LOGIN, "platform")
            self.owner_url = self.cluster.url(OWNER_LOGIN, password, self.database)
            for tenant in tenants:
                tenant_id = await directory.create_tenant(db, tenant.slug, tenant.slug.title())
                names = [self.broker.add_device(tenant.slug, device) for device in tenant.devices]
                if not self.broker.managed:
                    await directory.register(db, [(tenant_id, device) for device in tenant.devices])
                elif names:
                    lines = [password_line(name, self.broker.passwords[name]) for name in names]
                    hashes = [line.partition(":")[2] for line in lines]
                    await credentials.create(db, tenant.slug, dict(zip(tenant.devices, hashes, strict=True)))
        if self.broker.managed:
            await self._init_broker()

    async def _init_broker(self) -> None:
        """What an operator does once: `iot-agent creds init`, before the broker starts."""
        self.broker.make_files_directory()
        argv = [sys.executable, "-m", "agent", "creds", "init", "--directory", str(self.broker.files)]
        state_dir = self.state / FIRST_AGENT
        state_dir.mkdir(exist_ok=True, mode=0o700)
        self._own(state_dir)
        process = await asyncio.create_subprocess_exec(
            *argv, "--state-dir", str(state_dir), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, complaint = await process.communicate()
        if process.returncode:
            raise StackError(complaint.decode())
        for place in (state_dir, self.broker.files):
            self._own(place)

    def _own(self, place: Path) -> None:
        """What the agent works with is its own, whoever it runs as."""
        for path in (place, *place.rglob("*")):
            give(path, self.program.user)

    def credentials_file(self) -> Path:
        """Lines of user:password of all devices, for the simulator. Mode 0600."""
        path = self.state / "devices.txt"
        devices = {u: p for u, p in self.broker.passwords.items() if u not in (INGEST_USER, CANARY_USER)}
        path.touch(mode=0o600)
        path.write_text("".join(f"{user}:{password}\n" for user, password in devices.items()))
        return path

    def agent(self, name: str = FIRST_AGENT, settings: Mapping[str, object] | None = None) -> "LocalAgent":
        """An agent, not started. settings: section__key to value, on top of what fits this stack."""
        return LocalAgent(self, name, settings or {})

    def simulator(self, log: Path, *options: str) -> Child:
        """`iot-agent simulate` against the device listener; its JSON report is the last line of the log."""
        argv: list[str | Path] = [
            sys.executable, "-m", "agent", "simulate", "--credentials", self.credentials_file(), "--host", "127.0.0.1",
            "--port", str(self.broker.device_port), "--ca-file", self.authority.ca_file,
            "--tls-name", self.broker.server_name, "--json", *options,
        ]  # fmt: skip
        return self.keep(Child("fleet", argv, log))

    def keep(self, child: Child) -> Child:
        """Remember a process, so that stop() ends it."""
        self.children.append(child)
        return child

    def stop(self) -> None:
        """End everything, the publishers first and the database last."""
        for child in reversed(self.children):
            child.stop()
        self.broker.stop()
        self.cluster.stop()


class LocalAgent:
    """`iot-agent run` as its own process, with its settings in a file and its secrets in the environment."""

    def __init__(self, stack: LocalStack, name: str, overrides: Mapping[str, object]) -> None:
        self.name = name
        self._stack = stack
        self.state_dir = stack.state / name
        self.log = stack.state / f"{name}.log"
        self.port = free_port()
        self.config_file = stack.state / f"{name}.toml"
        self._child: Child | None = None
        settings: dict[str, dict[str, object]] = {
            "agent": {"id": name, "state_dir": str(self.state_dir), "heartbeat_seconds": 1.0},
            "mqtt": {
                "host": "127.0.0.1",
                "port": stack.broker.service_port,
                "tls_name": stack.broker.server_name,
                "ca_file": str(stack.authority.ca_file),
                "username": INGEST_USER,
            },
            "database": {},
            "ingest": {"raw_channels": ["raw/#"]},
            "http": {"port": self.port},
            "canary": {"port": stack.broker.device_port, "interval_seconds": 5.0},
        }
        self._creds = stack.broker.managed and name == FIRST_AGENT
        if self._creds:
            settings["creds"] = {
                "enabled": True,
                "directory": str(stack.broker.files),
                "broker_pid_file": str(stack.broker.pid_file),
            }
        for key, value in overrides.items():  # section__key=value
            section, _, field = key.partition("__")
            settings.setdefault(section, {})[field] = value
        self.config_file.write_text(to_toml(settings))
        self.environment = unit_environment() | {"DATABASE_URL": stack.agent_url}
        if not self._creds:
            self.environment["MQTT_BROKER_PASSWORD"] = stack.broker.passwords[INGEST_USER]
            self.environment["IOT_CANARY__PASSWORD"] = stack.broker.passwords[CANARY_USER]

    @property
    def process(self) -> Child:
        assert self._child is not None, "the agent was not started"
        return self._child

    def start(self, argv: Sequence[str | Path] | None = None) -> None:
        """Run it; argv: another program that takes the same settings."""
        program = self._stack.program
        if program.user is not None:
            self.state_dir.mkdir(mode=0o700, exist_ok=True)
            give(self.state_dir, program.user)
        command: list[str | Path] = [
            *program.prefix, program.python, "-m", "agent", "run", "--config", self.config_file
        ]  # fmt: skip
        env = self.environment | program.environment
        self._child = self._stack.keep(Child(self.name, argv or command, self.log, program.user, env))

    async def ready(self, seconds: float = 60.0) -> None:
        """Wait until it is subscribed, and until devices may log in: what is published before its first session, the
        broker keeps for nobody."""
        wanted = {"broker", "credentials"} if self._creds else {"broker"}
        ends_at = time.monotonic() + seconds
        while True:
            metrics = await asyncio.to_thread(self.metrics)
            if all(metrics.get(f'iot_part_ok{{part="{part}"}}') == 1.0 for part in wanted):
                return
            if not self.process.alive or time.monotonic() > ends_at:
                raise StackError(f"{self.name} is not ready; its log ends:\n{self.process.tail()}")
            await asyncio.sleep(0.05)

    def stop(self) -> int:
        return self.process.stop() if self._child else 0

    def metrics(self) -> dict[str, float]:
        """Names to values, labels included in the name; empty while it does not answer."""
        with suppress(OSError):
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
            return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}
        return {}

    def events(self) -> list[dict[str, object]]:
        """Its log so far, one dictionary a line."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]


def to_toml(settings: dict[str, dict[str, object]]) -> str:
    """Sections of strings, numbers, booleans and lists of them: JSON's notation of these is TOML's too."""
    return "".join(
        f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        for section, values in settings.items()
    )


def short_directory(name: str, parent: str = "/tmp") -> Path:
    """A private directory whose path leaves room for a socket's name."""
    path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
    path.chmod(0o755)
    return path
