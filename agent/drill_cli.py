"""`iot-agent drill`: prove that an alert fires, is told, and resolves, with a real fault on a private local stack."""

import asyncio
import json
import signal
import sys
from typing import Annotated

import typer

FAILED, USAGE = 1, 2


def drill(
    name: Annotated[str | None, typer.Argument(help="Without it, the list of drills.")] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Make the limit unreachable: the drill must fail, or it proves nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the evidence as JSON.")] = False,
) -> None:
    """Inject a real fault and demand the alert, the message and its end. Exit code 1 if one is missing.

    A database, broker, agent and devices of its own are started for it and removed again; nothing else is touched. The
    rules are those that come with the program, with seconds instead of minutes.
    Example: iot-agent drill mqtt-down
    """
    try:
        from stack import drill as runner  # only this command needs the local stack
        from stack import drills
        from stack.process import StackError
    except ImportError as error:
        typer.echo(
            f"iot-agent: drills need the local stack ({error}): pip install 'iot-console[lab]'",
            err=True,
        )
        raise typer.Exit(USAGE) from error
    if name is None:
        for found in drills.ALL:
            typer.echo(f"{found.name:<15} {found.what}: {' or '.join(found.alerts)} within {found.within:g} s")
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        evidence = asyncio.run(runner.run(drills.named(name), blind, lambda line: typer.echo(f"  {line}", err=True)))
    except StackError as error:
        typer.echo(f"iot-agent: {error}", err=True)
        raise typer.Exit(USAGE) from None
    if as_json:
        typer.echo(json.dumps(evidence.as_dict(), indent=2))
    else:
        typer.echo(f"{name}: {'passed' if evidence.passed else f'FAILED: {evidence.failure}'}")
    sys.exit(0 if evidence.passed else FAILED)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt
