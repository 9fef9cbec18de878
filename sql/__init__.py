"""Our SQL files as data: numbered migrations, and the whole schema as it stands."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
FILE_NAME = re.compile(r"(?P<number>\d{4})_(?P<name>[a-z0-9_]+)\.sql")
NO_TRANSACTION = "-- no-transaction"


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def transactional(self) -> bool:
        """False for files that start with `-- no-transaction`, such as CREATE INDEX CONCURRENTLY."""
        return not self.text.startswith(NO_TRANSACTION)


def migrations(directory: Path = HERE) -> tuple[Migration, ...]:
    """All migrations of a directory in order. Raises ValueError on a gap, a twin or a stray number."""
    found = []
    for path in sorted(directory.glob("[0-9]*.sql")):
        match = FILE_NAME.fullmatch(path.name)
        if match is None:
            raise ValueError(f"{path.name}: a migration is named NNNN_words.sql")
        found.append(Migration(int(match["number"]), match["name"], path.read_text()))
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"migrations must be numbered 0001, 0002, ...: found {[m.number for m in found]}")
    return tuple(found)


def schema() -> str:
    """The whole schema of today; a test proves that the migrations end where it stands."""
    return (HERE / "schema.sql").read_text()
