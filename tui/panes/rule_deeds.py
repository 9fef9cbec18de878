"""Changes of rules: a tenant's in the database, the file's in alerts.yaml when that file is here."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alerting import document, durations, patch, rules
from alerting.document import DocumentError
from alerting.model import Defaults
from alerting.patch import PatchError
from alerting.rules import Rule
from store import alert_rules
from store.alert_rules import RuleRow
from store.db import Db
from store.errors import Conflict
from tui import rule_form
from tui.effects import Ask, Done, Effect, Field, Form, Go, Level, Say, Trial, Values, Write
from tui.panes.device_columns import short

TRIAL_SECONDS = 86_400.0
DATABASE_BYTES = 8e9  # as the agent's setting alerts.database_limit_gb has it at first
ANSWER_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Draft:
    """What is being written. base: the body as it was opened; revision 0: a new rule."""

    tenant: str
    base: Mapping[str, Any]
    revision: int
    runbooks: tuple[str, ...]
    tenants: tuple[str, ...] = ()


def edit(row: RuleRow, runbooks: tuple[str, ...]) -> Effect:
    return form(Draft(row.tenant, row.body, row.revision, runbooks), row.body)


def new(tenants: tuple[str, ...], body: Mapping[str, Any], runbooks: tuple[str, ...]) -> Effect:
    """tenants: those it may belong to, the likeliest first."""
    if not tenants:
        return Say("a rule belongs to a tenant, and you own none", "warn")
    return form(Draft(tenants[0], {}, 0, runbooks, tenants), body)


def form(draft: Draft, body: Mapping[str, Any], title: str = "", clashes: Mapping[str, str] | None = None) -> Form:
    """Fields of what is changed most. clashes: by field, what somebody else wrote there."""
    shown = rule_form.fields(body, draft.runbooks, bool(draft.revision))
    marked = tuple(_marked(field, clashes or {}) for field in shown)
    tenant = Field("tenant", "Tenant", draft.tenant, "whose data it sees", draft.tenants, locked=bool(draft.revision))

    def check(values: Values) -> tuple[Mapping[str, str], str]:
        return rule_form.checked(values["tenant"].strip(), rule_form.body_of(values, body))

    def submit(values: Values) -> Effect:
        return _put(draft, values["tenant"].strip(), rule_form.body_of(values, body))

    def trial(values: Values) -> Trial:
        return _trial(values["tenant"].strip(), rule_form.body_of(values, body))

    name = title or (f"{draft.tenant}/{body.get('id', '')}" if draft.revision else "New rule of a tenant")
    return Form(name, (tenant, *marked), check, submit, trial)


def _marked(field: Field, clashes: Mapping[str, str]) -> Field:
    theirs = clashes.get(field.name)
    if theirs is None:
        return field
    return Field(
        field.name, field.label, field.value, f"▲ the other one wrote: {theirs}", field.choices, locked=field.locked
    )


def as_text(draft: Draft, body: Mapping[str, Any]) -> Form:
    """The whole body as YAML."""

    def read(values: Values) -> dict[str, Any]:
        return rule_form.parsed(values["text"])

    def check(values: Values) -> tuple[Mapping[str, str], str]:
        try:
            problems, words = rule_form.checked(draft.tenant, read(values))
        except ValueError as error:
            return {"text": str(error)}, ""
        return ({"text": "; ".join(f"{k}: {v}" if k else v for k, v in problems.items())} if problems else {}), words

    fields = (Field("text", "Rule", document.dump(rule_form.ordered(body)), rows=16),)
    return Form(
        f"{draft.tenant}/{body.get('id', '')} as text", fields, check,
        lambda values: _put(draft, draft.tenant, read(values)), lambda values: _trial(draft.tenant, read(values)),
    )  # fmt: skip


def _put(draft: Draft, tenant: str, body: dict[str, Any]) -> Effect:
    key = f"{tenant}/{body['id']}"

    async def run(db: Db) -> Done:
        try:
            made = await alert_rules.put(db, tenant, body["id"], body, draft.revision)
        except Conflict:
            found = await alert_rules.all_rules(db, key)
            if not draft.revision or not found or found[0].revision == draft.revision:
                raise
            return _conflict(draft, body, found[0])
        said = f"{key} is stored as revision {made}; agents take it over within seconds"
        return Done(said, then=Go("rules", key=key))

    return Write(f"storing {key}", run)


def _conflict(draft: Draft, mine: Mapping[str, Any], theirs: RuleRow) -> Done:
    """Somebody else was faster: both changes together, to be looked at and stored again."""
    body, clashes = rule_form.merged(draft.base, mine, theirs.body)
    again = Draft(draft.tenant, theirs.body, theirs.revision, draft.runbooks)
    ago = durations.words(time.time() - theirs.updated_at.timestamp())
    who = f"{short(theirs.updated_by)} changed {theirs.rule_key} {ago} ago"
    said = (
        f"both of you changed {', '.join(sorted(clashes))}: yours is kept here" if clashes else "both changes are here"
    )
    flat = {name: str(other) for name, (_, other) in clashes.items()}
    return Done(
        f"{who}; {said}. Nothing is stored yet", then=form(again, body, f"{theirs.rule_key}: put together", flat)
    )


def delete(row: RuleRow) -> Effect:
    async def run(db: Db) -> Done:
        await alert_rules.delete(db, row.tenant, row.name, row.revision)
        return Done(f"{row.rule_key} is gone", Write("bringing it back", back))

    async def back(db: Db) -> Done:
        await alert_rules.put(db, row.tenant, row.name, row.body, 0)
        return Done(f"{row.rule_key} is back")

    open_now = sum(evaluated.open for evaluated in row.evaluated)
    consequences = (f"{open_now} alerts fire by it; they end. Its history stays.",)
    write = Write(f"removing {row.rule_key}", run)
    return Ask(Level.DESTROYS, f"Remove the rule {row.rule_key}?", consequences, write, row.name)


def evaluate(row: RuleRow) -> Effect:
    async def run(db: Db) -> Done:
        request = await alert_rules.request(db, row.rule_key)
        found = await alert_rules.wait_for_answer(db, request, ANSWER_SECONDS)
        if found is None:
            return Done("no agent answered: is one running with alerts.enabled?")
        if found.get("error"):
            return Done(f"{row.rule_key}: {found['error']}")
        states = [str(one["state"]) for one in found["rows"]]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        return Done(f"{row.rule_key}: {found['series']} series{', ' + counts if counts else ''}")

    return Write(f"asking an agent to evaluate {row.rule_key}", run)


def _trial(tenant: str, body: Mapping[str, Any]) -> Trial:
    """When it would have fired within a day. Raises ValueError when the draft is wrong."""
    return trial_of(rules.tenant_rule(tenant, body, Defaults(), {}))


def trial_of(rule: Rule) -> Trial:
    async def run(db: Db) -> str:
        from agent.alerts import backtest  # slow to import, and rarely wanted

        began = time.perf_counter()
        spans = await backtest.run(rule, db, TRIAL_SECONDS, DATABASE_BYTES)
        took = time.perf_counter() - began
        lines = [span.line() for span in spans[-8:]]
        return "\n".join([f"Would have fired {len(spans)} times in 24 h ({took:.1f} s)", *lines])

    return Trial("going through the last 24 h", run)


# -- the file's rules


def edit_file(path: Path, row: RuleRow) -> Effect:
    """The rule as it stands in the file, comments and all."""
    try:
        whole = path.read_text()
        text = patch.rule_text(whole, row.name)
    except (OSError, PatchError, DocumentError) as error:
        return Say(f"{path}: {error}", "crit")

    def check(values: Values) -> tuple[Mapping[str, str], str]:
        return _file_check(whole, row.name, values["text"])

    def submit(values: Values) -> Effect:
        return _file_put(path, row.name, text, values["text"])

    def trial(values: Values) -> Trial:
        found = rules.load(patch.replace(whole, row.name, values["text"])).rules
        return trial_of(next(rule for rule in found if rule.key == row.name))

    return Form(f"{row.name} in {path}", (Field("text", "Rule", text, rows=16),), check, submit, trial)


def _file_check(whole: str, rule_id: str, text: str) -> tuple[Mapping[str, str], str]:
    from alerting import explain

    try:
        found = rules.load(patch.replace(whole, rule_id, text)).rules
    except (PatchError, DocumentError) as error:
        return {"text": str(error).splitlines()[0]}, ""
    return {}, explain.words(next(rule for rule in found if rule.key == rule_id))


def _file_put(path: Path, rule_id: str, opened: str, text: str) -> Effect:
    """Other rules may have changed meanwhile; this one must not."""
    from agent.alerts import rules_file

    def patched(before: str) -> str:
        if patch.rule_text(before, rule_id) != opened:
            raise rules_file.ChangedMeanwhileError(
                f"somebody else changed {rule_id} in {path} meanwhile: open it again"
            )
        return patch.replace(before, rule_id, text)

    async def run(db: Db) -> Done:
        try:
            rules_file.change(path, None, patched)
        except (OSError, PatchError, DocumentError, rules_file.ChangedMeanwhileError) as error:
            raise ValueError(str(error)) from None
        return Done(f"{path} is written; agents take it over within seconds")

    return Write(f"writing {path}", run)
