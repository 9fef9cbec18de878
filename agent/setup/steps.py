"""What an installation consists of, as data. Pure: what is done with it is agent.setup.perform."""

from dataclasses import dataclass
from enum import StrEnum

ROOT = "root"


class Outcome(StrEnum):
    """KEPT: somebody's own file, which is not ours to change. DIFFERS: the same, and this version ships another one."""

    DONE = "done"
    SAME = "same"
    KEPT = "kept"
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Folder:
    """owner and group: names of users. A folder that is there gets mode and owner, and keeps what is in it."""

    path: str
    mode: int
    owner: str = ROOT
    group: str = ROOT

    @property
    def words(self) -> str:
        return f"directory {self.path} ({self.owner}:{self.group}, {self.mode:o})"


@dataclass(frozen=True, slots=True)
class Text:
    """A file. keep: it belongs to people once it is there; otherwise it is ours and replaced."""

    path: str
    text: str
    mode: int = 0o644
    keep: bool = False

    @property
    def words(self) -> str:
        return f"file {self.path} ({self.mode:o})"


@dataclass(frozen=True, slots=True)
class Link:
    path: str
    target: str

    @property
    def words(self) -> str:
        return f"link {self.path} -> {self.target}"


@dataclass(frozen=True, slots=True)
class Gone:
    """A file, link or empty directory that has to be away; whole: a directory with all that is in it."""

    path: str
    whole: bool = False

    @property
    def words(self) -> str:
        return f"remove {self.path}"


@dataclass(frozen=True, slots=True)
class Command:
    """An argv. needed: whether the machine lacks what it brings about."""

    argv: tuple[str, ...]
    needed: bool = True

    @property
    def words(self) -> str:
        return " ".join(self.argv)


Step = Folder | Text | Link | Gone | Command
