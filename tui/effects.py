"""What a pane wants to happen when a key was pressed. The app performs it; panes only say it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from store.db import Db


class Level(IntEnum):
    """How dearly one may regret it, and so how it is asked."""

    UNDOABLE = 0  # no question, `u` takes it back
    NOTICED = 1  # y
    OUTAGE = 2  # type the name, or the number of many
    DESTROYS = 3  # the same, and five seconds to think again


@dataclass(frozen=True, slots=True)
class Secret:
    """Shown once. name: what it opens."""

    name: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, in a sentence. undo: takes it back. then: what follows, such as a form again after a conflict."""

    text: str
    undo: "Write | None" = None
    secrets: tuple[Secret, ...] = ()
    then: "Effect" = None


@dataclass(frozen=True, slots=True)
class Write:
    """A change. doing: what is said while it goes on. run may raise StoreError or ValueError: it is said on screen."""

    doing: str
    run: Callable[[Db], Awaitable[Done]]


@dataclass(frozen=True, slots=True)
class Work:
    """What takes time and needs no database, such as a step of a runbook. As Write otherwise."""

    doing: str
    run: Callable[[], Awaitable[Done]]


@dataclass(frozen=True, slots=True)
class Say:
    """One line above the footer. style: see tui.style."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Go:
    """To another pane: show this row, or these. about: the alert that leads there, by its event's id."""

    pane: str
    view: str = ""
    key: str = ""
    filter: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Copy:
    """To the clipboard. what: said afterwards."""

    text: str = field(repr=False)
    what: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """One line of text. then: what follows from it; raises ValueError when it will not do."""

    label: str
    hint: str
    then: Callable[[str], "Effect"]
    initial: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """A question before a change. expected: what must be typed; "" at Level.NOTICED, where y is enough."""

    level: Level
    question: str
    consequences: tuple[str, ...]
    then: "Write | Work"
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a form. choices: these only. rows > 1: a text of lines. locked: shown, not changed."""

    name: str
    label: str
    value: str = ""
    hint: str = ""
    choices: tuple[str, ...] = ()
    rows: int = 1
    locked: bool = False


Values = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Form:
    """check: problems by field, "" for the whole, and what it means in words. submit: when nothing is wrong."""

    title: str
    fields: tuple[Field, ...]
    check: Callable[[Values], tuple[Mapping[str, str], str]]
    submit: Callable[[Values], "Effect"]
    trial: Callable[[Values], "Trial"] | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """Tries a draft without storing it; returns lines to read."""

    doing: str
    run: Callable[[Db], Awaitable[str]]


Effect = Say | Go | Copy | Prompt | Ask | Form | Write | Work | None
