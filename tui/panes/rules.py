"""Rules: those of alerts.yaml and those of tenants, how their evaluation goes, and for owners to change them."""

from pathlib import Path
from typing import Any, ClassVar

from alerting import explain, rules
from alerting.model import Defaults
from store import alert_rules, members
from store.alert_rules import RuleRow
from store.db import Db
from store.members import Role
from tui.effects import Effect, Go, Say
from tui.panes import rule_deeds as deeds
from tui.panes.device_columns import short
from tui.panes.pane import NOTHING, Pane, facts, heading, paragraph
from tui.render import Line, Span, age, literal
from tui.rule_form import EXAMPLE
from tui.table import Column, Table
from tui.view import View

FIRST = {
    "id": "",
    "alert": "",
    "expr": EXAMPLE,
    "for": "2m",
    "runbook": "device-cannot-connect",
    "labels": {"severity": "warning"},
}


def state(row: RuleRow) -> tuple[str, str]:
    if trouble(row):
        return "✗ broken", "crit"
    if not row.evaluated:
        return "◌ waiting", "unknown"
    firing = sum(evaluated.open for evaluated in row.evaluated)
    return (f"▲ {firing} open", "warn") if firing else ("● ok", "ok")


def trouble(row: RuleRow) -> str:
    return row.error or next((e.error for e in row.evaluated if e.error), None) or ""


def _evaluated(row: RuleRow, now: float) -> float | None:
    return min((max(0.0, now - e.at.timestamp()) for e in row.evaluated), default=None)


def _severity(row: RuleRow) -> str:
    return str((row.body.get("labels") or {}).get("severity", ""))


def _series(row: RuleRow) -> float:
    return float(max((e.series for e in row.evaluated), default=0))


def _expr(row: RuleRow) -> str:
    return literal(str(row.body.get("expr", "")))


COLUMNS = (
    Column[RuleRow]("rule", "RULE", 28, lambda r, _: Span(r.rule_key), lambda r, _: r.rule_key),
    Column[RuleRow]("severity", "SEV", 8, lambda r, _: Span(_severity(r)), lambda r, _: _severity(r), 2),
    Column[RuleRow]("state", "STATE", 10, lambda r, _: Span(*state(r)), lambda r, _: state(r)[0][2:]),
    Column[RuleRow]("evaluated", "EVAL", 6, lambda r, now: Span(_age(_evaluated(r, now))), _evaluated, 1),
    Column[RuleRow]("series", "SERIES", 6, lambda r, _: Span(f"{_series(r):.0f}"), lambda r, _: _series(r), 3),
    Column[RuleRow]("origin", "FROM", 7, lambda r, _: Span(r.origin), lambda r, _: r.origin, 4),
    Column[RuleRow]("expr", "CONDITION", 0, lambda r, _: Span(_expr(r), "dim"), lambda r, _: _expr(r), 5),
)


def _age(seconds: float | None) -> str:
    return NOTHING if seconds is None else age(seconds)


