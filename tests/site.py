"""A broker whose credentials come from a database, with the reconciler in this process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from agent.creds import bootstrap
from agent.creds.applier import Applier
from agent.creds.files import FileStore
from agent.creds.identity import Identity
from agent.creds.reconciler import Reconciler, Timing
from agent.creds.signals import Signals
from agent.creds.takeover import OwnLogins
from agent.creds.verify import Access
from probes.broker import BrokerLogin
from probes.mqtt import LoginRefused, MqttClient, connect
from probes.tls import verifying_context
from stack.broker import Broker
from store import brokers, credentials
from store.db import Db

BROKER = "agent-1"


class Site:
    """owner and agent are database sessions. start() runs the reconciler, stop() ends it without ceremony."""

    def __init__(self, owner: Db, agent: Db, broker: Broker, state_dir: Path) -> None:
        self.owner = owner
        self.agent = agent
        self.broker = broker
        self.state_dir = state_dir
        self.identity: Identity | None = None  # set when the agent is told to use another one
        self.passwords: dict[str, str] = {}
        self.steps: list[str] = []
        self.on_step: Callable[[str], None] = lambda _: None
        tls = verifying_context(broker.authority.ca_file, broker.server_name)
        self.access = Access(
            BrokerLogin("127.0.0.1", broker.service_port, tls, "", ""),
            BrokerLogin("127.0.0.1", broker.device_port, tls, "", ""),
        )
        self._task: asyncio.Task[None] | None = None

    def init(self) -> None:
        self.broker.make_files_directory()
        bootstrap.init(self.broker.files, self.state_dir, force=False)

    def reconciler(self, poll: float = 0.3, check: float = 3600.0) -> Reconciler:
        signals = Signals(self.broker.pid_file, (), ())
        applier = Applier(FileStore(self.broker.files), signals, self.access, self._step)
        logins = OwnLogins(self.state_dir, 90, lambda identity: setattr(self, "identity", identity))
        return Reconciler(self.agent, BROKER, applier, self.access, logins, Timing(poll, check))

    async def start(self, **timing: float) -> Reconciler:
        found = self.reconciler(**timing)
        self._task = asyncio.create_task(found.run())
        return found

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    # -- what owners do

    async def create(self, tenant: str, *devices: str) -> int:
        """Devices with secrets that `passwords` knows by user name; returns the set."""
        secrets = {device: credentials.new_secret() for device in devices}
        generation = await credentials.create(self.owner, tenant, {d: s.stored for d, s in secrets.items()})
        self.passwords |= {f"{tenant}/devices/{device}": secret.password for device, secret in secrets.items()}
        return generation

    async def until(self, generation: int) -> None:
        await self.until_state(lambda row: row.generation >= generation and row.state == "applied")

    async def until_state(self, right: Callable[[brokers.Broker], bool]) -> brokers.Broker:
        async with asyncio.timeout(60):
            while True:
                rows = await brokers.all_brokers(self.owner)
                if rows and right(rows[0].broker):
                    return rows[0].broker
                await asyncio.sleep(0.02)

    async def outcomes(self) -> list[str]:
        return [r["outcome"] for r in await self.owner.rows("select outcome from iot.broker_log order by entry_id")]

    # -- what devices see

    @asynccontextmanager
    async def device(self, username: str, password: str | None = None) -> AsyncIterator[MqttClient]:
        async with connect(self.access.as_device(username, password or self.passwords[username])) as client:
            yield client

    async def lets_in(self, username: str, password: str | None = None) -> bool:
        try:
            async with self.device(username, password):
                return True
        except LoginRefused:
            return False

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self.on_step(name)
