"""`iot-console runbooks`: read, check and follow them, and what came of it. Following works without a database."""

from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from alerting.document import DocumentError
from probes.shipped import shipped
from tui import library
from tui.command import FAILED, USAGE, AsJson, UrlFile, Yes, fail, print_json
from tui.runbook.model import json_schema

app = typer.Typer(help="Read and follow what to do about an alert.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_runbooks(as_json: AsJson = False) -> None:
    """List the runbooks. Exit code 1 when a file cannot be used.

    Example: iot-console runbooks list
    """
    found = library.runbooks(library.directory())
    if as_json:
        print_json([asdict(runbook) for runbook in found])
    for runbook in found if not as_json else ():
        typer.echo(f"{runbook.id:<30} {runbook.severity:<6} {runbook.error or runbook.title}")
    raise typer.Exit(FAILED if any(runbook.error for runbook in found) else 0)


@app.command("show")
def show_runbook(name: str) -> None:
    """Print a runbook as Markdown.

    Example: iot-console runbooks show broker-down | less
    """
    found = next((runbook for runbook in library.runbooks(library.directory()) if runbook.id == name), None)
    if found is None:
        fail(f"there is no runbook {name}: see iot-console runbooks list", USAGE)
    typer.echo(found.error or found.text)
    raise typer.Exit(FAILED if found.error else 0)


@app.command("lint")
def lint_runbooks(
    folder: Annotated[Path | None, typer.Argument(help="Directory of runbooks; without it, those shipped.")] = None,
    rules_file: Annotated[
        Path | None, typer.Option("--rules", help="alerts.yaml that names them; without it, the one shipped.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find dead ends, unknown names and stale reviews, against the rules that name them. Exit code 1 when there are.

    Example: iot-console runbooks lint
    Example: iot-console runbooks lint ./runbooks --rules ./alerts.yaml
    """
    here = folder or library.directory()
    if not here.is_dir():
        fail(f"{here} is no directory", USAGE)
    try:
        found = library.mistakes(here, rules_file or shipped("alerts.yaml"), datetime.now(UTC).date())
    except (OSError, DocumentError) as error:
        fail(f"{rules_file}: {error}", USAGE)
    if as_json:
        print_json(found)
    for line in found if not as_json else ():
        typer.echo(line)
    if not as_json and not found:
        typer.echo(f"{len(list(here.glob('*.md')))} runbooks are well")
    raise typer.Exit(FAILED if found else 0)


@app.command("schema")
def step_schema() -> None:
    """Print the JSON Schema of a fenced step, for editors.

    Example: iot-console runbooks schema > step.schema.json
    """
    print_json(json_schema())


@app.command("run")
def run_runbook(
    context: typer.Context,
    name: str,
    values: Annotated[
        list[str] | None, typer.Option("--var", help="NAME=VALUE of a variable; may be repeated.")
    ] = None,
    alert: Annotated[str | None, typer.Option(help="Name or id of the alert it is for: it is acknowledged.")] = None,
    answers_file: Annotated[
        Path | None, typer.Option("--answers", help="YAML, step to offer: follow it without asking.")
    ] = None,
    drill: Annotated[
        bool,
        typer.Option(
            "--drill", help="An exercise: outside of DEMO, TEST, STAGING, DEV and LAB, changes are only shown."
        ),
    ] = False,
    manual: Annotated[bool, typer.Option("--manual", help="Execute nothing: read, do by hand, write down.")] = False,
    follow: Annotated[
        bool, typer.Option(help="With --answers: take what is suggested where the file is silent.")
    ] = False,
    yes: Yes = False,
    url_file: UrlFile = None,
) -> None:
    """Follow a runbook in this terminal. Exit code 1 when it ends unfinished, 2 when an answer is missing.

    Example: iot-console --profile prod runbooks run broker-down --alert BrokerDown
    Example: iot-console runbooks run db-timeout --drill --answers answers.yaml --yes
    """
    if drill and manual:
        fail("--drill and --manual: give one of them", USAGE)
    mode = "drill" if drill else "manual" if manual else "live"
    raise typer.Exit(_follow().run(context, url_file, name, values or [], alert, answers_file, mode, follow, yes))


@app.command("resume")
def resume_run(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(help="The beginning of its id; see iot-console runbooks runs.")],
    url_file: UrlFile = None,
) -> None:
    """Go on with a run, from this machine or from another one.

    Example: iot-console runbooks resume 4f2a
    """

    raise typer.Exit(_follow().resume(context, url_file, run_id))


@app.command("export")
def export_run(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(help="The beginning of its id; see iot-console runbooks runs.")],
    noise: Annotated[bool, typer.Option("--all", help="Also what only the machine has noticed.")] = False,
    as_json: AsJson = False,
    url_file: UrlFile = None,
) -> None:
    """Print the timeline of a run as Markdown, for the post-mortem.

    Example: iot-console runbooks export 4f2a > incident.md
    """

    raise typer.Exit(_follow().export(context, url_file, run_id, noise, as_json))


@app.command("runs")
def list_runs(context: typer.Context, as_json: AsJson = False, url_file: UrlFile = None) -> None:
    """List runs, open ones first: of the database, and those that only this machine knows.

    Example: iot-console runbooks runs
    """

    raise typer.Exit(_follow().runs(context, url_file, as_json))


@app.command("correct")
def correct_entry(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(help="The beginning of its id; see iot-console runbooks runs.")],
    number: Annotated[int, typer.Argument(help="Of the entry, from 1; `export --json` has them in order.")],
    text: Annotated[str, typer.Argument(help="What it should say.")],
    url_file: UrlFile = None,
) -> None:
    """Correct an entry of a timeline. What it said before stays on record.

    Example: iot-console runbooks correct 4f2a 4 "the broker was restarted by ben"
    """
    raise typer.Exit(_follow().correct(context, url_file, run_id, number, text))


@app.command("stats")
def run_stats(context: typer.Context, as_json: AsJson = False, url_file: UrlFile = None) -> None:
    """How runs went, by runbook: time to the first step, the slowest step, what is skipped. It says what to mend next.

    Example: iot-console runbooks stats
    """
    raise typer.Exit(_follow().stats(context, url_file, as_json))


def _follow() -> ModuleType:
    """Slow to import, and not needed for anything else."""
    return import_module("tui.runbook.follow")
