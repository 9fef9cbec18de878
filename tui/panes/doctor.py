"""Doctor: what is well and what is not, worst first, with what to do about it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from probes.hardening import Item, Verdict, chosen
from probes.hardening_items import ITEMS
from sql import Migration
from store import migrate
from store.agents import PartState
from store.db import Db
from tui.effects import Done, Effect, Go, Say, Work
from tui.panes import hardening
from tui.panes.hardening import Tried
from tui.panes.pane import Pane, facts
from tui.profile import Profile
from tui.render import Line, Span, age, glyph, literal, size
from tui.table import Column, Table
from tui.view import AGENT_SILENT_SECONDS, PathState, View

if TYPE_CHECKING:
    from tui.runbook.desk import Desk

ORDER = (PartState.CRIT, PartState.WARN, PartState.UNKNOWN, PartState.OFF, PartState.OK)
FIXES = {  # the runbook for a part of the agent that is not well
    "alerts": "agent-silent",
    "broker": "broker-down",
    "canary": "broker-down",
    "certificate": "tls-cert",
    "credentials": "rotate-credentials",
    "database": "db-timeout",
    "disk": "vm-pressure",
    "ingest": "device-cannot-connect",
    "partitions": "db-timeout",
    "spool": "db-timeout",
}
SLOW_MS = 200.0
CLOCK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """found and expected are facts; fix is what to do."""

    where: str
    what: str
    state: PartState
    found: str
    expected: str = ""
    fix: str = ""


COLUMNS = (
    Column[Check]("state", "STATE", 9, lambda r, _: Span(f"{glyph(r.state, False)} {r.state}", r.state),
                  lambda r, _: r.state.value),
    Column[Check]("where", "WHERE", 9, lambda r, _: Span(r.where), lambda r, _: r.where),
    Column[Check]("check", "CHECK", 20, lambda r, _: Span(r.what), lambda r, _: r.what),
    Column[Check]("found", "FOUND", 0, lambda r, _: Span(literal(r.found)), lambda r, _: r.found),
    Column[Check]("expected", "EXPECTED", 14, lambda r, _: Span(r.expected, "dim"), lambda r, _: r.expected, 3),
)  # fmt: skip


class Doctor(Pane):
    """What the console itself can tell, and what it finds when it tries. wanted: the migrations this version knows.

    desk: makes the place from which is tried; it may raise ProfileError. Without it there is only what one sees.
    """

    name = "doctor"
    noun = "checks"
    views = ("checks", "hardening")
    below = True
    seconds: ClassVar[float] = 5.0

    def __init__(
        self,
        wanted: tuple[Migration, ...],
        desk: "Callable[[], Desk] | None" = None,
        profile: Profile | None = None,
    ) -> None:
        super().__init__()
        self._desk = desk
        self._profile = profile
        self._hardening = hardening.table()
        self._tried = {item.id: Tried(item) for item in ITEMS}
        self._table: Table[Check] = Table(COLUMNS, lambda row: f"{row.where} {row.what}")
        self._wanted = wanted
        self._missing: list[str] | None = None
        self._begun = False

    @property
    def table(self) -> Table[Any]:
        return self._table if self.view == "checks" else self._hardening

    async def load(self, db: Db) -> list[str]:
        return [f"{m.number:04} {m.name}" for m in await migrate.pending(db, self._wanted)]

    def put(self, found: list[str], now: float) -> None:
        self._missing = found

    def draw(self, view: View, cells: int, rows: int) -> list[Line]:
        checks = sorted(self.checks(view), key=lambda check: ORDER.index(check.state))
        self._table.put(checks, view.now)
        self._hardening.put(sorted(self._tried.values(), key=lambda row: row.rank), view.now)
        if not self._begun and view.snapshot is not None:
            self._begun = True
            self._table.edge(last=False)  # the worst one, once there is something to judge
        self.at = self.at if self.at is not None else view.now  # it works without a database, too
        return super().draw(view, cells, rows)

    def old(self, view: View) -> bool:
        return False

    def summary(self, view: View) -> str:
        if self.view == "hardening":
            states = [row.state or "not tried" for row in self._tried.values()]
            words = [f"{states.count(one)} {one}" for one in ("fail", "unknown", "waived", "pass", "not tried")]
            return " · ".join(word for word in words if not word.startswith("0 "))
        counts = [(state, sum(row.state is state for row in self._table.shown)) for state in ORDER]
        return " · ".join(f"{count} {state}" for state, count in counts if count)

    def detail(self, view: View, cells: int) -> tuple[str, list[Line]]:
        if self.view == "hardening":
            tried = self._hardening.current
            return ("", []) if tried is None else hardening.detail(tried, cells)
        row = self._table.current
        if row is None:
            return "", []
        pairs = [("found", literal(row.found)), ("expected", row.expected), ("to do", row.fix or "nothing")]
        return f"{row.where}: {row.what}", facts(pairs, cells)

    def do_examine(self, argument: str, view: View) -> Effect:
        """All of them, or those that were marked; `:examine quick`, `:examine TLS,MQ-03`."""
        if self._desk is None:
            return Say("there is no place to look from here: iot-console doctor", "warn")
        only = "" if argument == "quick" else argument
        items = chosen(ITEMS, only, argument == "quick")
        marked = {row.item.id for row in self._hardening.chosen} if not argument and self._hardening.marked else set()
        wanted = [item for item in items if not marked or item.id in marked]
        return Work(f"examining {len(wanted)} checks", lambda: self._examine(wanted))

    async def _examine(self, items: list[Item]) -> Done:
        from tui.examine import examine, waivers_of

        assert self._desk is not None
        verdicts = await examine(self._desk(), items, waivers_of(self._profile), datetime.now(UTC).date(), self._found)
        wrong = sum(verdict.state == "fail" for verdict in verdicts)
        return Done(f"{len(verdicts)} examined: {f'{wrong} fail' if wrong else 'none fails'}")

    def _found(self, verdict: Verdict) -> None:
        self._tried[verdict.item.id] = Tried(verdict.item, verdict)

    def do_runbook(self, argument: str, view: View) -> Effect:
        name = ""
        if self.view == "hardening" and self._hardening.current is not None:
            name = self._hardening.current.item.runbook
        elif self._table.current is not None:
            name = self._table.current.fix.removeprefix("runbook ") if "runbook " in self._table.current.fix else ""
        return Go("runbooks", "runbooks", name) if name else Say("there is no runbook for it", "warn")

    def checks(self, view: View) -> list[Check]:
        """In no order. What cannot be known now is unknown, never ok."""
        return [*_local(), *_path(view), *self._database(view), *_agent(view)]

    def _database(self, view: View) -> list[Check]:
        if view.snapshot is None or view.stale or self._missing is None:
            return [Check("database", "schema", PartState.UNKNOWN, "not possible: no answer")]
        if self._missing:
            fix = "iot-agent migrate, as the owner of the database"
            return [
                Check("database", "schema", PartState.CRIT, f"missing: {', '.join(self._missing)}", "all applied", fix)
            ]
        return [Check("database", "schema", PartState.OK, f"all {len(self._wanted)} migrations applied")]


def _local() -> list[Check]:
    term = os.environ.get("TERM", "?")
    colour = os.environ.get("COLORTERM", "") or ("none: NO_COLOR" if os.environ.get("NO_COLOR") else "256")
    return [Check("local", "terminal", PartState.OK, f"{term}, colours {colour}")]


def _path(view: View) -> list[Check]:
    if view.path.state is PathState.LOST:
        found = f"lost {age(view.now - view.path.since)} ago: {view.path.error}"
        return [Check("path", "database", PartState.CRIT, found, "answers", "it is tried again by itself; r: at once")]
    if view.snapshot is None:
        return [Check("path", "database", PartState.UNKNOWN, "connecting")]
    took = view.snapshot.round_trip_ms
    slow = took > SLOW_MS
    state, fix = (PartState.WARN, "runbook db-timeout") if slow else (PartState.OK, "")
    checks = [Check("path", "round trip", state, f"{took:.0f} ms to {view.target}", f"< {SLOW_MS:.0f} ms", fix)]
    off = abs(view.snapshot.at - view.snapshot.server_now.timestamp())
    wrong = off > CLOCK_SECONDS
    fix = "set this machine's clock: timedatectl set-ntp true" if wrong else ""
    clock_state = PartState.WARN if wrong else PartState.OK
    return [
        *checks,
        Check("local", "clock", clock_state, f"{off:.1f} s off the database's", f"< {CLOCK_SECONDS:.0f} s", fix),
    ]


def _agent(view: View) -> list[Check]:
    if view.snapshot is None:
        return [Check("agent", "heartbeat", PartState.UNKNOWN, "not possible: no database")]
    if not view.snapshot.agents:
        fix = "start iot-agent on the VM: systemctl status iot-agent"
        return [Check("agent", "heartbeat", PartState.CRIT, "none has ever reported", "an agent", fix)]
    checks = []
    for row in view.snapshot.agents:
        since = row.age_seconds + (view.data_age or 0.0)
        silent = since > AGENT_SILENT_SECONDS
        state = PartState.UNKNOWN if view.stale else PartState.CRIT if silent else PartState.OK
        found = f"{row.agent_id} {row.version}: {age(since)} ago, {size(row.status.agent_memory)}"
        fix = "runbook agent-silent" if silent else ""
        checks.append(Check("agent", f"heartbeat {row.agent_id}", state, found, f"< {AGENT_SILENT_SECONDS:.0f} s", fix))
        for part in row.status.parts:
            known = PartState.UNKNOWN if silent or view.stale else part.state
            fix = FIXES.get(part.name, "") if known is not PartState.OK else ""
            checks.append(Check(row.agent_id, part.name, known, part.detail, "ok", f"runbook {fix}" if fix else ""))
    return checks
