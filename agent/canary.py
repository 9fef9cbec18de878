"""A message through broker and table, again and again: liveness is progress, not "connected"."""

import asyncio
import time
from dataclasses import dataclass, replace

import orjson
import structlog

from agent.ingest.decode import moment
from agent.ingest.topics import TopicTemplate
from agent.turn import Turn
from probes.broker import BrokerError, BrokerLogin
from probes.catalogue import Probe
from probes.mqtt import publish
from store import telemetry
from store.db import Db
from store.deadline import within
from store.errors import StoreError, TooSlow
from store.message import message_hash

log = structlog.get_logger()
POLL_SECONDS = 0.1
PLATFORM_TENANT_ID = 0


@dataclass(slots=True)
class CanaryHealth:
    """Result of the last round. round_trip_ms is set after a success; error names the part that failed."""

    round_trip_ms: float | None = None
    at: float | None = None
    error: str | None = None


class Canary:
    """Publishes as tenant "platform", device "canary", with its own time, so that its row has a known key.

    turn: whose turn it is to be that device.
    """

    def __init__(
        self,
        db: Db,
        login: BrokerLogin,
        template: TopicTemplate,
        agent_id: str,
        bucket_seconds: int,
        timeout: float,
        turn: Turn,
    ) -> None:
        self.health = CanaryHealth()
        self._db = db
        self._login = login
        self._topic = template.topic("platform", "canary", "up")
        self._agent_id = agent_id
        self._bucket_seconds = bucket_seconds
        self._timeout = timeout
        self._turn = turn

    @property
    def probe(self) -> Probe:
        """The device that it publishes as."""
        return Probe("platform", "canary", self._login, self._topic.rpartition("/")[0], self._turn)

    def use(self, username: str, password: str) -> None:
        """Log in as somebody else from now on."""
        self._login = replace(self._login, username=username, password=password)

    async def run(self, interval: float) -> None:
        while True:
            await self.round()
            await asyncio.sleep(interval)

    async def round(self) -> None:
        """One message there and back; the result is in health."""
        began = time.time()
        payload = orjson.dumps({"ts": began, "agent": self._agent_id})
        error = None
        try:
            async with self._turn:
                await publish(self._login, self._topic, payload, self._timeout)
            await within(self._timeout, self._arrival(began, message_hash(self._topic, payload)))
        except BrokerError as failure:
            error = f"publish: {failure}"
        except TooSlow:
            error = f"no row within {self._timeout:.0f} s"
        except StoreError as failure:
            error = f"read back: {failure}"
        except Exception as failure:  # nobody expected it: the loop logs it in full and begins again
            self._concluded(began, f"{type(failure).__name__}: {failure}")
            raise
        self._concluded(began, error)

    def _concluded(self, began: float, error: str | None) -> None:
        if error != self.health.error:
            log.info("canary arrives again") if error is None else log.error("canary lost", error=error)
        self.health = CanaryHealth(None if error else (time.time() - began) * 1000, time.time(), error)

    async def _arrival(self, sent_at: float, msg_hash: int) -> None:
        bucket = moment(sent_at // self._bucket_seconds * self._bucket_seconds)
        while not await telemetry.holds(self._db, PLATFORM_TENANT_ID, [bucket], msg_hash):
            await asyncio.sleep(POLL_SECONDS)
