"""Who logs in, read from the broker's own log. Pure.

Mosquitto reports every login on $SYS/broker/log/N. The logins of our sets stand in the same stream, so each device's
login is known to belong to the set that was in force then, without comparing clocks.
"""

import re

LOGIN = re.compile(r"(?:\S+: )?New client connected from \S+ as .* \(p\d, c\d, k\d+, u'([^']+)'\)\.")
SET = re.compile(r"_set-(\d+)")
DEVICE = re.compile(r"[a-z0-9-]+/devices/[a-z0-9-]+(/b)?")
FILE_ERROR = re.compile(r"Error.*(acl|passw|Invalid line|plugin)", re.IGNORECASE)
MOST_ERRORS = 20


class LoginLog:
    """Logins since the last flush, and complaints about files."""

    def __init__(self) -> None:
        self.generation = 0
        self.errors: list[str] = []
        self._seen: set[tuple[str, int]] = set()

    def take(self, text: str) -> None:
        """One line of the broker's log."""
        found = LOGIN.fullmatch(text)
        if found is None:
            if FILE_ERROR.search(text) and len(self.errors) < MOST_ERRORS:
                self.errors.append(text)
            return
        name = found[1]
        if number := SET.fullmatch(name):
            self.generation = int(number[1])
        elif DEVICE.fullmatch(name) and self.generation:
            self._seen.add((name, self.generation))

    def flush(self) -> list[tuple[str, int]]:
        """(user name, set in force) pairs, each once; they are forgotten here."""
        seen, self._seen = self._seen, set()
        return sorted(seen)

    def put_back(self, logins: list[tuple[str, int]]) -> None:
        """They could not be stored yet."""
        self._seen.update(logins)
