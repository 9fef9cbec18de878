"""The heart: take a batch, store it or spool it, then acknowledge. The order of effects is the contract.

Nothing is acknowledged before it is committed in PostgreSQL or fsynced in the spool. A batch that can be put in
neither is held, and with it everything behind it: the broker keeps the rest.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from agent.ingest.accounting import Accounting
from agent.ingest.delivery import Delivery
from agent.ingest.inbox import Inbox
from agent.ingest.latency import Latency
from agent.ingest.spool import Spool, SpoolDamagedError, SpoolFullError
from agent.ingest.writer import Outcome, Writer
from store.deadline import within
from store.errors import Misconfigured, StoreError, TooSlow
from store.message import message_hash

log = structlog.get_logger()
FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0
NOTHING = Outcome(0, 0, 0)


@dataclass(frozen=True, slots=True)
class DrainLimit:
    """How much of the spool is moved at once: halved when the database is too slow for it, doubled when it is not."""

    rows: int = 2000
    bytes: int = 4 * 2**20

    def smaller(self) -> "DrainLimit":
        return DrainLimit(max(1, self.rows // 2), max(2**16, self.bytes // 2))

    def larger(self) -> "DrainLimit":
        return DrainLimit(min(DRAIN_LIMIT.rows, self.rows * 2), min(DRAIN_LIMIT.bytes, self.bytes * 2))


DRAIN_LIMIT = DrainLimit()
LONGEST_OUTAGE = 300 * 86_400.0


@dataclass(slots=True)
class Health:
    """What the pipeline knows of its own state. Times are seconds since 1970."""

    database_error: str | None = None
    spool_error: str | None = None
    last_message_at: float | None = None
    last_commit_at: float | None = None
    holding_since: float | None = None  # a batch that can neither be stored nor spooled


class Pipeline:
    """Runs two loops: run() for what arrives, recover() for what was spooled.

    write_timeout: seconds one batch may take in the database before it goes to the spool.
    """

    def __init__(self, inbox: Inbox, writer: Writer, spool: Spool, write_timeout: float) -> None:
        self.accounting = Accounting()
        self.health = Health()
        self.latency = Latency()
        self._inbox = inbox
        self._writer = writer
        self._spool = spool
        self._write_timeout = write_timeout
        self._away = asyncio.Event()  # set: the database does not take writes, everything goes to the spool
        self._current: Sequence[Delivery] = ()
        self._progress_at = time.monotonic()
        self._drain_limit = DRAIN_LIMIT
        self._hurry = asyncio.Event()

    # -- agent.ingest.session.Receiver

    def received(self, deliveries: list[Delivery], size: int) -> None:
        if not self.pending():
            self._progress_at = time.monotonic()
        self.accounting.received += len(deliveries)
        self.accounting.unprotected += sum(d.packet_id is None for d in deliveries)
        self.health.last_message_at = deliveries[-1].received_at
        self._inbox.put(deliveries, size)

    def lost(self, epoch: int) -> None:
        self.accounting.dropped += self._inbox.drop(epoch)

    def settled_before(self) -> float:
        waiting = [delivery.first_copy_at for delivery in self._current]
        oldest = self._inbox.oldest()
        return min([time.time(), *waiting, *([] if oldest is None else [oldest])])

    # -- state

    def pending(self) -> int:
        """Deliveries in our hands; always equal to accounting.unsettled()."""
        return len(self._inbox) + len(self._current)

    def unsettled_for(self) -> float:
        """Seconds since the first of what we hold came into our hands; 0 when we hold nothing."""
        return 0.0 if not self.pending() else time.monotonic() - self._progress_at

    def hurry(self) -> None:
        """Do not wait any longer: ask the database again at once."""
        self._hurry.set()

    # -- loops

    async def run(self, ack: Callable[[Sequence[Delivery]], None]) -> None:
        """Until the inbox is closed and empty."""
        while batch := await self._inbox.take():
            self._current = batch
            self._progress_at = time.monotonic()
            await self._settle(batch)
            self._current = ()
            ack(batch)
            self._progress_at = time.monotonic()

    async def recover(self) -> None:
        """Wait until the database answers again, empty the spool in order, and begin anew. Never returns."""
        failures = 0
        while True:
            if not self._spool.rows:
                await self._away.wait()
            try:
                await self._drain_step()
                failures = 0
                continue
            except TooSlow as error:  # perhaps too much at once; live traffic finds out by itself whether it is away
                self._drain_limit = self._drain_limit.smaller()
                log.warning("draining the spool is slow", error=str(error), rows_at_once=self._drain_limit.rows)
            except StoreError as error:
                self._note_away(error)
            except SpoolDamagedError as error:
                self._set_spool_aside(error)
            except SpoolFullError as error:  # no room even to remove: what was moved is moved again, as duplicates
                log.error("spool cannot be emptied", error=str(error))
            self._hurry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff(failures)):
                    await self._hurry.wait()
            failures += 1

    async def _drain_step(self) -> None:
        """Move one batch from the spool to the database; with an empty spool, just see whether it answers."""
        batch = await self._spool.oldest(self._drain_limit.rows, self._drain_limit.bytes)
        if batch is None:
            await within(self._write_timeout, self._writer.probe())
            self._note_back()
            return
        now = time.time()
        outcome = await self._timed_write([with_sane_arrival(d, now) for d in batch.deliveries])
        self._note_back()
        self._drain_limit = self._drain_limit.larger()
        await self._spool.remove(batch)
        count = self.accounting
        count.drained += len(batch.deliveries)
        count.drained_inserted += outcome.inserted
        count.drained_duplicates += outcome.duplicates
        count.drained_dead_letters += outcome.dead_letters
        if not self._spool.rows:
            log.info("spool drained", drained=count.drained)

    def _set_spool_aside(self, error: SpoolDamagedError) -> None:
        path = self._spool.replace()
        log.critical("the spool was damaged and has been set aside", error=str(error), path=str(path))

    async def _settle(self, batch: Sequence[Delivery]) -> None:
        failures = 0
        while not await self._stored(batch) and not await self._spooled(batch):
            if self.health.holding_since is None:
                self.health.holding_since = time.time()
                log.critical("ingest is held: neither database nor spool takes a batch", messages=len(batch))
            await asyncio.sleep(backoff(failures))
            failures += 1
        if self.health.holding_since is not None:
            log.info("ingest goes on", held_seconds=round(time.time() - self.health.holding_since, 1))
            self.health.holding_since = None

    async def _stored(self, batch: Sequence[Delivery]) -> bool:
        if self._away.is_set() and self.health.spool_error is None:
            return False
        wanted = await self._not_in_spool(batch)
        try:
            outcome = await self._timed_write(wanted) if wanted else NOTHING
        except StoreError as error:
            self._note_away(error)
            return False
        if wanted:
            self._note_back()
        self.accounting.inserted += outcome.inserted
        self.accounting.duplicates += outcome.duplicates + len(batch) - len(wanted)
        self.accounting.dead_letters += outcome.dead_letters
        return True

    async def _spooled(self, batch: Sequence[Delivery]) -> bool:
        wanted = await self._not_in_spool(batch)
        try:
            await self._spool.append(wanted)
        except SpoolDamagedError as error:
            self._set_spool_aside(error)
            return False
        except SpoolFullError as error:
            if self.health.spool_error is None:
                log.critical("spool takes no more", error=str(error))
            self.health.spool_error = str(error)
            return False
        self.health.spool_error = None
        self._away.set()  # also when it came back meanwhile: recover() may have seen the spool empty, and sleep
        self.accounting.spooled += len(wanted)
        self.accounting.duplicates += len(batch) - len(wanted)
        return True

    async def _not_in_spool(self, batch: Sequence[Delivery]) -> Sequence[Delivery]:
        """The batch without redelivered messages whose first copy still waits in the spool."""
        if not self._spool.rows:
            return batch
        suspects = {id(d): message_hash(d.topic, d.payload) for d in batch if d.since is not None}
        since = min((min(d.since, d.received_at) for d in batch if d.since is not None), default=0.0)
        try:
            known = await self._spool.holding(set(suspects.values()), since)
        except SpoolDamagedError as error:
            self._set_spool_aside(error)
            return batch
        return [d for d in batch if suspects.get(id(d)) not in known] if known else batch

    async def _timed_write(self, batch: Sequence[Delivery]) -> Outcome:
        began = time.perf_counter()
        outcome = await within(self._write_timeout, self._writer.write(batch))
        self.latency.add(time.perf_counter() - began)
        self.accounting.batches += 1
        self.health.last_commit_at = time.time()
        return outcome

    def _note_away(self, error: StoreError) -> None:
        self.accounting.errors += 1
        if not self._away.is_set() or self.health.database_error != str(error):
            event = "database refuses us" if isinstance(error, Misconfigured) else "database away"
            log.error(event, error=str(error), spool_rows=self._spool.rows)
        self.health.database_error = str(error)
        self._away.set()

    def _note_back(self) -> None:
        if self._away.is_set():
            log.info("database back", spool_rows=self._spool.rows)
        self.health.database_error = None
        self.health.spool_error = None  # not needed now; the next time it is, it will say so itself
        self._away.clear()


def with_sane_arrival(delivery: Delivery, now: float) -> Delivery:
    """A spooled delivery whose arrival was measured by a clock that was far off gets the time of now: no partition
    will ever exist for the other, and it would hold up everything behind it."""
    if now - LONGEST_OUTAGE < delivery.received_at <= now + 60:
        return delivery
    return delivery._replace(received_at=now)


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: full jitter, so that many agents do not come back as one."""
    return random.uniform(0, min(LONGEST_DELAY, FIRST_DELAY * 2 ** min(failures, 10)))
