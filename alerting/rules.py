"""Rules ready to be evaluated, from alerts.yaml or from a tenant's row. All mistakes are reported at once."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from alerting import catalogue, document
from alerting.catalogue import Scope
from alerting.document import Document, DocumentError, Mistake, Path
from alerting.expression import Binary, Matcher, Node, Query, queries, split
from alerting.grammar import ExpressionError, parse
from alerting.machine import Labels, NoData, Timing
from alerting.model import Defaults, Group, RuleModel, RulesFile, TemplateModel
from alerting.routing import Inhibition, Route
from alerting.threshold import Limit, limit_of

PARAM = re.compile(r"\{\{\s*param\.([A-Za-z_]\w*)\s*\}\}")
NAME = "alertname"


@dataclass(frozen=True, slots=True)
class Rule:
    """key: the id of a file's rule, TENANT/ID of a tenant's. node: what is measured; limit None: its rows alert.

    labels are fixed and come on top of those of a row. runbook: its id. repeat None: as the route says.
    """

    key: str
    alert: str
    expr: str
    node: Node
    limit: Limit | None
    recover: Limit | None
    timing: Timing
    interval: float
    eval_delay: float
    on_error: NoData
    repeat: float | None
    runbook: str
    labels: Labels
    annotations: Mapping[str, str]
    group: str
    scope: Scope
    tenant: str | None = None

    @property
    def content(self) -> str:
        """A hash of all that matters; equal rules need no reload."""
        known = [
            self.key, self.alert, self.expr, str(self.recover), str(self.timing), self.interval, self.eval_delay,
            self.on_error, self.repeat, self.runbook, self.labels, sorted(self.annotations.items()), self.group,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]

    @property
    def identity(self) -> tuple[str, Labels]:
        """Instances continue while this stays the same."""
        return self.alert, self.labels


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What a file says. templates are made into rules for each tenant with tenant_rules()."""

    rules: tuple[Rule, ...] = ()
    templates: tuple[TemplateModel, ...] = ()
    routes: tuple[Route, ...] = ()
    inhibitions: tuple[Inhibition, ...] = ()
    defaults: Defaults = field(default_factory=Defaults)


def load(text: str) -> RuleSet:
    """The rules of a file. Raises DocumentError with every mistake."""
    found = document.load(text)
    try:
        model = RulesFile.model_validate(found.data)
    except ValidationError as error:
        raise DocumentError([_mistake(found, item) for item in error.errors()]) from None
    collected: list[Mistake] = []
    rules = tuple(_file_rules(model, found, collected))
    _check_templates(model, found, collected)
    _check_ids(model, found, collected)
    if collected:
        raise DocumentError(collected)
    return RuleSet(
        rules,
        tuple(model.templates),
        tuple(Route(dict(r.match), tuple(r.channels), tuple(r.group_by), r.group_wait, r.repeat) for r in model.routes),
        tuple(Inhibition(dict(i.when), dict(i.mute), tuple(i.equal)) for i in model.inhibit),
        model.defaults,
    )


def tenant_rule(tenant: str, body: Mapping[str, Any], defaults: Defaults, params: Mapping[str, float]) -> Rule:
    """A rule that belongs to a tenant, or a template with the tenant's own numbers: it sees that tenant only.

    Raises ValueError with what is wrong.
    """
    try:
        model = TemplateModel.model_validate(body)
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in item['loc'])}: {_text(item)}" for item in error.errors()]
        raise ValueError("\n".join(lines)) from None
    return template_rule(tenant, model, defaults, params)


def template_rule(tenant: str, model: TemplateModel, defaults: Defaults, params: Mapping[str, float]) -> Rule:
    """A template as a tenant's rule. Raises ValueError."""
    expr = _with_params(model, params)
    group = Group(name="tenant", rules=[])
    rule = _compiled(model.model_copy(update={"expr": expr}), group, defaults)
    for query in queries(rule.node):
        metric = catalogue.metric_of(query.metric)
        if metric is None or "tenant" not in metric.labels:
            raise ValueError(f"expr: {query.metric} belongs to no tenant")
        if any(matcher.label == "tenant" for matcher in query.matchers):
            raise ValueError("expr: the tenant is given, it cannot be chosen")
    labels = dict(rule.labels) | {"tenant": tenant}
    return replace(
        rule, key=f"{tenant}/{model.id}", node=_only(rule.node, Matcher("tenant", tenant)), tenant=tenant,
        labels=tuple(sorted(labels.items())),
    )  # fmt: skip


