"""Dead letters that a person wants taken again: through the same checks as a message that has just come."""

import asyncio

import structlog

from agent.ingest.delivery import Delivery
from agent.ingest.writer import Writer
from store import dead_letters
from store.db import Db
from store.errors import StoreError

log = structlog.get_logger()
INTERVAL = 5.0
AT_ONCE = 100


class Replay:
    """run() asks for them again and again. One message a write: what is refused again must not hold up the next."""

    def __init__(self, db: Db, writer: Writer) -> None:
        self._db = db
        self._writer = writer
        self._failing = False

    async def run(self) -> None:
        while True:
            try:
                done = await self.tick()
                self._failing = False
            except StoreError as error:
                done = 0
                if not self._failing:
                    log.warning("replay of dead letters failed, trying again", error=str(error))
                self._failing = True
            if done < AT_ONCE:
                await asyncio.sleep(INTERVAL)

    async def tick(self) -> int:
        """One round; returns how many were taken. Raises StoreError: the rest is taken next time."""
        found = await dead_letters.wanted(self._db, AT_ONCE)
        stored: list[int] = []
        refused: list[int] = []
        for letter in found:
            # since: the first copy may be stored after all, under the bucket of its own time
            first = letter.first_at
            delivery = Delivery(letter.topic, letter.payload, letter.qos, None, 0, first, first)
            outcome = await self._writer.write([delivery])
            (refused if outcome.dead_letters else stored).append(letter.dead_letter_id)
        if stored:
            await dead_letters.mark_replayed(self._db, stored)
        if refused:
            await dead_letters.mark_refused(self._db, refused)
        if found:
            log.info("dead letters taken again", stored=len(stored), refused=len(refused))
        return len(found)
