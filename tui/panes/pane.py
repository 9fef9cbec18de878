"""What every pane is made of. A pane draws from what it was given last; it opens nothing and waits for nothing."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from store.db import Db
from store.members import Role
from tui.effects import Copy, Effect, Say
from tui.render import Line, Span, age, box, fit, rule, wrapped
from tui.table import Table
from tui.view import View

WIDE = 100
DETAIL_ROWS = 9
NOTHING = "-"


class Pane:
    """views: names of its views; each has a table. seconds: how often its rows are asked for while it is on screen."""

    name: ClassVar[str]
    noun: ClassVar[str] = "rows"
    views: ClassVar[tuple[str, ...]]
    below: ClassVar[bool] = False  # the detail stands below the list, not beside it
    detail_cells: ClassVar[int] = 42
    dated: ClassVar[bool] = True  # its rows have an age
    seconds: ClassVar[float] = 2.0

    def __init__(self) -> None:
        self.view = self.views[0]
        self.opened = False  # the detail fills the pane
        self.top = 1  # the line of the pane on which the list begins
        self.scroll = 0
        self.at: float | None = None  # when its rows were true, seconds since 1970
        self.error = ""
        self.about = ""  # the alert that led here

    # -- what each pane does in its own way

    @property
    def table(self) -> Table[Any]:
        """The list of the current view."""
        raise NotImplementedError

    async def load(self, db: Db) -> Any:
        """Its rows. Raises StoreError."""
        raise NotImplementedError

    def lacks(self) -> bool:
        """Something belongs to the row under the cursor that is not here yet."""
        return False

    async def inspect(self, db: Db) -> None:
        """Get that. Raises StoreError."""

    def put(self, found: Any, now: float) -> None:
        """Take what load() found at this time."""
        raise NotImplementedError

    def detail(self, view: View, cells: int) -> tuple[str, list[Line]]:
        """Title and lines about the row under the cursor."""
        return "", []

    def empty(self, view: View) -> str:
        """What is said instead of no row."""
        return f"No {self.noun} yet."

    def summary(self, view: View) -> str:
        """The line above the list."""
        return self.table.count(self.noun)

    def tenants(self) -> tuple[str, ...]:
        """Whose rows are chosen: the role is needed there."""
        return ()

    def who_may(self, role: Role) -> str:
        """Names of people who hold a role, as far as this pane knows any."""
        return ""

    def act(self, action: str, argument: str, view: View) -> Effect:
        """What an action of this pane brings about; its name is a method's, do_ACTION."""
        method: Callable[[str, View], Effect] | None = getattr(self, f"do_{action}", None)
        if method is None:
            return Say(f"{action.replace('_', ' ')}: nothing to do it with here", "warn")
        return method(argument, view)

    # -- common

    @property
    def place(self) -> str:
        return f"{self.name}/{self.view}"

    def take(self, found: Any, now: float) -> None:
        self.put(found, now)
        self.at, self.error = now, ""

    def turn(self, by: int) -> None:
        """The next view, or the one before."""
        self.view = self.views[(self.views.index(self.view) + by) % len(self.views)]
        self.opened = False

    def leave(self) -> bool:
        """Close what is open besides the detail; False when nothing is."""
        return False

    def document(self, now: float) -> str | None:
        """Text that `x` exports as Markdown, where rows would say less."""
        return None

    def copied(self) -> str:
        """What `y` copies."""
        row = self.table.current
        return "" if row is None else str(self.table.key(row))

    def click(self, x: int, y: int) -> bool:
        """A cell of the drawn pane; True when it was a row of the list."""
        return not self.opened and self.table.click(y - self.top)

    def one(self, noun: str) -> Any:
        """The chosen row, if it is one. Raises ValueError otherwise."""
        chosen = self.table.chosen
        if len(chosen) != 1:
            raise ValueError(f"one {noun} at a time, please" if chosen else f"choose a {noun} first")
        return chosen[0]

    def do_copy(self, argument: str, view: View) -> Effect:
        text = self.copied()
        return Copy(text, text) if text else Say("there is nothing to copy", "warn")

    def do_copy_all(self, argument: str, view: View) -> Effect:
        _, lines = self.detail(view, 200)
        text = "\n".join("".join(span.text for span in line).rstrip() for line in lines)
        return Copy(text, "all of it") if text else self.do_copy(argument, view)

    def do_open(self, argument: str, view: View) -> Effect:
        self.opened = not self.opened and self.table.current is not None
        self.scroll = 0
        return None

    # -- drawing

    def draw(self, view: View, cells: int, rows: int) -> list[Line]:
        """Exactly rows lines of exactly cells cells."""
        lines = self._drawn(view, cells, rows)
        if self.old(view):
            lines = [tuple(Span(span.text, "dim") for span in line) for line in lines]
        return [fit(line, cells) for line in (lines + [()] * rows)[:rows]]

    def old(self, view: View) -> bool:
        """What is shown may not be true any more."""
        return self.at is not None and (view.stale or view.now - self.at > view.stale_after(self.seconds))

    def _drawn(self, view: View, cells: int, rows: int) -> list[Line]:
        head = self._head(view, cells)
        if self.error:
            return [head, (), *paragraph(f" ✗ {self.error}", cells, "crit")]
        if self.at is None:
            return [head, (), (Span("  loading…", "dim"),)]
        beside = cells >= WIDE and not self.opened and not self.below
        title, detail = self.detail(view, (self.detail_cells if beside else cells) - 2)
        if self.opened:
            self.scroll = max(0, min(self.scroll, len(detail) - (rows - 3)))
            shown = detail[self.scroll :]
            return [head, *box(title, shown, cells, rows - 1, "enter: back", view.ascii)]
        if not self.table.shown:
            return [head, (), *self._nothing(view)]
        if beside:
            return [head, *self._beside(view, title, detail, cells, rows - 1)]
        self.top = 1
        most = rows // 2 if self.below and rows >= 24 else min(DETAIL_ROWS, rows // 3)
        below = most if detail and rows >= 12 else 0
        lines = self.table.draw(cells, rows - 1 - below, view.now)
        return [head, *lines, *([rule(title, cells, view.ascii), *detail[: below - 1]] if below else [])]

    def _beside(self, view: View, title: str, detail: Sequence[Line], cells: int, rows: int) -> list[Line]:
        right = self.detail_cells if detail else 0
        inner = self.table.draw(cells - right - 2, rows - 2, view.now)
        self.top = 2
        left = box(self.view.capitalize(), inner, cells - right, rows, "", view.ascii)
        if not right:
            return left
        other = box(title, detail, right, rows, "enter: full", view.ascii)
        return [(*a, *b) for a, b in zip(left, other, strict=True)]

    def _nothing(self, view: View) -> list[Line]:
        found = self.table.filter
        if found and self.table.total:
            total = f"{self.table.total:,}".replace(",", " ")
            return [(Span(f"  Nothing matches «{found.text}».  esc: clear ({total} {self.noun})"),)]
        return [(Span(f"  {line}"),) for line in self.empty(view).splitlines()]

    def _head(self, view: View, cells: int) -> Line:
        tabs: list[Span] = [Span(" ")]
        if len(self.views) > 1:
            marked = {name: f"[{name}] " if name == self.view else f" {name}  " for name in self.views}
            tabs += [Span(text, "title" if name == self.view else "dim") for name, text in marked.items()]
        found = self.table.filter
        if found.text:
            tabs.append(Span(f"/{found.text} ", "key"))
        tabs += [Span(f"({problem}) ", "warn") for problem in found.problems[:1]]
        old = "STALE, " if self.old(view) else ""
        since = "" if self.at is None or not self.dated else f" · {old}as of {age(max(0.0, view.now - self.at))}"
        text = f"{self.summary(view)}{since} "
        room = cells - sum(len(span.text) for span in tabs)
        return (*tabs, Span(text.rjust(room) if room > len(text) else text, "dim"))


def facts(pairs: Sequence[tuple[str, str]], cells: int, label: int = 11) -> list[Line]:
    """Lines of name and value; a long value goes on below."""
    lines: list[Line] = []
    for name, value in pairs:
        for n, part in enumerate(wrapped(value, max(8, cells - label - 2))):
            lines.append((Span(f" {name if n == 0 else '':<{label}}", "dim"), Span(part)))
    return lines


def paragraph(text: str, cells: int, style: str = "") -> list[Line]:
    """Text in lines that fit."""
    return [(Span(f" {part}", style),) for part in wrapped(text, max(8, cells - 2))]


def heading(text: str) -> Line:
    return (Span(f" {text}", "title"),)


def same(names: Sequence[str], noun: str) -> str:
    """`pump-7`, or `12 devices`."""
    return names[0] if len(names) == 1 else f"{len(names)} {noun}"
