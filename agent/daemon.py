"""Wires the parts of the agent, runs them, and stops them without losing what was received."""

import asyncio
import os
import secrets
import signal
import time
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path

import structlog

from agent import build, cloud
from agent.alerts.history import Readings
from agent.broker_watch import BrokerWatch
from agent.canary import Canary
from agent.config import ConfigError, Settings
from agent.creds.identity import Identity
from agent.duties import Duties, Parts
from agent.hardening import PID_FILE
from agent.heartbeat import Heartbeat, save_horizon
from agent.ingest.link import Dial
from agent.ingest.replay import Replay
from agent.ingest.spool import SpoolError
from agent.ingest.writer import Names
from agent.intake import intake
from agent.looks import Looks
from agent.readings import readings
from agent.report import Observed, Spooled
from agent.requests import Requests
from agent.supervise import ended, supervise
from agent.systemd import Notifier
from agent.upkeep import Upkeep
from agent.web import Web
from probes.host import Host
from probes.redact import Redactor
from store.db import Db, connected
from store.errors import Misconfigured
from store.runtime import read_little, spare_the_collector

log = structlog.get_logger()
VERSION = version("iot-console")
ALERT_CONNECTIONS = 3
STUCK_SECONDS = 120.0  # on top of the write timeout, before the watchdog is let go


