"""`iot-console profiles`, `login`, `keys` and `runbooks`: what needs no database."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from alerting.document import DocumentError
from probes.shipped import shipped
from tui import library, passwords
from tui import profile as profiles
from tui.actions import ACTIONS
from tui.command import FAILED, USAGE, AsJson, Chosen, fail, print_json
from tui.keymap import key_name
from tui.profile import ProfileError
from tui.runbook.model import json_schema

runbooks = typer.Typer(help="Read what to do about an alert.", no_args_is_help=True, rich_markup_mode=None)


def list_profiles(context: typer.Context, as_json: AsJson = False) -> None:
    """List the environments of the config file. It holds no passwords; this prints none.

    Example: iot-console profiles
    """
    found = context.find_root().obj
    config = found.config if isinstance(found, Chosen) else profiles.DEFAULT
    try:
        file = profiles.load(config)
    except ProfileError as error:
        fail(str(error), USAGE)
    if as_json:
        print_json({name: profile.model_dump(mode="json") for name, profile in file.profiles.items()})
    for name, profile in file.profiles.items() if not as_json else ():
        mark = "*" if name == file.default else " "
        way = f" through ssh {profile.ssh}" if profile.ssh else ""
        where = f"{profile.user}@{profile.host}:{profile.port}/{profile.database}{way}"
        typer.echo(f"{mark} {name:<16} {profile.environment:<10} {where}, password from {profile.password}")


def login(
    context: typer.Context,
    forget: Annotated[bool, typer.Option("--forget", help="Take the password out of the keyring.")] = False,
) -> None:
    """Put the password of a profile into this machine's keyring. It is asked for without an echo.

    Example: iot-console --profile prod login
    """
    found = context.find_root().obj
    chosen = found if isinstance(found, Chosen) else Chosen()
    try:
        name, profile = profiles.choose(profiles.load(chosen.config), chosen.profile, chosen.config)
        if profile.password != "keyring":
            raise ProfileError(f'profile {name} takes its password from {profile.password}; set password = "keyring"')
        if forget:
            passwords.forget(name, profile)
        else:
            passwords.keep(name, profile, passwords.asked(name, profile))
    except ProfileError as error:
        fail(str(error), USAGE)
    typer.echo(f"the keyring {'forgot' if forget else 'has'} the password of {profile.user} at {name}")


def keys(as_json: AsJson = False) -> None:
    """List every action of the screen with its keys; the names are those of a keymap file.

    Example: iot-console keys --json | jq -r '.[].action' | sort -u
    """
    if as_json:
        print_json([asdict(action) | {"action": action.id} for action in ACTIONS])
        return
    for action in ACTIONS:
        places = ", ".join(action.places) or "everywhere"
        needs = f" (needs {action.role})" if action.role else ""
        names = " ".join(key_name(key) for key in action.keys) or "-"
        typer.echo(f"{action.id:<16} {names:<16} {action.help}{needs} [{places}]")


@runbooks.command("list")
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


@runbooks.command("show")
def show_runbook(name: str) -> None:
    """Print a runbook as Markdown.

    Example: iot-console runbooks show broker-down | less
    """
    found = next((runbook for runbook in library.runbooks(library.directory()) if runbook.id == name), None)
    if found is None:
        fail(f"there is no runbook {name}: see iot-console runbooks list", USAGE)
    typer.echo(found.error or found.text)
    raise typer.Exit(FAILED if found.error else 0)


@runbooks.command("lint")
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


@runbooks.command("schema")
def step_schema() -> None:
    """Print the JSON Schema of a fenced step, for editors.

    Example: iot-console runbooks schema > step.schema.json
    """
    print_json(json_schema())
