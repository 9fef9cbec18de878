"""Counts of what became of every delivery. Pure."""

from dataclasses import dataclass, fields


@dataclass(slots=True)
class Accounting:
    """Counts since the start of the process. Mutable on purpose: one instance, one writer, the ingest pipeline.

    A delivery is received once and then settled once: stored, duplicate, dead letter, spooled, or dropped
    unacknowledged because its connection is gone. What the spool gives back is settled a second time, on its own.
    """

    received: int = 0
    inserted: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    spooled: int = 0
    dropped: int = 0
    drained: int = 0
    drained_inserted: int = 0
    drained_duplicates: int = 0
    drained_dead_letters: int = 0
    unprotected: int = 0  # of received: QoS 0, which no acknowledgement protects
    batches: int = 0
    errors: int = 0

    def unsettled(self) -> int:
        """Deliveries still in our hands: equals what inbox and current batch hold, and is never negative."""
        settled = self.inserted + self.duplicates + self.dead_letters + self.spooled + self.dropped
        return self.received - settled

    def drain_balance(self) -> int:
        """Always 0 between two drained batches."""
        return self.drained - self.drained_inserted - self.drained_duplicates - self.drained_dead_letters

    def as_dict(self) -> dict[str, int]:
        return {f.name: getattr(self, f.name) for f in fields(self)}