class Daemon:
    """All parts, built from settings. Opens nothing; run() does."""

    def __init__(
        self, settings: Settings, names: Names, db: Db, alerts_db: Db, dial: Dial, config_file: Path | None
    ) -> None:
        ingest, agent = settings.ingest, settings.agent
        self._settings = settings
        self._notifier = Notifier()
        self._host = Host(agent.state_dir)
        logins = build.own_logins(settings, self._use)
        own = logins.identities.current if logins else None
        self._redact = Redactor(build.secrets_of(settings))
        if own is not None:
            self._hide(own)
        way = intake(settings, db, names, own, dial)
        self._horizon, self._spool, self._inbox = way.horizon, way.spool, way.inbox
        self._pipeline, self._link = way.pipeline, way.link
        self._reconciler = build.reconciler(settings, db, logins) if logins else None
        self._upkeep = Upkeep(db, agent.id, ingest, settings.alerts.history_days)
        self._replay = Replay(db, way.writer, ingest.retention_days)
        self._canary = build.canary(settings, db, own)
        proved = self._reconciler.enforced if self._reconciler else None
        sight = build.sight(settings, alerts_db, self._redact, self._canary, proved)
        parts = Parts(
            sight.world, settings.actions, self._link, self._pipeline, self._reconciler, Looks(sight), self._redact
        )
        self._requests = Requests(alerts_db, agent.id, Duties(parts))
        self._watch = BrokerWatch(build.device_login(settings))
        self._cloud = cloud.CloudPoll(alerts_db, agent.id, settings.cloud, cloud.command(config_file))
        self._engine = build.engine(settings, alerts_db, self._readings)
        self._heartbeat = Heartbeat(
            db, agent.id, VERSION, self.observe, self._horizon, agent.state_dir, self._notifier,
            ingest.write_timeout_seconds + STUCK_SECONDS,
        )  # fmt: skip

    def observe(self) -> Observed:
        """The state of everything, now. Called from the web thread too: it only reads."""
        spool = self._spool
        return Observed(
            now=time.time(),
            host=self._host.sample(),
            count=self._pipeline.accounting,
            ingest=self._pipeline.health,
            link=self._link.health,
            spool=Spooled(spool.rows, spool.bytes, spool.max_bytes),
            canary=self._canary.health if self._canary else None,
            write_p95_ms=self._pipeline.latency.p95_ms(),
            creds=self._reconciler.health if self._reconciler else None,
            alerts=self._engine.health if self._settings.alerts.enabled else None,
            upkeep_error=self._upkeep.health.error,
            confirmed=self._link.confirmed,
            unsettled_for=self._pipeline.unsettled_for(),
            cloud=self._cloud.health if self._settings.cloud.enabled else None,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set, then until everything received is stored or agent.drain_seconds are over."""
        settings = self._settings
        if self._spool.set_aside is not None:
            log.critical("the spool was damaged and has been set aside", path=str(self._spool.set_aside))
        async with asyncio.TaskGroup() as group:
            link = group.create_task(self._link.run(), name="link")
            pipeline = group.create_task(self._pipeline.run(self._link.ack), name="pipeline")
            others = [
                group.create_task(self._pipeline.recover(), name="recover"),
                group.create_task(supervise("upkeep", self._upkeep.run), name="upkeep"),
                group.create_task(supervise("replay", self._replay.run), name="replay"),
                group.create_task(supervise("requests", self._requests.run), name="requests"),
                group.create_task(supervise("heartbeat", self._beat), name="heartbeat"),
            ]
            if self._reconciler is not None:
                others.append(group.create_task(supervise("credentials", self._reconciler.run), name="credentials"))
            if settings.alerts.enabled:
                others.append(group.create_task(supervise("broker watch", self._watch.run), name="broker watch"))
                others.append(group.create_task(supervise("alerts", self._engine.run), name="alerts"))
            if settings.cloud.enabled:
                others.append(group.create_task(supervise("cloud", self._cloud.run), name="cloud"))
            if self._canary is not None:
                watch = self._watch_canary(self._canary)
                others.append(group.create_task(watch, name="canary"))
            spare_the_collector()
            self._notifier.send("READY=1")
            log.info("agent started", version=VERSION, database=str(settings.target))
            await stop.wait()
            self._notifier.send("STOPPING=1")
            for task in others:
                task.cancel()
            await self._drain(pipeline)
            self._link.disconnect()
            link.cancel()
            await ended([*others, link, pipeline])
        await self._heartbeat.tick()
        save_horizon(settings.agent.state_dir, self._horizon)
        self._spool.close()
        count = self._pipeline.accounting
        log.info("agent stopped", **count.as_dict(), unsettled=count.unsettled())

    def _readings(self) -> Readings:
        return readings(self.observe(), self._watch)

    async def _beat(self) -> None:
        await self._heartbeat.run(self._settings.agent.heartbeat_seconds)

    def _use(self, identity: Identity) -> None:
        """The agent's own logins have changed."""
        self._hide(identity)
        self._link.use(identity.ingest, identity.ingest_password)
        if self._canary is not None:
            self._canary.use(identity.canary, identity.canary_password)

    def _hide(self, identity: Identity) -> None:
        self._redact.know(identity.ingest_password, identity.canary_password, identity.control_password)

    async def _watch_canary(self, canary: Canary) -> None:
        settings = self._settings.canary
        await self._link.subscribed(settings.timeout_seconds)
        await supervise("canary", lambda: canary.run(settings.interval_seconds))

    async def _drain(self, pipeline: "asyncio.Task[None]") -> None:
        """Take no more and store what we hold; what does not make it stays unacknowledged at the broker."""
        self._link.stop_reading()
        self._inbox.close()
        done, _ = await asyncio.wait([pipeline], timeout=self._settings.agent.drain_seconds)
        if not done:
            log.warning("stopping with messages unacknowledged", messages=self._pipeline.pending())
            pipeline.cancel()


async def serve(settings: Settings, dial: Dial | None = None, config_file: Path | None = None) -> None:
    """Run an agent until SIGTERM or SIGINT. dial: how to reach the broker, for benchmarks; by default over TLS.

    config_file: where the settings are from, for processes that need them too.

    Raises:
        ConfigError: something in the settings turned out to be unusable on this machine.
    """
    read_little()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    _make_state_dir(settings)
    names = Names(settings.agent.id, f"{os.getpid()}-{secrets.token_hex(3)}")
    async with AsyncExitStack() as stack:
        try:
            db = await stack.enter_async_context(
                connected(settings.target, names.session_name, settings.database.pool_size)
            )
            # of its own, so that neither waits for the other's connections
            alerts_db = await stack.enter_async_context(
                connected(settings.target, f"iot-alerts {settings.agent.id}", ALERT_CONNECTIONS)
            )
        except Misconfigured as error:
            raise ConfigError(f"database.ca_file: {error}") from error
        try:
            daemon = Daemon(settings, names, db, alerts_db, dial or build.broker_dial(settings), config_file)
        except SpoolError as error:
            raise ConfigError(f"agent.state_dir: {error}") from error
        if settings.http.port:
            stack.callback(_start_web(settings, daemon).stop)
        await daemon.run(stop)


def _make_state_dir(settings: Settings) -> None:
    path = settings.agent.state_dir
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        (path / PID_FILE).write_text(str(os.getpid()))  # so that the doctor finds us; and it shows that we may write
    except OSError as error:
        raise ConfigError(f"agent.state_dir: cannot write to {path}: {error.strerror}") from error


def _start_web(settings: Settings, daemon: Daemon) -> Web:
    try:
        web = Web(settings.http.port, daemon.observe)
    except OSError as error:
        raise ConfigError(f"http.port: cannot listen on 127.0.0.1:{settings.http.port}: {error.strerror}") from error
    web.start()
    return web
