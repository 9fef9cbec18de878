"""What `iot-console runbooks run`, `resume`, `export` and `runs` do."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer

from alerting import document
from alerting.document import DocumentError
from store import alert_views
from store.alert_views import EpisodeRow
from store.errors import StoreError
from tui import library
from tui.command import FAILED, USAGE, chosen, fail, print_json, same_console, way_of
from tui.options import state_directory
from tui.runbook import shell, timeline
from tui.runbook.conduct import Conductor
from tui.runbook.desk import PRODUCTION, Desk, agent_of, cause_of, made
from tui.runbook.parse import Runbook, RunbookError
from tui.runbook.presence import seated
from tui.tunnel import TunnelError

MOST_RUNS = 100


def run(
    context: typer.Context, url_file: Path | None, name: str, values: list[str], alert: str | None,
    answers_file: Path | None, mode: str, follow: bool, yes: bool,
) -> int:  # fmt: skip
    """Begin one and follow it; returns the exit code."""
    book, given, written = _book(name), _values(values), _answers(answers_file, follow)
    _somebody(written)

    async def work(desk: Desk) -> int:
        found = await _alert(desk, alert)
        filled = desk.needs(book, found.labels if found else {}, given)
        missing = {variable: _asked(variable, book, written is None) for variable in filled.asked}
        values = {**filled.values, **missing, **agent_of(found)}
        conductor = await desk.begin(book, values, cause_of(found, mode))
        typer.echo(f"run {conductor.run.facts.run_id}", err=True)
        return await _walk(conductor, written, yes)

    return _at_desk(context, url_file, work)


def resume(context: typer.Context, url_file: Path | None, run_id: str) -> int:
    """Go on with one."""
    _somebody(None)

    async def work(desk: Desk) -> int:
        return await _walk(await _resumed(desk, run_id), None, False)

    return _at_desk(context, url_file, work)


def export(context: typer.Context, url_file: Path | None, run_id: str, noise: bool, as_json: bool) -> int:
    """Print its timeline."""

    async def work(desk: Desk) -> int:
        run, now = (await _resumed(desk, run_id)).run, datetime.now(UTC)
        if as_json:
            found = [asdict(entry) for entry in timeline.entries(run, noise)]
            print_json({"run": asdict(run.facts), "state": run.state, "outcome": run.outcome, "entries": found,
                        "pace": asdict(timeline.pace(run, now))})  # fmt: skip
        else:
            typer.echo(timeline.markdown(run, now, noise), nl=False)
        return 0

    return _at_desk(context, url_file, work)


def runs(context: typer.Context, url_file: Path | None, as_json: bool) -> int:
    """List all."""

    async def work(desk: Desk) -> int:
        found = await desk.runs()
        if as_json:
            print_json([asdict(one) for one in found])
        for one in found if not as_json else ():
            local = "  only on this machine" if one.local else ""
            when = f"{one.started_at:%Y-%m-%d %H:%M}Z"
            typer.echo(f"{one.run_id[:8]}  {when}  {one.state:<10} {one.mode:<7} {one.runbook:<28} {one.owner}{local}")
        return 0

    return _at_desk(context, url_file, work)


def correct(context: typer.Context, url_file: Path | None, run_id: str, number: int, text: str) -> int:
    """One entry, by its number."""

    async def work(desk: Desk) -> int:
        conductor = await _resumed(desk, run_id)
        entries = timeline.entries(conductor.run)
        if not 1 <= number <= len(entries):
            fail(f"an entry's number is 1 to {len(entries)}", USAGE)
        conductor.correct(entries[number - 1].event_id, text)
        await conductor.sync()
        return 0

    return _at_desk(context, url_file, work)


def stats(context: typer.Context, url_file: Path | None, as_json: bool) -> int:
    """Over the newest runs."""

    async def work(desk: Desk) -> int:
        opened = [await desk.resume(one.run_id) for one in (await desk.runs())[:MOST_RUNS]]
        found = timeline.summaries([one.run for one in opened if one is not None], datetime.now(UTC))
        if as_json:
            print_json([asdict(one) for one in found])
        for one in found if not as_json else ():
            first = "-" if one.to_first is None else f"{one.to_first:.0f} s"
            took = f"median {one.total:.0f} s, first step after {first}"
            steps = f"slowest {one.slowest or '-'}, most skipped {one.skipped or '-'}"
            typer.echo(f"{one.runbook:<28} {one.runs:>3} runs, {one.mended} mended, {took}, {steps}")
        return 0

    return _at_desk(context, url_file, work)


def _at_desk(context: typer.Context, url_file: Path | None, work: Callable[[Desk], Awaitable[int]]) -> int:
    """Work with a database that may be away all the time."""
    wanted = chosen(context, url_file)
    way, profile = way_of(wanted)
    environment = profile.environment if profile else PRODUCTION
    desk = made(way, state_directory(), environment, profile, same_console(wanted))

    async def open_and_work() -> int:
        async with seated(desk, way, "iot-console runbook"):
            return await work(desk)

    try:
        return asyncio.run(open_and_work())
    except (StoreError, TunnelError) as error:
        fail(str(error), FAILED)
    except OSError as error:
        fail(f"the journal cannot be kept: {error.filename}: {error.strerror}", FAILED)


async def _walk(conductor: Conductor, chosen_answers: shell.Answers | None, yes: bool) -> int:
    ask = None if chosen_answers is not None else _ask
    walk = shell.Shell(conductor, typer.echo, ask, chosen_answers or shell.Answers(), yes)
    try:
        await walk.follow()
    except shell.NoAnswerError as error:
        conductor.leave()
        await conductor.sync()
        fail(str(error), USAGE)
    if conductor.run.onward and conductor.run.state == "done":
        typer.echo(f"go on with: iot-console runbooks run {conductor.run.onward}", err=True)
        return FAILED  # it is not mended
    run = conductor.run
    saved = "" if conductor.saved else f"; only on this machine: {conductor.sync_error}"
    typer.echo(f"\nrun {run.facts.run_id[:8]}: {run.state}{f', {run.outcome}' if run.outcome else ''}{saved}", err=True)
    return 0 if run.state == "done" else FAILED


def _somebody(answers: shell.Answers | None) -> None:
    """Must be there, before anything begins."""
    if answers is None and not sys.stdin.isatty():
        fail("nobody is here to choose: give --answers FILE", USAGE)


def _ask(question: str) -> str:
    return str(typer.prompt(question, default="", show_default=False))


def _asked(variable: str, book: Runbook, may_ask: bool) -> str:
    if not may_ask or not sys.stdin.isatty():
        fail(f"{book.front.id} needs {variable}: give --var {variable}=VALUE", USAGE)
    return _ask(variable)


def _book(name: str) -> Runbook:
    try:
        return library.read(library.directory() / f"{name}.md")
    except RunbookError as error:
        fail(f"runbook {name}: {error}; see iot-console runbooks list", USAGE)


def _values(given: list[str]) -> dict[str, str]:
    for one in given:
        if "=" not in one:
            fail(f"--var {one}: is NAME=VALUE", USAGE)
    return dict(one.split("=", 1) for one in given)


def _answers(path: Path | None, follow: bool) -> shell.Answers | None:
    if path is None:
        return None
    try:
        found: Any = document.load(path.read_text()).data
        if not isinstance(found, dict):
            raise ValueError("is step: offer, a line each")
        return shell.answers(found, follow)
    except OSError as error:
        fail(f"--answers {path}: {error.strerror}", USAGE)
    except (DocumentError, ValueError) as error:
        fail(f"--answers {path}: {error}", USAGE)


async def _alert(desk: Desk, wanted: str | None) -> EpisodeRow | None:
    if wanted is None:
        return None
    db = desk.db()
    if db is None:
        fail("--alert: the database is away; follow the runbook without it", FAILED)
    firing = await alert_views.episodes(db, timedelta(0))
    found = [row for row in firing if row.alert == wanted or row.event_id.startswith(wanted)]
    if len(found) != 1:
        fail(f"--alert {wanted}: {len(found)} alerts fire that are called so; see iot-console alerts list", USAGE)
    return found[0]


async def _resumed(desk: Desk, run_id: str) -> Conductor:
    found = await desk.resume(run_id)
    if found is None:
        fail(f"there is no run {run_id}, or several begin so; see iot-console runbooks runs", USAGE)
    return found
