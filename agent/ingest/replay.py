"""Dead letters that a person wants taken again: through the same checks as a message that has just come."""

import asyncio
import time

import structlog

from agent.ingest.delivery import Delivery
from agent.ingest.writer import Writer
from store import dead_letters, members
from store.db import Db
from store.dead_letters import Wanted
from store.errors import StoreError

log = structlog.get_logger()
INTERVAL = 5.0
AT_ONCE = 100
DAY = 86_400.0


class Replay:
    """run() asks for them again and again. Each is stored and marked by itself: what is refused holds up nobody.

    retention_days: what is older would be dropped with its partition at once. It also ends transactions that people
    left open, because a row that they hold could hold up ingest.
    """

    def __init__(self, db: Db, writer: Writer, retention_days: int) -> None:
        self._db = db
        self._writer = writer
        self._retention = retention_days
        self._failing = False

    async def run(self) -> None:
        while True:
            try:
                cut = await members.cut_stuck(self._db)
                if cut:
                    log.warning("sessions of people were ended: they held a transaction open", count=cut)
                done = await self.tick(time.time())
                self._failing = False
            except StoreError as error:
                done = 0
                if not self._failing:
                    log.warning("replay of dead letters failed, trying again", error=str(error))
                self._failing = True
            if done < AT_ONCE:
                await asyncio.sleep(INTERVAL)

    async def tick(self, now: float) -> int:
        """One round; returns how many were taken. Raises StoreError when the database is away."""
        found = await dead_letters.wanted(self._db, AT_ONCE)
        refused = sum([await self._taken(letter, now) for letter in found])
        if found:
            log.info("dead letters taken again", stored=len(found) - refused, refused=refused)
        return len(found)

    async def _taken(self, letter: Wanted, now: float) -> bool:
        """Whether it was refused."""
        reason, detail = await self._refusal(letter, now)
        if not reason:
            await dead_letters.mark_replayed(self._db, letter)
        else:
            await dead_letters.mark_refused(self._db, letter, reason, detail)
        return bool(reason)

    async def _refusal(self, letter: Wanted, now: float) -> tuple[str, str]:
        """(reason, detail) when it cannot be stored, else ("", "")."""
        days = (now - letter.first_at) / DAY
        if days > self._retention:
            return "too-old", f"came {days:.0f} days ago; ingest.retention_days is {self._retention}"
        # since: the first copy may be stored after all, under the bucket of its own time
        delivery = Delivery(letter.topic, letter.payload, letter.qos, None, 0, letter.first_at, letter.first_at)
        try:
            again = await self._writer.write_one(delivery)
        except StoreError as error:
            await self._db.value("select 1")  # away: for all of them. Here: it is this one
            return "refused-by-database", str(error)
        return (again.reason, again.detail) if again is not None else ("", "")
