"""Every command of both programs says in its help how one uses it."""

from collections.abc import Iterator
from typing import Any

import typer

from agent import cli as agent_cli
from tui import cli as console_cli


def commands(command: Any, path: str) -> Iterator[tuple[str, str]]:
    """What one types for each command, and its help."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command.help or ""
    else:
        for name, below in inner.items():
            yield from commands(below, f"{path} {name}")


def test_every_command_explains_itself_with_an_example() -> None:
    agent_cli._add_commands()
    programs = (("iot-agent", agent_cli.app), ("iot-console", console_cli.app))
    helps = {path: said for name, app in programs for path, said in commands(typer.main.get_command(app), name)}
    assert {"iot-agent run", "iot-agent creds init", "iot-console users list", "iot-console runbooks run"} <= set(helps)
    silent = [path for path, said in helps.items() if path.split(" ", 1)[1] not in said.partition("Example: ")[2]]
    assert not silent
