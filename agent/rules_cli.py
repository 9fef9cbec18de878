"""`iot-agent rules`: check, explain and test rules, without a database and without a running agent."""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree

import typer
from pydantic import ValidationError

from agent import config
from agent.alerts import backtest as backtests
from agent.usage import FAILED, USAGE, fail, text_of
from alerting import cases, catalogue, document, durations, explain, model, rules, testrun
from alerting.document import DocumentError
from alerting.rules import Rule, RuleSet
from alerting.ruletest import TestFile
from alerting.testrun import Outcome
from probes.shipped import rules_file, shipped
from store.db import connected
from store.errors import StoreError
from store.target import parse_target

app = typer.Typer(help="Check, explain and test the rules of alerts.", no_args_is_help=True, rich_markup_mode=None)
RulesFile = Annotated[Path | None, typer.Argument(help="Without it, the rules that come with the program.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("check")
def check(
    file: RulesFile = None,
    runbooks: Annotated[Path | None, typer.Option(help="Directory in which every runbook must be.")] = None,
    as_json: AsJson = False,
) -> None:
    """Read a file of rules and report every mistake with its line.

    Example: iot-agent rules check /etc/iot-agent/alerts.yaml
    """
    path = file or rules_file()
    try:
        found = _load(path)
    except DocumentError as error:
        if as_json:
            typer.echo(json.dumps({"ok": False, "mistakes": [asdict(m) for m in error.mistakes]}))
        else:
            for mistake in error.mistakes:
                typer.echo(f"{path}:{mistake.line}:{mistake.column}: {mistake.message}", err=True)
        raise typer.Exit(FAILED) from None
    missing = _without_runbook(found, runbooks or shipped("runbooks"))
    if as_json:
        typer.echo(json.dumps({"ok": not missing, "rules": [rule.key for rule in found.rules], "no_runbook": missing}))
    for line in missing if not as_json else ():
        typer.echo(f"{path}: {line}", err=True)
    if not as_json and not missing:
        typer.echo(f"ok: {len(found.rules)} rules, {len(found.templates)} templates, {len(found.routes)} routes")
    raise typer.Exit(FAILED if missing else 0)


@app.command("explain")
def explain_command(rule: str, file: RulesFile = None) -> None:
    """Say in words what a rule does.

    Example: iot-agent rules explain vm-cpu
    """
    found = next((r for r in _loaded(file).rules if rule in (r.key, r.alert)), None)
    if found is None:
        fail(f"there is no rule {rule}", USAGE)
    typer.echo(explain.words(found))


@app.command("metrics")
def metrics(as_json: AsJson = False) -> None:
    """List what rules can measure.

    Example: iot-agent rules metrics
    """
    if as_json:
        typer.echo(json.dumps([asdict(metric) for metric in catalogue.FIXED]))
        return
    for metric in catalogue.FIXED:
        labels = f"{{{', '.join(metric.labels)}}}" if metric.labels else ""
        typer.echo(f"{metric.name + labels:<44} {metric.form:<8} {metric.help}")
    typer.echo(
        f"{'telemetry.PATH{tenant, device}':<44} {'gauge':<8} a number in the payload, as telemetry.ENERGY.Power"
    )


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of alerts.yaml, for editors.

    Example: iot-agent rules schema > alerts.schema.json
    """
    typer.echo(json.dumps(model.json_schema(), indent=2))


@app.command("run-cases")
def run_cases(file: Path) -> None:
    """Run conformance cases of the state machine; prints one JSON object a case.

    Example: iot-agent rules run-cases cases.json
    """
    try:
        for outcome in cases.run_all(json.loads(text_of(file))):
            typer.echo(json.dumps(outcome))
    except (cases.CaseError, json.JSONDecodeError) as error:
        fail(f"{file}: {error}", USAGE)


@app.command("test")
def run_tests(
    files: list[Path],
    coverage: Annotated[bool, typer.Option("--coverage", help="List rules that no test makes fire.")] = False,
    require: Annotated[bool, typer.Option("--require", help="Exit 1 if there is such a rule.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit report.")] = None,
) -> None:
    """Run tests of rules against simulated series.

    Example: iot-agent rules test tests/rules/*.yaml --coverage
    """
    outcomes: list[Outcome] = []
    known: dict[str, Rule] = {}
    for path in files:
        found, tested = _run_file(path)
        outcomes += found
        known |= {rule.key: rule for rule in tested.rules}
    for outcome in outcomes:
        typer.echo(f"{'FAILED' if outcome.failures else 'ok':<7} {outcome.name}")
        for line in outcome.failures:
            typer.echo(f"        {line}")
    if junit is not None:
        junit.write_bytes(_junit(outcomes))
    bare = sorted(set(known) - {key for outcome in outcomes for key in outcome.covered})
    if coverage or require:
        typer.echo(
            f"coverage: {len(known) - len(bare)} of {len(known)} rules; without a test: {', '.join(bare) or 'none'}"
        )
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    typer.echo(f"{len(outcomes) - failed} passed, {failed} failed")
    raise typer.Exit(FAILED if failed or (require and bare) else 0)


@app.command("backtest")
def backtest(
    rule: str,
    since: Annotated[str, typer.Option(help="How far back, such as 7d.")] = "1d",
    file: Annotated[Path | None, typer.Option("--rules", help="Without it, the rules of the program.")] = None,
    config_file: Annotated[Path | None, typer.Option("--config", "-c")] = None,
    as_json: AsJson = False,
) -> None:
    """Say when a rule would have fired over what is stored.

    Example: iot-agent rules backtest device-silent --since 7d
    """
    found = next((r for r in _loaded(file).rules if rule in (r.key, r.alert)), None)
    if found is None:
        fail(f"there is no rule {rule}", USAGE)
    try:
        seconds = durations.seconds(since)
        settings = config.from_process(config_file)
        spans = asyncio.run(_backtest(found, seconds, settings))
    except (ValueError, config.ConfigError) as error:
        fail(str(error), USAGE)
    except StoreError as error:
        fail(str(error), FAILED)
    if as_json:
        typer.echo(json.dumps([asdict(span) for span in spans]))
        return
    for span in spans:
        typer.echo(span.line())
    typer.echo(f"{found.alert} would have fired {len(spans)} times within {since}")


async def _backtest(rule: Rule, seconds: float, settings: config.Settings) -> list[backtests.Span]:
    target = parse_target(settings.database.url.get_secret_value(), settings.database.ca_file)
    async with connected(target, "iot-agent backtest", 1) as db:
        return await backtests.run(rule, db, seconds, settings.alerts.database_limit_gb * 1e9)


def _run_file(path: Path) -> tuple[list[Outcome], RuleSet]:
    try:
        found = document.load(text_of(path))
        tests = TestFile.model_validate(found.data)
        rule_set = RuleSet()
        for name in tests.rule_files:
            loaded = _loaded(path.parent / name)
            rule_set = RuleSet((*rule_set.rules, *loaded.rules), (), loaded.routes, loaded.inhibitions)
        return [
            testrun.run(
                test,
                rule_set,
                tests.evaluation_interval,
                f"{path.name}: {test.name or number}",
                lambda name: _loaded(path.parent / name),
            )
            for number, test in enumerate(tests.tests)
        ], rule_set
    except ValidationError as error:
        lines = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors()]
        fail(f"{path}: " + "; ".join(lines), USAGE)
    except (DocumentError, ValueError) as error:
        fail(f"{path}: {error}", USAGE)


def _junit(outcomes: list[Outcome]) -> bytes:
    failed = sum(bool(outcome.failures) for outcome in outcomes)
    suite = ElementTree.Element("testsuite", name="rules", tests=str(len(outcomes)), failures=str(failed))
    for outcome in outcomes:
        case = ElementTree.SubElement(suite, "testcase", name=outcome.name)
        if outcome.failures:
            ElementTree.SubElement(case, "failure", message=outcome.failures[0]).text = "\n".join(outcome.failures)
    return bytes(ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True))


def _without_runbook(found: RuleSet, directory: Path) -> list[str]:
    return [
        f"rule {rule.key}: there is no runbook {directory / rule.runbook}.md"
        for rule in found.rules
        if not (directory / f"{rule.runbook}.md").exists()
    ]


def _loaded(file: Path | None) -> RuleSet:
    path = file or rules_file()
    try:
        return _load(path)
    except DocumentError as error:
        fail(f"{path}:\n{error}", USAGE)


def _load(path: Path) -> RuleSet:
    return rules.load(text_of(path))
