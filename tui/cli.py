"""The command line of the console. Exit codes: 0 well, 1 not well or not reachable, 2 wrong usage or configuration."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from store.db import Db
from store.errors import StoreError
from store.runtime import read_little, spared
from tui import profile as profiles
from tui import status as status_twin
from tui.command import USAGE, Chosen, UrlFile, chosen, fail, way_of, with_database
from tui.feed import Feed
from tui.look import Look
from tui.tunnel import TunnelError
from tui.view import Snapshot

RATE_SECONDS = 2.0
KEY_SECONDS = 0.0005  # the thread that reads keys waits so long for its turn, several times a key
NOT_WELL = 1
COMPLETING = "_IOT_CONSOLE_COMPLETE"  # the shell asks what may come next

app = typer.Typer(
    name="iot-console",
    help="Watch and operate an IoT ingest service. Without a command: the terminal interface.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def only_screen(words: Sequence[str]) -> bool:
    """Whether nothing but options of the screen was said. What is not known here is for the commands to judge."""
    if COMPLETING in os.environ:
        return False
    options = {
        name: option for option in typer.main.get_command(app).params for name in (*option.opts, *option.secondary_opts)
    }
    left = iter(words)
    for word in left:
        name, _, value = word.partition("=")
        if name not in options:
            return False
        if not (value or getattr(options[name], "is_flag", False)):
            next(left, None)
    return True


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"iot-console {version('iot-console')}")
        raise typer.Exit


@app.callback()
def console(
    context: typer.Context,
    url_file: UrlFile = None,
    profile: Annotated[str | None, typer.Option("--profile", "-p", help="An environment of the config file.")] = None,
    config: Annotated[Path, typer.Option(help="The config file with profiles.")] = profiles.DEFAULT,
    environment: Annotated[str | None, typer.Option(help="The word that is always on screen, such as PROD.")] = None,
    theme: Annotated[str | None, typer.Option(help="auto, dark, light, contrast, deuteranopia or mono.")] = None,
    keymap: Annotated[Path | None, typer.Option(help='Your keys: lines such as acknowledge = "A" (TOML).')] = None,
    alerts_file: Annotated[
        Path | None, typer.Option(help="alerts.yaml on this machine: its rules can be edited then.")
    ] = None,
    ascii_only: Annotated[bool, typer.Option("--ascii", help="No characters beyond ASCII.")] = False,
    mouse: Annotated[bool, typer.Option(help="Clicks and the wheel; off, the terminal selects text.")] = True,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Watch and operate an IoT ingest service.

    Example: iot-console --profile prod
    Example: iot-console --url-file ~/.config/iot-console/prod.url
    """
    context.obj = Chosen(url_file, profile, config)
    if context.invoked_subcommand is not None:
        return
    look = Look(environment, theme, keymap, alerts_file, ascii_only, mouse)
    wanted: Chosen | None = context.obj
    while wanted is not None:
        name = _screen(wanted, look)
        wanted = Chosen(None, name, config) if name else None
        look = replace(look, environment=None, alerts_file=None)  # they were said of the first one


def _screen(wanted: Chosen, look: Look) -> str | None:
    """One console until it ends; returns the profile one changes to."""
    way, profile = way_of(wanted)
    options = look.options(wanted, way, profile)
    if not sys.stdout.isatty():
        fail("this is not a terminal; `iot-console status` prints the same as text", USAGE)
    if os.environ.get("NO_COLOR"):
        os.environ.setdefault("TEXTUAL_THEME", "ansi-dark")  # read when textual is imported; later is too late
    with spared():
        from tui.app import Console  # slow to import, and not needed by the other commands

    read_little()  # so that a key is answered while ten thousand devices come in
    sys.setswitchinterval(KEY_SECONDS)
    return Console(way, options).run(mouse=look.mouse)


@app.command()
def status(
    context: typer.Context,
    url_file: UrlFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the Overview once. Exit code 1 when an agent is silent or a part is critical.

    Example: iot-console status --json | jq .agents[0].status.parts
    """
    way, _ = way_of(chosen(context, url_file))
    try:
        snapshot = asyncio.run(with_database(way, "iot-console status", _ask))
    except (StoreError, TunnelError) as error:
        if as_json:
            typer.echo(json.dumps({"schema": status_twin.SCHEMA, "ok": False, "error": str(error)}))
        fail(str(error), NOT_WELL)
    if as_json:
        typer.echo(json.dumps(status_twin.as_json(snapshot), default=status_twin.encode))
    else:
        typer.echo(status_twin.as_text(snapshot))
    raise typer.Exit(0 if status_twin.healthy(snapshot) else NOT_WELL)


async def _ask(db: Db) -> Snapshot:
    """Two looks a moment apart, because a rate needs two."""
    feed = Feed(db, lambda _: None)
    await feed.ask()
    await asyncio.sleep(RATE_SECONDS)
    return await feed.ask()
