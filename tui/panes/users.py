"""Users: who may do what in which tenant; for owners, to change it."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from store import members
from store.db import Db
from store.errors import Denied
from store.members import PLATFORM, Deed, Person, Role, Session
from tui.effects import Effect
from tui.panes import user_deeds as deeds
from tui.panes.device_columns import short
from tui.panes.pane import NOTHING, Pane, facts, heading
from tui.render import Line, Span, age, literal
from tui.table import Column, Table
from tui.view import View

HERE_SECONDS = 180.0
DEEDS = 12
IDLE_SECONDS = 30 * 86_400.0
MAY = {
    Role.VIEWER: "look",
    Role.OPERATOR: "look, acknowledge, silence, replay dead letters",
    Role.OWNER: "all of that; devices, rules, users",
}


@dataclass(frozen=True, slots=True)
class Found:
    """sessions: None when this login may not see them."""

    people: tuple[Person, ...]
    sessions: tuple[Session, ...] | None
    tenants: tuple[str, ...] = ()


def role(person: Person) -> Role:
    """The highest one, of those we may see."""
    return max(person.roles.values(), key=list(Role).index)


def _tenants(person: Person) -> str:
    return "all" if PLATFORM in person.roles else ", ".join(sorted(person.roles))


def _seen(person: Person, now: float) -> float | None:
    return None if person.seen_at is None else max(0.0, now - person.seen_at.timestamp())


def _seen_text(person: Person, now: float) -> str:
    seen = _seen(person, now)
    return NOTHING if seen is None else "now" if seen < HERE_SECONDS else age(seen)


def state(person: Person, now: float) -> tuple[str, str]:
    if person.disabled:
        return "○ disabled", "off"
    seen = _seen(person, now)
    if seen is None:
        return "◌ invited", "unknown"
    return ("▲ idle", "warn") if seen > IDLE_SECONDS else ("● active", "ok")


COLUMNS = (
    Column[Person](
        "name", "NAME", 0, lambda r, _: Span(literal(r.name) or short(r.login)), lambda r, _: r.name.lower()
    ),
    Column[Person]("login", "LOGIN", 18, lambda r, _: Span(r.login), lambda r, _: r.login, 4),
    Column[Person]("role", "ROLE", 9, lambda r, _: Span(role(r)), lambda r, _: role(r).value),
    Column[Person]("tenants", "TENANTS", 20, lambda r, _: Span(_tenants(r)), lambda r, _: _tenants(r), 2),
    Column[Person]("seen", "LAST SEEN", 9, lambda r, now: Span(_seen_text(r, now)), _seen, 1),
    Column[Person]("state", "STATE", 10, lambda r, now: Span(*state(r, now)), lambda r, now: state(r, now)[0][2:]),
)


class Users(Pane):
    """People of the tenants one may see."""

    name = "users"
    noun = "people"
    views = ("people",)
    seconds: ClassVar[float] = 5.0

    def __init__(self) -> None:
        super().__init__()
        self._table: Table[Person] = Table(COLUMNS, lambda row: row.login, "name")
        self._found = Found((), None)
        self._deeds: tuple[str, tuple[Deed, ...]] = ("", ())
        self._fresh = False

    @property
    def table(self) -> Table[Any]:
        return self._table

    async def load(self, db: Db) -> Found:
        people = tuple(await members.people(db))
        tenants = tuple(await members.tenants(db))
        try:
            return Found(people, tuple(await members.sessions(db)), tenants)
        except Denied:
            return Found(people, None, tenants)

    def lacks(self) -> bool:
        person = self._table.current
        return person is not None and not (self._fresh and person.login == self._deeds[0])

    async def inspect(self, db: Db) -> None:
        person = self._table.current
        if person is not None:
            deeds_of: tuple[Deed, ...] = ()
            with suppress(Denied):
                deeds_of = tuple(await members.history(db, person.login, DEEDS))
            self.know(person.login, deeds_of)

    def know(self, login: str, done: tuple[Deed, ...]) -> None:
        """Take what one person did."""
        self._deeds, self._fresh = (login, done), True

    def put(self, found: Found, now: float) -> None:
        self._found = found
        self._fresh = False
        self._table.put(found.people, now)

    # -- drawing

    def summary(self, view: View) -> str:
        counts = [sum(role(person) is one for person in self._found.people) for one in reversed(Role)]
        text = f"{self._table.count('people')} · owners {counts[0]}, operators {counts[1]}, viewers {counts[2]}"
        return text if view.me.may(Role.OWNER) else f"{self._table.count('people')} · only owners change users"

    def empty(self, view: View) -> str:
        return f"The login {view.me.login} is no person of a tenant: it sees nobody."

    def detail(self, view: View, cells: int) -> tuple[str, list[Line]]:
        person = self._table.current
        if person is None:
            return "", []
        roles = [
            (PLATFORM if tenant == PLATFORM else tenant, one.value) for tenant, one in sorted(person.roles.items())
        ]
        lines = facts(
            [
                ("login", person.login),
                ("home", person.home or "another tenant"),
                *((f"{tenant}", f"{one}") for tenant, one in roles),
                ("may", MAY[role(person)]),
                ("last seen", _seen_text(person, view.now)),
                ("created", f"{person.created_at:%Y-%m-%d} by {short(person.created_by)}"),
            ],
            cells,
        )
        return literal(person.name) or short(person.login), lines + self._sessions_and_deeds(person, view, cells)

    def _sessions_and_deeds(self, person: Person, view: View, cells: int) -> list[Line]:
        if self._found.sessions is None:
            return [(), (Span(" Sessions and actions are shown to owners.", "dim"),)]
        sessions = [session for session in self._found.sessions if session.login == person.login]
        lines: list[Line] = [(), heading(f"Sessions: {len(sessions)}")]
        lines += [
            (
                Span(f" {session.client} ", "dim"),
                Span(literal(session.application)),
                Span(f" {age(view.now - session.since.timestamp())}", "dim"),
            )
            for session in sessions
        ]
        if self._deeds[0] == person.login and self._deeds[1]:
            lines += [(), heading("Last actions")]
            lines += [
                (
                    Span(f" {age(view.now - deed.at.timestamp()):>6} ", "dim"),
                    Span(f"{deed.action} {literal(deed.subject)}"),
                    Span("" if deed.actor == person.login else f" by {short(deed.actor)}", "dim"),
                )
                for deed in self._deeds[1]
            ]
        return lines

    def who_may(self, needed: Role) -> str:
        """Names of those who hold at least this role, as far as known."""
        able = [p for p in self._found.people if not p.disabled and role(p).includes(needed)]
        return ", ".join(literal(p.name) or short(p.login) for p in able[:4])

    # -- what keys do

    def do_new(self, argument: str, view: View) -> Effect:
        return deeds.new(view.me, self._found.tenants)

    def do_edit(self, argument: str, view: View) -> Effect:
        return self._of_one(lambda person: deeds.change_role(person, view.me))

    def do_rotate(self, argument: str, view: View) -> Effect:
        return self._of_one(deeds.reset)

    def do_disable(self, argument: str, view: View) -> Effect:
        return self._of_one(lambda person: deeds.disable(person, self._count(person)))

    def do_enable(self, argument: str, view: View) -> Effect:
        return self._of_one(deeds.enable)

    def do_remove(self, argument: str, view: View) -> Effect:
        return self._of_one(lambda person: deeds.remove(person, view.me))

    def do_end_sessions(self, argument: str, view: View) -> Effect:
        return self._of_one(lambda person: deeds.end_sessions(person, self._count(person)))

    def _count(self, person: Person) -> int:
        return sum(session.login == person.login for session in self._found.sessions or ())

    def _of_one(self, then: Callable[[Person], Effect]) -> Effect:
        return then(self.one("person"))
