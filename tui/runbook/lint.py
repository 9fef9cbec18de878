"""What is wrong with runbooks before somebody needs them: dead ends, unknown names, staleness. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date

from probes.finding import Signature
from tui.runbook.model import VARIABLE, Check, Command, Decide, Handoff, Instruct, Note, Wait, variables
from tui.runbook.parse import Runbook, Step

ELSEWHERE = "runbook:"
CONFIG = re.compile(r"environment|ssh|console|broker\.(host|port|name)|(azure|contacts|commands|limits)\.[a-z_]+")
OF_EVERY_RUN = {"run.id", "run.started_at", "run.step", "run.owner"}


@dataclass(frozen=True, slots=True)
class Known:
    """Names that exist. alerts: alert name to the runbook that its rule names."""

    checks: Mapping[str, Signature] = field(default_factory=dict)
    actions: Mapping[str, Signature] = field(default_factory=dict)
    alerts: Mapping[str, str] = field(default_factory=dict)
    runbooks: Set[str] = frozenset()


def lint(runbook: Runbook, known: Known, today: date) -> list[str]:
    """Mistakes, each with its line where it has one."""
    found = [*_places(runbook, known), *_names(runbook, known), *_variables(runbook), *_alerts(runbook, known)]
    found += [f"done_when: there is no step {name}" for name in runbook.front.done_when if runbook.step(name) is None]
    due = (today - runbook.front.last_reviewed).days - runbook.front.review_every_days
    if due > 0:
        found.append(f"last_reviewed: due for {due} days: read it against the system, then set the date")
    return found


def unanswered(known: Known, runbooks: Sequence[Runbook]) -> list[str]:
    """Alerts whose rule names a runbook that is not there."""
    there = {runbook.front.id for runbook in runbooks}
    return [
        f"alert {alert}: there is no runbook {name}"
        for alert, name in sorted(known.alerts.items())
        if name not in there
    ]


def _places(runbook: Runbook, known: Known) -> Iterator[str]:
    """Every place one is sent to exists, and every step is reached."""
    ids = [step.id for step in runbook.steps]
    reached = set(ids[:1])
    for step, following in zip(runbook.steps, [*ids[1:], None], strict=True):
        for place in targets(step, following):
            reached.add(place)
            if place.startswith(ELSEWHERE):
                if place.removeprefix(ELSEWHERE) not in known.runbooks:
                    yield f"line {step.line}: {step.id} leads to a runbook that is not there: {place}"
            elif place not in ids:
                yield f"line {step.line}: {step.id} leads to a step that is not there: {place}"
    yield from (f"line {step.line}: nothing leads to {step.id}" for step in runbook.steps if step.id not in reached)


def targets(step: Step, following: str | None) -> list[str]:
    """Where one may come from a step. following: the step below it, None at the end."""
    match step.action:
        case Decide(options=options):
            return [option.goto for option in options]
        case Check(on_pass=a, on_fail=b, on_unknown=c):
            return _resolved((a, b, c), following)
        case Wait(on_pass=a, on_fail=b):
            return _resolved((a, b), following)
        case Command(goto=goto, on_fail=fail, rollback=rollback):
            after = [goto] if goto else _resolved(("next",), following)
            return [*after, *_resolved((fail,), following), *([rollback] if rollback else [])]
        case Instruct(goto=goto) | Note(goto=goto) | Handoff(goto=goto):
            return [goto] if goto else _resolved(("next",), following)
        case _:
            return _resolved(("next",), following)


def _resolved(found: Sequence[str], following: str | None) -> list[str]:
    places = [following if target == "next" else target.removeprefix("goto ") for target in found]
    return [place for place in places if place is not None]


def _names(runbook: Runbook, known: Known) -> Iterator[str]:
    """Checks and actions exist and have their parameters; `when` speaks of results that were recorded before."""
    results: set[str] = set()
    for step in runbook.steps:
        for name, given in _probes(step):
            yield from _call(f"line {step.line}: check {name}", known.checks.get(name), given)
        if isinstance(step.action, Command) and step.action.action is not None:
            signature = known.actions.get(step.action.action)
            yield from _call(f"line {step.line}: action {step.action.action}", signature, set(step.action.arguments))
        if isinstance(step.action, Check):
            results |= {step.id, *(f"{step.id}.{probe.id}" for probe in step.action.probes if probe.id)}
        if isinstance(step.action, Decide):
            asked = {key for option in step.action.options for key in option.when}
            yield from (f"line {step.line}: {step.id} asks for a result that no check above records: {key}"
                        for key in sorted(asked - results))  # fmt: skip


def _probes(step: Step) -> list[tuple[str, set[str]]]:
    match step.action:
        case Check(capture=capture) as action:
            found = [*action.probes, *([capture] if capture else [])]
        case Wait(until=until):
            found = [until]
        case Command(verify=verify):
            found = [verify] if verify else []
        case _:
            found = []
    return [(probe.check, set(probe.arguments)) for probe in found]


def _call(what: str, signature: Signature | None, given: Set[str]) -> Iterator[str]:
    if signature is None:
        yield f"{what}: there is no such name"
        return
    missing, unknown = signature.required - given, given - signature.required - signature.optional
    if missing:
        yield f"{what}: needs {', '.join(sorted(missing))}"
    if unknown:
        yield f"{what}: takes no {', '.join(sorted(unknown))}"


def _variables(runbook: Runbook) -> Iterator[str]:
    """All that stand in a step are declared, all declared are used, and no secret is shown."""
    used: set[str] = set(VARIABLE.findall(runbook.intro))
    secret = {name for name, variable in runbook.front.vars.items() if variable.secret}
    for step in runbook.steps:
        here = variables(step.action) | set(VARIABLE.findall(step.prose))
        used |= here
        unknown = here - runbook.front.vars.keys() - OF_EVERY_RUN
        yield from (f"line {step.line}: {{{{{name}}}}} is not declared under vars" for name in sorted(unknown))
        if isinstance(step.action, Command):
            yield from (f"line {step.line}: {name} is secret: it would show in the process list"
                        for name in sorted(here & secret))  # fmt: skip
    for name, variable in runbook.front.vars.items():
        kind, _, rest = variable.source.partition(".")
        if kind == "config" and not CONFIG.fullmatch(rest):
            yield f"vars.{name}: a profile has no {rest}"
    yield from (f"vars.{name}: is used nowhere" for name in sorted(runbook.front.vars.keys() - used))


def _alerts(runbook: Runbook, known: Known) -> Iterator[str]:
    """Its alerts exist, and those whose rules name it are all said."""
    mine = {alert for alert, name in known.alerts.items() if name == runbook.front.id}
    yield from (f"alerts: no rule raises {alert}" for alert in runbook.front.alerts if alert not in known.alerts)
    yield from (
        f"alerts: {alert} names this runbook and is missing" for alert in sorted(mine - set(runbook.front.alerts))
    )
