"""Every command of both programs says in its help how one uses it."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from agent import cli as agent_cli
from tui import cli as console_cli
from tui import commands as console_commands


def all_of(command: Any, path: str) -> Iterator[tuple[str, str]]:
    """What one types for each command, and its help."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command.help or ""
    else:
        for name, below in inner.items():
            yield from all_of(below, f"{path} {name}")


def test_every_command_explains_itself_with_an_example() -> None:
    agent_cli._add_commands()
    console_commands.add_to(console_cli.app)
    programs = (("iot-agent", agent_cli.app), ("iot-console", console_cli.app))
    helps = {path: said for name, app in programs for path, said in all_of(typer.main.get_command(app), name)}
    assert {"iot-agent run", "iot-agent creds init", "iot-console users list", "iot-console runbooks run"} <= set(helps)
    for path, said in helps.items():
        program, command = path.split(" ", 1)
        example = said.partition("Example: ")[2]
        assert program in example, path
        assert command in example, path


@pytest.mark.parametrize(
    ("words", "only"),
    [
        ("", True),
        ("--profile prod --ascii --no-mouse", True),
        ("-p users --theme=dark", True),
        ("--url-file", True),
        ("--version", True),
        ("--help", False),
        ("users list", False),
        ("--profile prod users", False),
        ("--such", False),
        ("-pprod", False),
    ],
)
def test_the_screen_starts_without_the_commands(words: str, only: bool) -> None:
    assert console_cli.only_screen(words.split()) == only


def test_a_shell_that_completes_is_told_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(console_cli.COMPLETING, "complete_bash")
    assert not console_cli.only_screen([])
