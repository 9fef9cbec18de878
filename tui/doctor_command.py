"""`iot-console doctor`: what is well, and whether the hardening holds. For people, scripts and CI."""

import asyncio
import time
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path as File
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sql import migrations
from store.agents import PartState
from store.db import Db
from store.errors import StoreError
from tui.command import (
    FAILED,
    USAGE,
    AsJson,
    Chosen,
    UrlFile,
    chosen,
    fail,
    print_json,
    same_console,
    show_progress,
    way_of,
    with_database,
)
from tui.feed import Feed
from tui.options import state_directory
from tui.panes.doctor import ORDER, Check, Doctor
from tui.profile import Profile, ProfileError, probe_login
from tui.render import literal
from tui.tunnel import TunnelError
from tui.view import Path, PathState, View
from tui.way import Way

if TYPE_CHECKING:
    from probes.hardening import Item, Verdict
    from tui.runbook.desk import Desk

SCHEMA = "iot-console-doctor/3"
UNKNOWN = 2
From = Annotated[
    Literal["console", "agent", ""], typer.Option("--from", help="Look from here only, or from the VM only.")
]


def doctor(
    context: typer.Context,
    problems: Annotated[bool, typer.Option("--problems", help="Only what is not ok.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Only what agents report anyway: nothing is probed.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="The most important checks, in under 20 s.")] = False,
    only: Annotated[str, typer.Option(help="Ids or their beginnings, as in NET,TLS-01.")] = "",
    place: From = "",
    junit: Annotated[File | None, typer.Option(help="Write the checks of hardening into a JUnit file.")] = None,
    azure_commands: Annotated[
        bool, typer.Option("--azure-commands", help="Print how somebody with the rights saves what Azure says.")
    ] = False,
    url_file: UrlFile = None,
    as_json: AsJson = False,
) -> None:
    """What is well and what is not, worst first, with what to do; and whether the hardening holds, by trying it.

    Exit code 0: all well or waived; 1: something fails; 2: nothing fails, and something is unknown.

    Example: iot-console --profile prod doctor --problems
    Example: iot-console --profile prod doctor --only NET,TLS --junit doctor.xml
    """
    wanted = chosen(context, url_file)
    way, profile = way_of(wanted)
    if azure_commands:
        _print_azure_commands(profile)
        return
    if live and junit is not None:
        fail("--junit is for the checks of hardening, and --live leaves them out", USAGE)
    items = [] if live else _items(only, quick, place)
    found = [] if only else examined(way)
    began = time.monotonic()
    verdicts = verdicts_of(wanted, way, profile, items, place, quiet=as_json) if items else []
    if junit is not None:
        _write_junit(junit, verdicts, time.monotonic() - began)
    _print(found, verdicts, problems, as_json)
    raise typer.Exit(_exit_code(found, verdicts))


def _items(only: str, quick: bool, place: str) -> "list[Item]":
    from probes import hardening
    from probes.hardening_items import ITEMS

    try:
        return hardening.chosen(ITEMS, only, quick, place)
    except ValueError as error:
        fail(f"--only: {error}", USAGE)


def _print_azure_commands(profile: Profile | None) -> None:
    from probes import az

    said = profile.azure if profile else {}
    known = {"rg": said.get("resource_group"), "vm": said.get("vm"), "function": said.get("function")}
    values = {name: value for name, value in known.items() if value}
    typer.echo("\n".join(az.commands(said.get("saved", "azure"), values)))
    typer.echo('# then: [profiles.NAME.azure] saved = "that directory"; it counts for a month', err=True)


def desk_of(wanted: Chosen, way: Way, profile: Profile | None) -> "Desk":
    from tui.runbook.desk import PRODUCTION, made

    try:
        if profile is not None and profile.probe is not None:
            probe_login(profile.probe.secret)
    except ProfileError as error:
        fail(str(error), USAGE)
    environment = profile.environment if profile else PRODUCTION
    return made(way, state_directory(), environment, profile, same_console(wanted))


def verdicts_of(
    wanted: Chosen, way: Way, profile: Profile | None, items: "list[Item]", place: str, quiet: bool
) -> "list[Verdict]":
    """Examined, the gravest failure first."""
    from probes import hardening
    from tui import examine
    from tui.runbook.presence import seated

    desk = desk_of(wanted, way, profile)
    done = 0

    def tell(_: "Verdict") -> None:
        nonlocal done
        done += 1
        if not quiet:
            show_progress(f"{done} of {len(items)} examined" if done < len(items) else "")

    async def work() -> "list[Verdict]":
        async with seated(desk, way, "iot-console doctor"):
            return await examine.examine(desk, items, examine.waivers_of(profile), _today(), tell, place)

    try:
        return hardening.ordered(asyncio.run(work()))
    except (StoreError, TunnelError) as error:
        fail(str(error), FAILED)


def _today() -> date:
    return datetime.now(UTC).date()


def _write_junit(path: File, verdicts: "list[Verdict]", took: float) -> None:
    from probes.report import junit

    try:
        path.write_text(junit(verdicts, took))
    except OSError as error:
        fail(f"--junit {path}: {error.strerror}", USAGE)


def _print(found: list[Check], verdicts: "list[Verdict]", problems: bool, as_json: bool) -> None:
    from probes import report

    rows = [check for check in found if not problems or check.state is not PartState.OK]
    shown = [verdict for verdict in verdicts if not problems or verdict.state != "pass"]
    if as_json:
        hardened = [report.row(verdict) for verdict in shown]
        print_json({"schema": SCHEMA, "checks": [asdict(check) for check in rows], "hardening": hardened})
        return
    for check in rows:
        fix = f" -> {check.fix}" if check.fix else ""
        typer.echo(f"{check.state:<8} {check.where:<12} {check.what:<22} {literal(check.found)}{fix}")
    for verdict in shown:
        typer.echo("\n".join(map(literal, report.lines(verdict))))


def _exit_code(found: list[Check], verdicts: "list[Verdict]") -> int:
    from probes.hardening import exit_code

    if any(check.state is PartState.CRIT for check in found):
        return FAILED
    code = exit_code(verdicts)
    return UNKNOWN if code == 0 and any(check.state is PartState.UNKNOWN for check in found) else code


def examined(way: Way) -> list[Check]:
    """What the console sees anyway, worst first. A database that cannot be reached is one of them."""
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
