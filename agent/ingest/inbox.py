"""Deliveries between the connection and the writer: batches by rows, bytes and linger."""

import asyncio
from contextlib import suppress

from agent.ingest.delivery import Delivery, total_size


class Inbox:
    """One producer, one consumer, no lock: both run in the event loop.

    Holds no more than the connection is allowed to have unacknowledged; `bytes` tells the connection
    when to stop reading.
    """

    def __init__(self, batch_rows: int, batch_bytes: int, linger_seconds: float) -> None:
        self._batch_rows = batch_rows
        self._batch_bytes = batch_bytes
        self._linger = linger_seconds
        self._items: list[Delivery] = []
        self._some = asyncio.Event()
        self._full = asyncio.Event()
        self._closed = False
        self._first_at = 0.0  # event loop time at which the oldest item began to wait
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def oldest(self) -> float | None:
        """Arrival of the oldest first copy of anything in here, seconds since 1970."""
        return min((delivery.first_copy_at for delivery in self._items), default=None)

    def put(self, deliveries: list[Delivery], size: int) -> None:
        """Append deliveries of together `size` bytes."""
        if not self._items:
            self._first_at = asyncio.get_running_loop().time()
        self._items += deliveries
        self.bytes += size
        self._signal()

    def drop(self, epoch: int) -> int:
        """Forget what a connection that is gone delivered: the broker will deliver it again. Returns how many."""
        kept = [delivery for delivery in self._items if delivery.epoch != epoch]
        dropped = len(self._items) - len(kept)
        self._items = kept
        self.bytes = total_size(kept)
        self._signal()
        return dropped

    def close(self) -> None:
        """No more will come: hand out what is left without lingering, then empty batches."""
        self._closed = True
        self._signal()

    async def take(self) -> list[Delivery]:
        """The next batch, oldest first. Empty only after close()."""
        await self._some.wait()
        while not self._full.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._first_at + self._linger):
                    await self._full.wait()
            if self._items:
                break
            await self._some.wait()
        count = self._batch_size()
        batch, self._items = self._items[:count], self._items[count:]
        self.bytes = self.bytes - total_size(batch) if self._items else 0
        self._signal()
        return batch

    def _batch_size(self) -> int:
        """As many as fit the row and byte limits, at least one."""
        if self.bytes <= self._batch_bytes:
            return self._batch_rows
        total = 0
        for count, delivery in enumerate(self._items[: self._batch_rows]):
            total += delivery.size
            if total > self._batch_bytes:
                return max(count, 1)
        return self._batch_rows

    def _signal(self) -> None:
        _set(self._some, bool(self._items) or self._closed)
        _set(self._full, self._closed or len(self._items) >= self._batch_rows or self.bytes >= self._batch_bytes)


def _set(event: asyncio.Event, value: bool) -> None:
    if value:
        event.set()
    else:
        event.clear()
