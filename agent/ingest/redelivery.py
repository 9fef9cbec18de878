"""How far back the first copy of a redelivered message can be. Pure.

A message without a time of its own gets the bucket of its arrival, so its second delivery gets another one. Such a
copy has to be looked for among the rows stored since the horizon: nothing older can still come again.
"""

from dataclasses import dataclass

GRACE_SECONDS = 60.0  # a broker redelivers right after it accepted the connection; by then all of it has come
IN_DOUBT_SECONDS = 30.0  # after a resumed connect: what a broker sends again after a crash, it does not mark as such
STEP_SECONDS = 1.0  # between two looks; a clock that is only corrected moves by milliseconds
UNKNOWN_PAST_SECONDS = 3600.0  # looked back when no horizon was saved: a new or lost state directory


@dataclass(slots=True)
class Horizon:
    """Nothing that arrived before `at` will be delivered again. Saved across restarts; seconds since 1970.

    broker_memory: how old the state may be that a crashed broker comes back with, in seconds.
    """

    at: float
    broker_memory: float
    _clock: float | None = None  # how far the wall clock was ahead of the steady one
    _held_until: float = 0.0  # by the steady one

    def advance(self, now: float, steady: float, connected_at: float | None, confirmed: float | None) -> None:
        """Move on, unless redeliveries of an earlier connection can still be on their way.

        Args:
            steady: seconds of a clock that nobody sets. When the other one was set forward, what has just arrived looks
                old: then the horizon stays until the broker cannot remember it any more.
            connected_at: since when the connection stands; None while there is none.
            confirmed: everything that arrived before this was settled, and the broker has read our acknowledgement:
                it answered a ping that was sent after it. None when there is no answer yet.
        """
        if self._clock is not None and now - steady - self._clock > STEP_SECONDS:
            self._held_until = steady + self.broker_memory + GRACE_SECONDS
        self._clock = now - steady
        settled = connected_at is not None and now - connected_at >= GRACE_SECONDS and steady >= self._held_until
        if settled and confirmed is not None:
            self.at = max(self.at, confirmed - self.broker_memory)
        self.at = min(self.at, now - self.broker_memory)  # a clock that was ahead must not leave us blind


def first_horizon(now: float, saved: float | None, broker_memory: float) -> Horizon:
    """The horizon to start with."""
    return Horizon(min(now - broker_memory, saved) if saved is not None else now - UNKNOWN_PAST_SECONDS, broker_memory)
