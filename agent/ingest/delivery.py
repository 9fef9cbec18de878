"""One message as the broker delivered it."""

from collections.abc import Sequence
from typing import NamedTuple


class Delivery(NamedTuple):
    """A message in our hands. A NamedTuple, because a hundred thousand are made a second.

    packet_id is None at QoS 0, from the spool, and for whatever needs no acknowledgement; epoch is
    the connection it came on. Times are seconds since 1970, by the agent's clock. since is set when the
    message may have been delivered before: the first copy came at that time or later.
    """

    topic: str
    payload: bytes
    qos: int
    packet_id: int | None
    epoch: int
    received_at: float
    since: float | None

    @property
    def size(self) -> int:
        """Bytes, for limits; headers and the topic's encoding do not matter for those."""
        return len(self.payload) + len(self.topic)

    @property
    def first_copy_at(self) -> float:
        """The earliest time at which this message can have arrived: now, or as a copy before."""
        return self.received_at if self.since is None else self.since


def total_size(deliveries: Sequence[Delivery]) -> int:
    """Sum of their sizes; spelled out, because it is asked for every message twice."""
    return sum([len(d[1]) + len(d[0]) for d in deliveries])
