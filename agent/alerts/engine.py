"""The alerting of one agent: measure, evaluate at the slots, tell people. run() never ends and needs no database."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from agent.alerts import judge
from agent.alerts.book import Book
from agent.alerts.channels import Channel, DeliveryError, ping
from agent.alerts.clerk import Clerk
from agent.alerts.dispatcher import Dispatcher
from agent.alerts.evaluator import Evaluator
from agent.alerts.history import History, Readings
from agent.alerts.loader import Loader
from agent.alerts.slots import Slots
from agent.alerts.sources import Limits, Sources
from alerting.catalogue import Scope
from store import alert_rules, alerts
from store.db import Db
from store.deadline import within
from store.errors import StoreError

log = structlog.get_logger()
FILE_SECONDS = 2.0
CLOCK_SECONDS = 60.0
DATABASE_SECONDS = 10.0
LISTEN_AGAIN_SECONDS = 2.0
OWN_LABELS = {"cert.days_left": "certificate"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What the settings say of alerting. Durations are seconds."""

    sample_seconds: float
    tick_seconds: float
    direct_after: float
    limits: Limits
    ping_url: str | None = None
    ping_seconds: float = 60.0
    ping_ca: Path | None = None


@dataclass(slots=True)
class AlertHealth:
    """For the status row. evaluated_at: when rules were last evaluated, seconds since 1970. missed: slots left out.

    database_up: None before the first answer.
    """

    evaluated_at: float | None = None
    rules: int = 0
    firing: int = 0
    missed: int = 0
    database_up: bool | None = None
    database_error: str | None = None
    config_error: str | None = None
    failing_rules: int = 0
    refusing_rules: int = 0
    undelivered: int = 0
    delivery_error: str | None = None


