"""How long the last batches took. Pure."""

from collections import deque


class Latency:
    """The last `size` durations, in seconds."""

    def __init__(self, size: int = 200) -> None:
        self._last: deque[float] = deque(maxlen=size)

    def add(self, seconds: float) -> None:
        self._last.append(seconds)

    def p95_ms(self) -> float | None:
        """95th percentile in milliseconds; None before the first one."""
        if not self._last:
            return None
        ordered = sorted(self._last)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] * 1000