def _only(node: Node, matcher: Matcher) -> Node:
    match node:
        case Query():
            return replace(node, matchers=(*node.matchers, matcher))
        case Binary():
            return replace(node, left=_only(node.left, matcher), right=_only(node.right, matcher))
    return node


def _with_params(model: TemplateModel, params: Mapping[str, float]) -> str:
    def number(match: re.Match[str]) -> str:
        param = model.params.get(match[1])
        if param is None:
            raise ValueError(f"expr: there is no param {match[1]}")
        value = params.get(match[1], param.default)
        if (param.min is not None and value < param.min) or (param.max is not None and value > param.max):
            raise ValueError(f"params.{match[1]}: {value:g} is not within {param.min} and {param.max}")
        return f"{value:g}"

    return PARAM.sub(number, model.expr)


def _compiled(model: RuleModel, group: Group, defaults: Defaults) -> Rule:
    """Raises ValueError; an ExpressionError among them has a column."""
    whole = parse(model.expr)
    node, limit = split(whole)
    wrong = [mistake for query in queries(whole) for mistake in catalogue.mistakes(query)]
    if wrong:
        raise ValueError("expr: " + "; ".join(wrong))
    scopes = {metric.scope for query in queries(whole) if (metric := catalogue.metric_of(query.metric))}
    if len(scopes) > 1:
        raise ValueError(f"expr: mixes metrics of {' and '.join(sorted(scopes))}: one rule can use one of them")
    if not isinstance(whole, Binary):
        raise ValueError("expr: says no condition: compare with something, as in > 90")
    if limit is None and model.recover is not None:
        raise ValueError("recover: needs an expr that compares with one number at its end")
    timing = Timing(
        hold=model.hold,
        keep_firing=model.keep_firing_for,
        no_data=NoData(model.no_data or defaults.no_data),
        limit=group.limit if model.limit is None else model.limit,
        grace=2 * (group.interval or defaults.interval),
    )
    return Rule(
        key=model.id, alert=model.alert, expr=model.expr, node=node, limit=limit,
        recover=None if model.recover is None else limit_of(model.recover),
        timing=timing, interval=group.interval or defaults.interval, eval_delay=group.eval_delay,
        on_error=NoData(model.on_error or defaults.on_error), repeat=model.repeat, runbook=model.runbook,
        labels=tuple(sorted(model.labels.items())), annotations=dict(model.annotations), group=group.name,
        scope=next(iter(scopes)),
    )  # fmt: skip


def _file_rules(model: RulesFile, found: Document, collected: list[Mistake]) -> Iterator[Rule]:
    for g, group in enumerate(model.groups):
        for r, rule in enumerate(group.rules):
            try:
                yield _compiled(rule, group, model.defaults)
            except ValueError as error:
                collected.append(_placed(found, ("groups", g, "rules", r), error))


def _check_templates(model: RulesFile, found: Document, collected: list[Mistake]) -> None:
    for t, shape in enumerate(model.templates):
        try:
            template_rule("any", shape, model.defaults, {})
        except ValueError as error:
            collected.append(_placed(found, ("templates", t), error))


def _check_ids(model: RulesFile, found: Document, collected: list[Mistake]) -> None:
    places: list[tuple[str, Path]] = [
        (rule.id, ("groups", g, "rules", r, "id"))
        for g, group in enumerate(model.groups)
        for r, rule in enumerate(group.rules)
    ]
    places += [(shape.id, ("templates", t, "id")) for t, shape in enumerate(model.templates)]
    first: dict[str, Path] = {}
    for name, path in places:
        if name in first:
            line = found.spans[first[name]][0] + 1
            collected.append(found.mistake(path, f"the id {name} is taken by the rule in line {line}"))
        first.setdefault(name, path)


def _placed(found: Document, path: Path, error: ValueError) -> Mistake:
    """At the key that the message begins with; a mistake in an expression is one of expr."""
    key, _, text = str(error).partition(": ")
    if isinstance(error, ExpressionError):
        return found.mistake((*path, "expr"), f"expr, {error}")
    place = (*path, *key.split("."))
    return found.mistake(place, str(error) if place in found.spans else text or str(error))


def _mistake(found: Document, item: Any) -> Mistake:
    path = tuple(item["loc"])
    where = ".".join(str(part) for part in path if not isinstance(part, int)) or "the file"
    return found.mistake(path, f"{where}: {_text(item)}")


def _text(item: Any) -> str:
    if item["type"] == "extra_forbidden":
        return "unknown key"
    if item["type"] == "missing":
        return "is missing"
    return str(item["msg"]).removeprefix("Value error, ")
