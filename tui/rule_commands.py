"""`iot-console rules`: the rules in force, tenants' own rules, and an evaluation on demand."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from alerting import document, rules
from alerting.document import DocumentError
from alerting.model import Defaults
from store import alert_rules
from store.alert_rules import RuleRow
from store.db import Db
from tui.command import FAILED, USAGE, AsJson, UrlFile, fail, print_json, run

app = typer.Typer(help="See rules, change a tenant's own, try one.", no_args_is_help=True, rich_markup_mode=None)
ANSWER_SECONDS = 20.0


@app.command("list")
def list_rules(context: typer.Context, url_file: UrlFile = None, as_json: AsJson = False) -> None:
    """List rules and how their evaluation goes. Exit code 1 when one cannot be evaluated.

    Example: iot-console rules list
    """
    found = run(context, url_file, alert_rules.all_rules)
    if as_json:
        print_json([asdict(row) for row in found])
    for row in found if not as_json else ():
        typer.echo(_line(row))
    bad = any(row.error or any(e.error for e in row.evaluated) for row in found)
    raise typer.Exit(FAILED if bad else 0)


def _line(row: RuleRow) -> str:
    trouble = row.error or next((e.error for e in row.evaluated if e.error), None)
    state = f"BROKEN: {trouble}" if trouble else f"{sum(e.open for e in row.evaluated)} open"
    series = max((e.series for e in row.evaluated), default=0)
    return f"{row.rule_key:<32} {row.origin:<7} {series:>5} series  {state:<10} {row.body.get('expr', '')}"


@app.command("show")
def show(context: typer.Context, key: str, url_file: UrlFile = None) -> None:
    """Print a rule with its revision, as JSON.

    Example: iot-console rules show acme/too-hot
    """
    found = run(context, url_file, lambda db: alert_rules.all_rules(db, key))
    if not found:
        fail(f"there is no rule {key}", FAILED)
    print_json(asdict(found[0]))


@app.command("put")
def put(
    context: typer.Context,
    tenant: str,
    file: Annotated[Path, typer.Argument(help="YAML of one rule: id, alert, expr, for, runbook, ...")],
    revision: Annotated[int, typer.Option(help="The revision you saw; 0 creates the rule.")] = 0,
    url_file: UrlFile = None,
) -> None:
    """Create or change a tenant's own rule. It is checked here, and sees that tenant's data only.

    Example: iot-console rules put acme too-hot.yaml
    """
    body = _body(file)
    try:
        rules.tenant_rule(tenant, body, Defaults(), {})
    except ValueError as error:
        fail(f"{file}: {error}", USAGE)
    made = run(context, url_file, lambda db: alert_rules.put(db, tenant, body["id"], body, revision))
    typer.echo(f"{tenant}/{body['id']} is stored as revision {made}")


def _body(file: Path) -> dict[str, Any]:
    try:
        found = document.load(file.read_text()).data
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file}: {getattr(error, 'strerror', None) or error}", USAGE)
    except DocumentError as error:
        fail(f"{file}: {error}", USAGE)
    if not isinstance(found, dict):
        fail(f"{file}: is not one rule: begin with id, alert and expr", USAGE)
    return found


@app.command("delete")
def delete(
    context: typer.Context,
    key: Annotated[str, typer.Argument(metavar="TENANT/RULE")],
    revision: Annotated[int, typer.Option(help="The revision you saw.")],
    url_file: UrlFile = None,
) -> None:
    """Remove a tenant's own rule; what fires by it ends.

    Example: iot-console rules delete acme/too-hot --revision 12
    """
    tenant, _, name = key.partition("/")
    run(context, url_file, lambda db: alert_rules.delete(db, tenant, name, revision))
    typer.echo(f"{key} is gone")


@app.command("params")
def params(
    context: typer.Context,
    tenant: str,
    template: str,
    numbers: Annotated[list[str] | None, typer.Argument(metavar="NAME=NUMBER...")] = None,
    off: Annotated[bool, typer.Option("--off", help="No alerts from this template.")] = False,
    url_file: UrlFile = None,
) -> None:
    """Set a tenant's own numbers for a template of the agents' file.

    Example: iot-console rules params acme temperature-high limit=45
    """
    wanted = dict(_number(text) for text in numbers or [])
    run(context, url_file, lambda db: alert_rules.put_numbers(db, tenant, template, wanted, off))
    typer.echo(f"{tenant}: {template} is {'off' if off else ', '.join(f'{k}={v:g}' for k, v in wanted.items())}")


def _number(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        fail(f"{text!r} is not NAME=NUMBER", USAGE)


@app.command("eval")
def evaluate(context: typer.Context, key: str, url_file: UrlFile = None, as_json: AsJson = False) -> None:
    """Have a rule evaluated now by an agent; events and notifications follow as at any other time.

    Example: iot-console rules eval device-silent
    """

    async def work(db: Db) -> dict[str, Any] | None:
        request = await alert_rules.request(db, key)
        return await alert_rules.wait_for_answer(db, request, ANSWER_SECONDS)

    answer = run(context, url_file, work)
    if answer is None:
        fail(f"no agent answered within {ANSWER_SECONDS:.0f} s: is one running with alerts.enabled?", FAILED)
    if as_json:
        print_json(answer)
    elif answer.get("error"):
        fail(str(answer["error"]), FAILED)
    else:
        for row in answer["rows"]:
            labels = ", ".join(f"{k}={v}" for k, v in sorted(row["labels"].items()) if k != "alertname")
            typer.echo(f"{row['state']:<9} {row['value']:>12g}  {labels}")
        typer.echo(f"{answer['series']} series")
    raise typer.Exit(FAILED if answer.get("error") else 0)
