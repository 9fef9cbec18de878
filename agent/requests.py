"""Takes what people ask of this agent, one after the other, and writes down what came of it."""

import asyncio
from dataclasses import asdict

import structlog

from agent.duties import Duties
from probes.actions import ACTIONS
from probes.finding import failed
from store import requests
from store.db import Db
from store.errors import Rejected, StoreError
from store.requests import Taken

log = structlog.get_logger()
POLL_SECONDS = 1.0
TOLD_ATTEMPTS = 30  # a result is worth waiting for a database that is away for a moment


class Requests:
    """run() never ends. A request is performed at most once: it is marked before it is begun."""

    def __init__(self, db: Db, agent_id: str, duties: Duties) -> None:
        self._db = db
        self._agent_id = agent_id
        self._duties = duties
        self._begun = False

    async def run(self) -> None:
        while True:
            try:
                if not self._begun:
                    await requests.begin(self._db, self._agent_id)
                    self._begun = True
                if await self.tick():
                    continue
            except StoreError as error:  # one may have been taken, and its answer lost
                log.debug("requests cannot be read", error=str(error))
                self._begun = False
            await asyncio.sleep(POLL_SECONDS)

    async def tick(self) -> bool:
        """One request; whether there was one. Raises StoreError."""
        taken = await requests.take(self._db, self._agent_id)
        if taken is None:
            return False
        if taken.name in ACTIONS and not taken.changes:
            state, found = "refused", failed("an action has to be asked for as one, so that it is written down")
        else:
            state, found = await self._duties.perform(taken.name, taken.args)
        say = log.warning if taken.name in ACTIONS else log.info
        say(
            "asked by a person", name=taken.name, args=taken.args, by=taken.requested_by, state=state, found=found.found
        )
        await self._tell(taken, state, asdict(found))
        return True

    async def _tell(self, taken: Taken, state: str, found: dict[str, str]) -> None:
        for _ in range(TOLD_ATTEMPTS):
            try:
                await requests.finish(self._db, taken.request_id, state, found)
                return
            except Rejected as error:
                log.error("a result cannot be written down", name=taken.name, error=str(error))
                found = {"outcome": found["outcome"], "found": "done, but its result cannot be stored", "evidence": ""}
            except StoreError as error:
                log.warning("a result could not be written down, trying again", name=taken.name, error=str(error))
            await asyncio.sleep(POLL_SECONDS)
        self._begun = False  # what is still marked as running is nobody's any more
