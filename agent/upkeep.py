"""Partitions made ahead, old ones dropped, history pruned: by one agent at a time."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from agent.config import IngestSettings
from store import alerts, leases, partitions, requests
from store.db import Db
from store.errors import StoreError

log = structlog.get_logger()
LEASE = "upkeep"
INTERVAL = 600.0
RETRY = 15.0


@dataclass(slots=True)
class UpkeepHealth:
    error: str | None = None


class Upkeep:
    """run() repeats tick(); a failure is retried soon and shown in the agent's status."""

    def __init__(self, db: Db, agent_id: str, settings: IngestSettings, alert_days: int) -> None:
        self.health = UpkeepHealth()
        self._db = db
        self._agent_id = agent_id
        self._settings = settings
        self._alert_days = alert_days

    async def run(self) -> None:
        while True:
            try:
                await self.tick(datetime.now(UTC))
                self.health.error = None
            except StoreError as error:
                if self.health.error is None:
                    log.warning("upkeep failed, trying again", error=str(error))
                self.health.error = str(error)
            await asyncio.sleep(RETRY if self.health.error else INTERVAL)

    async def tick(self, now: datetime) -> bool:
        """One round; False when another agent has the duty. Raises StoreError."""
        if await leases.take(self._db, LEASE, self._agent_id, INTERVAL * 2) is None:
            return False
        settings = self._settings
        first = now - timedelta(hours=settings.max_past_hours)
        last = now + timedelta(days=settings.partitions_ahead_days)
        made = await partitions.ensure(self._db, first.date(), last.date())
        if made:
            log.info("partitions made", count=made, up_to=str(last.date()))
        dropped = await partitions.drop_older(self._db, settings.retention_days)
        if dropped:
            log.info("partitions dropped", names=dropped)
        await partitions.prune(self._db, settings.history_days)
        await alerts.prune(self._db, self._alert_days)
        await requests.prune(self._db, settings.history_days)
        return True
