"""The command line of the console. Exit codes: 0 well, 1 not well or not reachable, 2 wrong usage or configuration."""

import asyncio
import json
import os
import sys
from typing import Annotated

import typer

from store.db import connected
from store.errors import StoreError
from store.target import Target
from tui import status as status_twin
from tui.command import USAGE, UrlFile, fail, target_of
from tui.feed import Feed
from tui.view import Snapshot

RATE_SECONDS = 2.0
NOT_WELL = 1

app = typer.Typer(
    name="iot-console",
    help="Watch and operate an IoT ingest service. Without a command: the terminal interface.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    app()


@app.callback()
def console(
    context: typer.Context,
    url_file: UrlFile = None,
    environment: Annotated[str, typer.Option(help="The word that is always on screen, such as PROD.")] = "PROD",
    ascii_only: Annotated[bool, typer.Option("--ascii", help="No characters beyond ASCII.")] = False,
) -> None:
    """Watch and operate an IoT ingest service.

    Example: iot-console --url-file ~/.config/iot-console/prod.url
    """
    if context.invoked_subcommand is not None:
        context.obj = url_file
        return
    target = target_of(url_file)
    if not sys.stdout.isatty():
        fail("this is not a terminal; `iot-console status` prints the same as text", USAGE)
    if os.environ.get("NO_COLOR"):
        os.environ.setdefault("TEXTUAL_THEME", "ansi-dark")  # read when textual is imported; later is too late
    from tui.app import Console  # slow to import, and not needed by the other commands

    Console(target, environment, ascii_only).run()


@app.command()
def status(
    context: typer.Context,
    url_file: UrlFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the Overview once. Exit code 1 when an agent is silent or a part is critical.

    Example: iot-console status --json | jq .agents[0].status.parts
    """
    target = target_of(url_file or context.obj)
    try:
        snapshot = asyncio.run(_ask(target))
    except StoreError as error:
        if as_json:
            typer.echo(json.dumps({"schema": status_twin.SCHEMA, "ok": False, "error": str(error)}))
        fail(str(error), NOT_WELL)
    if as_json:
        typer.echo(json.dumps(status_twin.as_json(snapshot), default=status_twin.encode))
    else:
        typer.echo(status_twin.as_text(snapshot))
    raise typer.Exit(0 if status_twin.healthy(snapshot) else NOT_WELL)


async def _ask(target: Target) -> Snapshot:
    """Two looks a moment apart, because a rate needs two."""
    async with connected(target, "iot-console status", 1) as db:
        feed = Feed(db, lambda _: None)
        await feed.ask()
        await asyncio.sleep(RATE_SECONDS)
        return await feed.ask()


# registered last, so that help lists them last
from tui import alert_commands, credential_commands, device_commands, rule_commands  # noqa: E402

app.command("devices")(device_commands.devices)
app.add_typer(device_commands.app, name="device")
app.add_typer(credential_commands.app, name="credentials")
app.add_typer(alert_commands.app, name="alerts")
app.add_typer(rule_commands.app, name="rules")
