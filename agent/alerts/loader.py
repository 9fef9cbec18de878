"""Rules in force: the file's, tenants' own, and templates with each tenant's numbers. An invalid file changes nothing.

One owner for each rule: the file's rules cannot be changed in the database, where they are only a copy, and a tenant's
rule has a key of its own. Without the database the file's rules are all there is.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from alerting import rules
from alerting.document import DocumentError
from alerting.rules import Rule, RuleSet
from store import alert_rules
from store.db import Db

log = structlog.get_logger()
LAST_GOOD = "alerts.good.yaml"


@dataclass(frozen=True, slots=True)
class InForce:
    """The rules that are evaluated, and what routes their alerts. error: why the file as it stands is not used."""

    file: RuleSet
    tenants: tuple[Rule, ...] = ()
    error: str | None = None

    def all(self) -> Iterator[Rule]:
        yield from self.file.rules
        yield from self.tenants


class Loader:
    """path: the rules' file. directory: where the last good one is kept. shipped: for when there is none at all."""

    def __init__(self, path: Path, directory: Path, shipped: Path) -> None:
        self.in_force = InForce(RuleSet())
        self._path = path
        self._good = directory / LAST_GOOD
        self._shipped = shipped
        self._text: str | None = None
        self._tenants_mark: tuple[int, int] | None = None
        self._mirrored: str | None = None

    def read_file(self) -> bool:
        """Take over the file if it changed; True when other rules are in force now."""
        path = self._path if self._path.exists() else self._shipped
        text, problem = _read(path)
        if text == self._text and problem is None:
            return False
        first = self._text is None
        if text is not None:
            self._text = text
            try:
                found = rules.load(text)
                self._keep(text)
                self.in_force = replace(self.in_force, file=found, error=None)
                log.info("rules loaded", path=str(path), rules=len(found.rules), templates=len(found.templates))
                self._tenants_mark = None  # templates and defaults may be others
                return True
            except DocumentError as error:
                problem = str(error)
        if problem != self.in_force.error:
            log.error("the rules' file cannot be used; the last good rules stay", path=str(path), error=problem)
        self.in_force = replace(self.in_force, error=problem)
        return self._fall_back() if first or not self.in_force.file.rules else False

    def _keep(self, text: str) -> None:
        try:
            self._good.write_text(text)
        except OSError as error:
            log.warning("cannot keep the last good rules", path=str(self._good), error=str(error))

    def _fall_back(self) -> bool:
        """At a start with an invalid file: what was good before, or what came with the program."""
        for path in (self._good, self._shipped):
            try:
                self.in_force = replace(self.in_force, file=rules.load(path.read_text()))
                log.warning("using other rules instead", path=str(path))
                return True
            except (OSError, UnicodeDecodeError, DocumentError):
                continue
        return False

    async def read_tenants(self, db: Db) -> bool:
        """Take over tenants' rules and numbers if they changed. Raises StoreError."""
        mark = (await alert_rules.mark(db), id(self.in_force.file))
        if mark == self._tenants_mark:
            return False
        found = [*await self._own_rules(db), *await self._from_templates(db)]
        self._tenants_mark = mark
        changed = {rule.content for rule in found} != {rule.content for rule in self.in_force.tenants}
        self.in_force = replace(self.in_force, tenants=tuple(found))
        return changed

    async def _own_rules(self, db: Db) -> list[Rule]:
        found = []
        for row in await alert_rules.of_tenants(db):
            error = None
            try:
                found.append(rules.tenant_rule(row.tenant, row.body, self.in_force.file.defaults, {}))
            except ValueError as failure:
                error = str(failure)
            if error != row.error:
                await alert_rules.set_error(db, row.rule_key, error)
        return found

    async def _from_templates(self, db: Db) -> list[Rule]:
        templates = self.in_force.file.templates
        if not templates:
            return []
        numbers = {(row.tenant, row.name): row for row in await alert_rules.numbers(db)}
        found = []
        for tenant in await alert_rules.live_tenants(db):
            for template in templates:
                own = numbers.get((tenant, template.id))
                if own is not None and own.disabled:
                    continue
                try:
                    params = own.params if own else {}
                    found.append(rules.template_rule(tenant, template, self.in_force.file.defaults, params))
                except ValueError as failure:
                    log.warning(
                        "a tenant's numbers do not fit", tenant=tenant, template=template.id, error=str(failure)
                    )
        return found

    async def mirror(self, db: Db) -> None:
        """Keep the copy of the file's rules that people see. Raises StoreError."""
        wanted = {rule.key: body_of(rule) for rule in self.in_force.file.rules}
        mark = ",".join(rule.content for rule in self.in_force.file.rules)
        if mark != self._mirrored:
            await alert_rules.mirror_file(db, wanted)
            self._mirrored = mark


def body_of(rule: Rule) -> dict[str, Any]:
    """A file's rule as people see it in the database."""
    timing = rule.timing
    return {
        "id": rule.key,
        "alert": rule.alert,
        "group": rule.group,
        "expr": rule.expr,
        "for": timing.hold,
        "keep_firing_for": timing.keep_firing,
        "recover": None if rule.recover is None else f"{rule.recover.op} {rule.recover.value:g}",
        "no_data": str(timing.no_data),
        "interval": rule.interval,
        "runbook": rule.runbook,
        "labels": dict(rule.labels),
        "annotations": dict(rule.annotations),
    }


def _read(path: Path) -> tuple[str | None, str | None]:
    """Its text, or why there is none."""
    try:
        return path.read_text(), None
    except (OSError, UnicodeDecodeError) as error:
        return None, f"{path}: {error}"
