"""`iot-console dead-letters`: what could not be stored; for operators, to have it taken again or discard it."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from store import dead_letters
from store.dead_letters import DeadLetterRow
from tui.command import FAILED, AsJson, UrlFile, Yes, confirmed, fail, print_json, run
from tui.render import literal

app = typer.Typer(help="See what could not be stored, and handle it.", no_args_is_help=True, rich_markup_mode=None)
Numbers = Annotated[list[int], typer.Argument(metavar="NUMBER...")]


@app.command("list")
def list_letters(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    url_file: UrlFile = None,
    as_json: AsJson = False,
) -> None:
    """List the newest dead letters. Exit code 1 when one is open.

    Example: iot-console dead-letters list --json | jq '.[] | select(.reason == "unknown-device") | .topic'
    """
    found = run(context, url_file, lambda db: dead_letters.newest(db, limit))
    if as_json:
        print_json([asdict(row) for row in found])
    for row in found if not as_json else ():
        typer.echo(_line(row))
    raise typer.Exit(FAILED if any(row.state == "open" for row in found) else 0)


def _line(row: DeadLetterRow) -> str:
    state = "waits for the agent" if row.replaying else row.state
    about = f"{row.reason:<15} {literal(row.topic)}: {literal(row.detail)}"
    return f"{row.dead_letter_id:>7}  {row.last_at:%Y-%m-%d %H:%M:%SZ} {state:<10} x{row.times:<5} {about}"


@app.command("show")
def show(context: typer.Context, number: int, url_file: UrlFile = None) -> None:
    """Write a message as it came, byte by byte, to standard output.

    Example: iot-console dead-letters show 17 | xxd
    """
    found = run(context, url_file, lambda db: dead_letters.payload(db, number))
    if found is None:
        fail(f"there is no dead letter {number}, or it is not yours to see", FAILED)
    sys.stdout.buffer.write(found)


@app.command("replay")
def replay(context: typer.Context, numbers: Numbers, url_file: UrlFile = None) -> None:
    """Have an agent take messages again, through the same checks; mend their cause first.

    Example: iot-console dead-letters replay 17 18
    """
    _handle(context, url_file, numbers, "replay", "asked an agent to take {} again; see iot-console dead-letters list")


@app.command("discard")
def discard(context: typer.Context, numbers: Numbers, yes: Yes = False, url_file: UrlFile = None) -> None:
    """Close dead letters that nobody wants; `reopen` brings them back.

    Example: iot-console dead-letters discard 17 --yes
    """
    confirmed(f"Discard {len(numbers)} dead letters?", yes)
    _handle(context, url_file, numbers, "discard", "discarded {}")


@app.command("reopen")
def reopen(context: typer.Context, numbers: Numbers, url_file: UrlFile = None) -> None:
    """Take a discard or a wish for a replay back.

    Example: iot-console dead-letters reopen 17
    """
    _handle(context, url_file, numbers, "reopen", "opened {} again")


def _handle(context: typer.Context, url_file: UrlFile, numbers: list[int], what: str, said: str) -> None:
    changed = run(context, url_file, lambda db: dead_letters.handle(db, numbers, what))
    typer.echo(said.format(changed))
    if changed < len(numbers):
        fail(f"{len(numbers) - changed} of {len(numbers)} could not be: closed already, or gone", FAILED)