class Engine:
    """observe() gives the agent's own measurements; it is called every sample_seconds and must not block."""

    def __init__(
        self, db: Db, agent_id: str, loader: Loader, state_dir: Path, channels: Mapping[str, Channel],
        observe: Callable[[], Readings], plan: Plan,
    ) -> None:  # fmt: skip
        self.health = AlertHealth()
        self._db = db
        self._agent_id = agent_id
        self._loader = loader
        self._observe = observe
        self._plan = plan
        self._book = Book(state_dir)
        self._history = History(agent_id, OWN_LABELS)
        self._evaluator = Evaluator(db, agent_id, self._book)
        self._dispatcher = Dispatcher(db, agent_id, self._book, channels, min(5.0, plan.tick_seconds * 5))
        self._clerk = Clerk(db, agent_id, loader, self._book, self._evaluator, self._dispatcher, self._sources)
        self._slots = Slots()
        self._offset = 0.0  # database clock minus ours
        self._away_since: float | None = None
        self._telling = asyncio.Lock()  # either through the database or directly, never both at once
        self._wake = asyncio.Event()

    async def run(self) -> None:
        self._loader.read_file()
        await self._adopt()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sample(), name="alert samples")
            group.create_task(self._listen(), name="alert hints")
            group.create_task(self._own_rules(), name="own alerts")
            group.create_task(self._database(), name="alerts in the database")
            group.create_task(self._tell_directly(), name="direct notifications")
            if self._plan.ping_url is not None:
                group.create_task(self._ping(self._plan.ping_url), name="outside watcher")

    def now(self) -> float:
        """The database's clock, as far as we know it, so that all agents have the same slots."""
        return time.time() + self._offset

    def _sources(self, slot: float) -> Sources:
        return Sources(self._db, self._history, self._plan.limits, slot)

    async def _adopt(self) -> None:
        """A new disk for an old agent: what the database knows of it goes on."""
        if not self._book.fresh:
            return
        with contextlib.suppress(StoreError):
            for key, evaluator in await within(5.0, alerts.keys_besides(self._db, [self._agent_id], [])):
                known = await alerts.instances(self._db, key, evaluator)
                self._book.pages.memories[key] = judge.memory_from(known, None, ())

    async def _sample(self) -> None:
        while True:
            self._history.add(self.now(), {**self._observe(), **self._readings()})
            await asyncio.sleep(self._plan.sample_seconds)

    def _readings(self) -> Readings:
        health = self.health
        return {
            ("agent.alerts.failing", None): float(health.failing_rules),
            ("agent.alerts.degraded", None): float(health.refusing_rules),
            ("agent.alerts.config_stale", None): float(health.config_error is not None),
            ("agent.notify.failing", None): float(health.undelivered),
        }

    # -- rules about this agent; people are told directly while the database is away

    async def _own_rules(self) -> None:
        looked_at = time.monotonic()
        while True:
            if time.monotonic() - looked_at > FILE_SECONDS:
                looked_at = time.monotonic()
                self._loader.read_file()
            rules = [rule for rule in self._loader.in_force.all() if rule.scope is Scope.AGENT]
            for slot, members in self._slots.due(rules, self.now()):
                for runtime in await self._evaluator.own(members, self._sources(slot)):
                    self._clerk.runtimes[runtime.rule_key] = runtime
                self.health.evaluated_at = time.time()
            self._report()
            await asyncio.sleep(self._plan.tick_seconds)

    async def _tell_directly(self) -> None:
        while True:
            await asyncio.sleep(self._plan.tick_seconds)
            if self._away_since is not None and time.monotonic() - self._away_since >= self._plan.direct_after:
                async with self._telling:
                    await self._dispatcher.direct(self._loader.in_force.file, self.now())

    # -- rules about the database, and everything that goes through it

    async def _database(self) -> None:
        clock_at = float("-inf")
        while True:
            try:
                async with self._telling:
                    if time.monotonic() - clock_at > CLOCK_SECONDS:
                        self._offset = await within(DATABASE_SECONDS, alerts.clock(self._db)) - time.time()
                        clock_at = time.monotonic()
                    await within(DATABASE_SECONDS, self._clerk.round(self.now()))
                self._back()
            except StoreError as error:
                self._away(error)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._plan.tick_seconds):
                    await self._wake.wait()

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(StoreError):
                async with self._db.hints(alert_rules.CHANNEL, alerts.CHANNEL) as hints:
                    while await hints.wait():
                        self._clerk.hinted = True
                        self._wake.set()
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)

    def _away(self, error: StoreError) -> None:
        if self._away_since is None:
            self._away_since = time.monotonic()
            log.warning("alerts go on without the database", error=str(error))
        self.health.database_up, self.health.database_error = False, str(error)

    def _back(self) -> None:
        if self._away_since is not None:
            log.info("alerts reach the database again")
        self._away_since = None
        self.health.database_up, self.health.database_error = True, None

    # -- what others see

    def _report(self) -> None:
        health, rules = self.health, self._evaluator.health
        health.rules = sum(1 for _ in self._loader.in_force.all())
        health.missed = self._slots.missed + self._clerk.slots.missed
        health.config_error = self._loader.in_force.error
        health.failing_rules = len(rules.errors)
        health.refusing_rules = sum(1 for count in rules.refused.values() if count)
        health.undelivered = self._dispatcher.health.failing
        health.delivery_error = self._dispatcher.health.error
        memories = self._book.pages.memories.values()
        health.firing = sum(found.state == "firing" for memory in memories for found in memory.instances.values())

    async def _ping(self, url: str) -> None:
        """Says outside that alerts are evaluated; its silence is the alert that this machine cannot send itself."""
        failed = False
        while True:
            await asyncio.sleep(self._plan.ping_seconds)
            if time.time() - (self.health.evaluated_at or 0.0) > 2 * self._plan.ping_seconds:
                continue
            try:
                await ping(url, self._plan.ping_ca)
                failed = False
            except DeliveryError as error:
                if not failed:
                    log.warning("the outside watcher cannot be reached", error=str(error))
                failed = True