class Rules(Pane):
    """file: alerts.yaml, when it is on this machine; without it the file's rules are only looked at."""

    name = "rules"
    noun = "rules"
    views = ("rules",)
    detail_cells = 64
    seconds: ClassVar[float] = 3.0

    def __init__(self, file: Path | None = None, runbooks: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._file = file
        self._runbooks = runbooks
        self._tenants: tuple[str, ...] = ()
        self._table: Table[RuleRow] = Table(COLUMNS, lambda row: row.rule_key, "rule")

    @property
    def table(self) -> Table[Any]:
        return self._table

    async def load(self, db: Db) -> tuple[tuple[RuleRow, ...], tuple[str, ...]]:
        return tuple(await alert_rules.all_rules(db)), tuple(await members.tenants(db))

    def put(self, found: tuple[tuple[RuleRow, ...], tuple[str, ...]], now: float) -> None:
        rows, self._tenants = found
        self._table.put(rows, now)

    # -- drawing

    def summary(self, view: View) -> str:
        broken = sum(bool(trouble(row)) for row in self._table.shown)
        return f"{self._table.count('rules')}{f' · {broken} broken' if broken else ''}"

    def empty(self, view: View) -> str:
        return "No rules. An agent with alerts.enabled brings those of alerts.yaml; n: a tenant's own."

    def detail(self, view: View, cells: int) -> tuple[str, list[Line]]:
        row = self._table.current
        if row is None:
            return "", []
        origin = "alerts.yaml" if row.origin == "file" else f"tenant {row.tenant}, revision {row.revision}"
        changed = f"{age(view.now - row.updated_at.timestamp())} ago by {short(row.updated_by)}"
        lines = facts(
            [
                ("from", origin),
                ("changed", changed),
                ("severity", _severity(row)),
                ("runbook", f"{row.body.get('runbook', NOTHING)} · b"),
            ],
            cells,
        )
        if trouble(row):
            lines += [(), *paragraph(f"✗ {literal(trouble(row))}", cells, "crit")]
        lines += [(), *paragraph(_words(row), cells)]
        lines += [(), heading("Evaluated")]
        lines += [
            (
                Span(f" {e.evaluator or 'any agent'} "),
                Span(
                    f"{age(view.now - e.at.timestamp())} ago, {e.series} series, {e.open} open, {e.took_ms:.0f} ms",
                    "dim",
                ),
            )
            for e in row.evaluated
        ] or [(Span(" not yet", "dim"),)]
        return row.rule_key, lines

    # -- what keys do

    def tenants(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.tenant for row in self._table.chosen))

    def _row(self) -> RuleRow:
        row: RuleRow = self.one("rule")
        return row

    def _owned(self, view: View, first: str) -> tuple[str, ...]:
        """Tenants that a rule of ours may belong to, this one first."""
        owned = [tenant for tenant in self._tenants if view.me.may(Role.OWNER, tenant)]
        return tuple(sorted(owned, key=lambda tenant: tenant != first))

    def do_new(self, argument: str, view: View) -> Effect:
        return deeds.new(self._owned(view, argument), FIRST, self._runbooks)

    def do_duplicate(self, argument: str, view: View) -> Effect:
        row = self._row()
        body = dict(row.body) | {"id": f"{row.name}-copy"}
        return deeds.new(self._owned(view, argument or row.tenant), body, self._runbooks)

    def do_edit(self, argument: str, view: View) -> Effect:
        row = self._row()
        return deeds.edit(row, self._runbooks) if row.origin == "tenant" else self._of_file(row)

    def do_text(self, argument: str, view: View) -> Effect:
        row = self._row()
        if row.origin == "file":
            return self._of_file(row)
        return deeds.as_text(deeds.Draft(row.tenant, row.body, row.revision, self._runbooks), row.body)

    def _of_file(self, row: RuleRow) -> Effect:
        if self._file is None:
            return Say(
                "a rule of alerts.yaml: change it in its repository, or give --alerts-file where that file is", "warn"
            )
        return deeds.edit_file(self._file, row)

    def do_evaluate(self, argument: str, view: View) -> Effect:
        return deeds.evaluate(self._row())

    def do_remove(self, argument: str, view: View) -> Effect:
        row = self._row()
        if row.origin == "file":
            return Say("a rule of alerts.yaml is removed from that file: iot-agent rules remove", "warn")
        return deeds.delete(row)

    def do_runbook(self, argument: str, view: View) -> Effect:
        row = self._row()
        return Go("runbooks", "runbooks", str(row.body.get("runbook", "")))


def _words(row: RuleRow) -> str:
    try:
        if row.origin == "tenant":
            return explain.words(rules.tenant_rule(row.tenant, row.body, Defaults(), {}))
    except ValueError as error:
        return str(error)
    condition = f"{row.body.get('expr', '')}"
    hold = row.body.get("for")
    return f"{condition}\nfor {hold}" if hold else condition
