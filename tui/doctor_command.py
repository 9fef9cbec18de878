"""`iot-console doctor`: the Doctor pane for scripts and screen readers."""

import asyncio
import time
from dataclasses import asdict
from typing import Annotated

import typer

from sql import migrations
from store.agents import PartState
from store.db import Db
from store.errors import StoreError
from tui.command import FAILED, AsJson, UrlFile, chosen, print_json, way_of, with_database
from tui.feed import Feed
from tui.panes.doctor import ORDER, Check, Doctor
from tui.render import literal
from tui.tunnel import TunnelError
from tui.view import Path, PathState, View
from tui.way import Way

SCHEMA = "iot-console-doctor/1"


def doctor(
    context: typer.Context,
    problems: Annotated[bool, typer.Option("--problems", help="Only what is not ok.")] = False,
    url_file: UrlFile = None,
    as_json: AsJson = False,
) -> None:
    """What is well and what is not, worst first, with what to do. Exit code 1 when something is critical.

    Example: iot-console doctor --problems
    """
    way, _ = way_of(chosen(context, url_file))
    found = [check for check in examined(way) if not problems or check.state is not PartState.OK]
    if as_json:
        print_json({"schema": SCHEMA, "checks": [asdict(check) for check in found]})
    for check in found if not as_json else ():
        fix = f" -> {check.fix}" if check.fix else ""
        typer.echo(f"{check.state:<8} {check.where:<12} {check.what:<22} {literal(check.found)}{fix}")
    raise typer.Exit(FAILED if any(check.state is PartState.CRIT for check in found) else 0)


def examined(way: Way) -> list[Check]:
    """All checks, worst first. A database that cannot be reached is one of them."""
    pane = Doctor(migrations())
    try:
        view = asyncio.run(with_database(way, "iot-console doctor", lambda db: _look(db, way, pane)))
    except (StoreError, TunnelError) as error:
        now = time.time()
        view = View(now, "", way.words, Path(PathState.LOST, now, str(error), now), None)
    return sorted(pane.checks(view), key=lambda check: ORDER.index(check.state))


async def _look(db: Db, way: Way, pane: Doctor) -> View:
    snapshot = await Feed(db, lambda _: None).ask()
    pane.put(await pane.load(db), snapshot.at)
    return View(time.time(), "", way.words, Path(PathState.LIVE, snapshot.at), snapshot)
