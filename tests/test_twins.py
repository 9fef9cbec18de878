"""The plain twins of the panes: people, dead letters, runbooks, keys."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from stack.terminal import Terminal
from store.members import Role
from store.target import parse_target
from tests.consoles import person_url, run_cli
from tests.servers import Database

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest_asyncio.fixture
async def command(embedded_database: Database, tmp_path: Path) -> AsyncIterator[Command]:
    """Runs iot-console as an owner of the service."""
    file = tmp_path / "url"
    file.write_text(await person_url(embedded_database))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return run_cli("--url-file", str(file), *arguments)

    yield run


async def said(command: Command, *arguments: str, code: int = 0) -> str:
    done = await asyncio.to_thread(command, *arguments)
    assert done.returncode == code, done
    return done.stdout + done.stderr


async def test_people_from_beginning_to_end(command: Command, embedded_database: Database, tmp_path: Path) -> None:
    login, short = f"iot_u_{embedded_database.name}", embedded_database.name
    secret = tmp_path / "ben.secret"
    await said(
        command,
        "users",
        "create",
        short,
        "--tenant",
        "acme",
        "--role",
        "operator",
        "--name",
        "Ben",
        "--out",
        str(secret),
    )
    assert secret.stat().st_mode & 0o077 == 0
    name, password = secret.read_text().split()
    assert name == login
    connection = await asyncpg.connect(embedded_database.cluster.url(login, password, embedded_database.name))
    found = {row["login"]: row for row in json.loads(await said(command, "users", "list", "--json"))}
    assert found[login]["roles"] == {"acme": "operator"}
    assert login in await said(command, "users", "sessions")
    assert "is owner of acme" in await said(command, "users", "role", short, "acme", "owner")
    assert "1 sessions" in await said(command, "users", "end-sessions", short)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
        await connection.fetch("select 1")
    assert "Say so with --yes" in await said(command, "users", "disable", short, code=2)
    assert "shut out" in await said(command, "users", "disable", short, "--yes")
    assert "may log in again" in await said(command, "users", "enable", short)
    again = tmp_path / "again"
    await said(command, "users", "reset", short, "--out", str(again))
    assert password not in again.read_text()
    assert "File exists" in await said(command, "users", "reset", short, "--out", str(again), code=2)
    assert "reset password" in await said(command, "users", "history", short)
    assert "is out of acme" in await said(command, "users", "remove", short, "acme", "--yes")
    assert "last owner of platform" in await said(command, "users", "role", "anna", "platform", "viewer", code=1)
    assert login not in await said(command, "users", "list")


async def test_a_password_of_ones_own_is_asked_for_twice(embedded_database: Database, tmp_path: Path) -> None:
    url = await person_url(embedded_database, "iot_u_own", "acme", Role.VIEWER)
    file = tmp_path / "url"
    file.write_text(url)

    def change(first: str, second: str) -> tuple[str, int]:
        terminal = Terminal(file, "users", "password")
        try:
            terminal.until("New password:")
            terminal.press(f"{first}\n")
            terminal.until("The same again:")
            terminal.press(f"{second}\n")
            terminal.quiet(1.0)
            return "\n".join(terminal.screen.display), terminal.process.wait(20)
        finally:
            terminal.close()

    text, code = await asyncio.to_thread(change, "correct horse battery", "wrong")
    assert (code, "not the same" in text) == (2, True)
    text, code = await asyncio.to_thread(change, "short", "short")
    assert (code, "at least 16 characters" in text) == (2, True)
    text, code = await asyncio.to_thread(change, "correct horse battery", "correct horse battery")
    assert code == 0, text
    assert "correct" not in text, "never echoed"
    old = parse_target(url).password
    assert old is not None
    await (await asyncpg.connect(url.replace(old, "correct%20horse%20battery"))).close()


async def test_dead_letters_are_listed_shown_and_handled(command: Command) -> None:
    (letter,) = json.loads(await said(command, "dead-letters", "list", "--json", code=1))
    number = str(letter["dead_letter_id"])
    assert (letter["reason"], letter["state"], letter["replaying"]) == ("not-json", "open", False)
    assert (await said(command, "dead-letters", "show", number)) == "{"
    assert "there is no dead letter 99" in await said(command, "dead-letters", "show", "99", code=1)
    assert "asked an agent to take 1" in await said(command, "dead-letters", "replay", number)
    assert "waits for the agent" in await said(command, "dead-letters", "list", code=1)
    assert "opened 1 again" in await said(command, "dead-letters", "reopen", number)
    assert "Say so with --yes" in await said(command, "dead-letters", "discard", number, code=2)
    assert "discarded 1" in await said(command, "dead-letters", "discard", number, "--yes")
    assert "could not be" in await said(command, "dead-letters", "replay", number, code=1)
    assert "discarded" in await said(command, "dead-letters", "list")


async def test_the_doctor_says_what_is_not_well(command: Command, embedded_database: Database) -> None:
    found = json.loads(await said(command, "doctor", "--live", "--json"))
    states = {(check["where"], check["what"]): check["state"] for check in found["checks"]}
    assert states["database", "schema"] == "ok"
    assert states["vm-weu", "disk"] == "warn"
    await embedded_database.fetch("update iot.agents set seen_at = now() - interval '5 minutes'")
    await embedded_database.fetch("delete from iot.migrations where number = (select max(number) from iot.migrations)")
    text = await said(command, "doctor", "--live", "--problems", code=1)
    assert "runbook agent-silent" in text
    assert "iot-agent migrate" in text
    assert "local" not in text, "what is well is left out"
    name = embedded_database.name
    await embedded_database.superuser_execute(f"alter database {name} allow_connections false")
    lost = await said(command, "doctor", "--live", "--json", code=1)
    assert json.loads(lost)["checks"][0]["what"] == "database"
    assert {check["state"] for check in json.loads(lost)["checks"]} == {"crit", "unknown", "ok"}
    await embedded_database.superuser_execute(f"alter database {name} allow_connections true")


def test_runbooks_and_keys_need_no_database() -> None:
    listed = run_cli("runbooks", "list")
    assert (listed.returncode, "broker-down" in listed.stdout) == (0, True), listed
    shown = run_cli("runbooks", "show", "broker-down")
    assert "Confirm from outside" in shown.stdout
    assert run_cli("runbooks", "show", "nothing").returncode == 2
    keys = json.loads(run_cli("keys", "--json").stdout)
    assert {"acknowledge", "rotate", "quit"} <= {row["action"] for row in keys}
    assert "needs operator" in run_cli("keys").stdout
