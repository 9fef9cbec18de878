"""What can go wrong with the database, split by who must react.

StoreError
├── Unavailable       nobody: try again later; the outcome of a write in flight is unknown
│   └── TooSlow       the caller: try again with less
├── Misconfigured     an engineer: it will not get better by itself
│   └── Denied        the person: this login may not do that
├── Rejected          the caller: this data will never be stored
├── NoPartition       the caller: make the partition, then try again
└── Conflict          the person: the request is understood and cannot be done; the message says why
"""


class StoreError(Exception):
    """Base of all errors of this package; the message is fit for an operator."""


class Unavailable(StoreError):
    """The database cannot answer now."""


class TooSlow(Unavailable):
    """The statement ran into a time limit."""


class Misconfigured(StoreError):
    """The database answers and refuses us: wrong password, missing right, missing table, wrong certificate."""


class Denied(Misconfigured):
    """The right is missing."""


class Rejected(StoreError):
    """The database will never take this value.

    Attributes:
        sqlstate: five characters, class 22, 23 or 54; empty when the driver refused the value.
    """

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class NoPartition(StoreError):
    """A row belongs to a day that has no partition."""


class Conflict(StoreError):
    """Exists already, is unknown, or was changed by somebody else."""
