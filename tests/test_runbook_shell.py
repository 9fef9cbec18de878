"""`iot-console runbooks run` and its kin, as programs; and a run in the console, by keys."""

import json
from pathlib import Path

import pytest

from store.db import connected
from store.target import parse_target
from tests.consoles import console, give, person_url, run_cli, until
from tests.servers import Database

GONE = "postgresql://iot_u_anna:secret-word@/iot?host=/nonexistent"


def run(state: Path, url: str, *arguments: str) -> tuple[int, str, str]:
    done = run_cli("runbooks", *arguments, IOT_CONSOLE_DATABASE_URL=url, XDG_STATE_HOME=str(state))
    return done.returncode, done.stdout, done.stderr


def answers(tmp_path: Path, text: str) -> str:
    path = tmp_path / "answers.yaml"
    path.write_text(text)
    return str(path)


def test_a_runbook_is_followed_by_a_file_of_answers_without_a_database(tmp_path: Path) -> None:
    text = """
reach: [run, go]
which: Nothing listens there
start: [{skip: somebody else does}]
provider: [done]
drain: [{skip: no agent here}]
back: [{skip: no agent here}]
watch: [{skip: no agent here}]
prove: [run, go]
handoff: [{abandon: the drill ends here}]
"""
    code, printed, said = run(tmp_path, GONE, "run", "db-timeout", "--manual", "--answers", answers(tmp_path, text))
    assert (code, "is not offered" in said) == (2, True)  # nothing is asked in a manual run
    code, printed, said = run(tmp_path, GONE, "run", "db-timeout", "--drill", "--answers", answers(tmp_path, text))
    assert (code, "abandoned, the drill ends here" in said) == (1, True), said
    assert "only on this machine" in said
    assert "== 1 of 18: Does it answer from here?  [reach]" in printed
    assert "no such file or directory" in printed
    code, listed, _ = run(tmp_path, GONE, "runs", "--json")
    found = {one["mode"]: one for one in json.loads(listed)}
    assert (found["drill"]["state"], found["drill"]["local"], found["manual"]["state"]) == ("abandoned", True, "open")
    code, exported, _ = run(tmp_path, GONE, "export", found["drill"]["run_id"][:8])
    assert (code, exported.startswith("# Database slow, full or unreachable\n")) == (0, True)
    assert "| handoff |" not in exported
    assert "ended, abandoned: the drill ends here" in exported
    assert "secret-word" not in exported + printed + said


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("run", "nothing"), "see iot-console runbooks list"),
        (("run", "broker-down"), "nobody is here to choose"),
        (("run", "broker-down", "--drill", "--manual"), "give one of them"),
        (("run", "broker-down", "--answers", "/nonexistent"), "--answers /nonexistent"),
        (("run", "broker-down", "--var", "x", "--answers", "FILE"), "NAME=VALUE"),
        (("run", "acl-change", "--answers", "FILE"), "give --var tenant=VALUE"),
        (("resume", "zz"), "nobody is here to choose"),
        (("export", "zz"), "there is no run zz"),
    ],
)
def test_wrong_usage_says_what_to_do(tmp_path: Path, arguments: tuple[str, ...], word: str) -> None:
    file = answers(tmp_path, "outside: run\n")
    code, _, said = run(tmp_path, GONE, *(file if one == "FILE" else one for one in arguments))
    assert (code, word in said) == (2, True), said


def test_an_answer_that_is_missing_names_the_step(tmp_path: Path) -> None:
    code, _, said = run(tmp_path, GONE, "run", "db-timeout", "--drill", "--answers", answers(tmp_path, "reach: run\n"))
    assert (code, "there is no answer for step reach; offered: go, run" in said) == (2, True), said
    code, _, said = run(
        tmp_path, GONE, "run", "db-timeout", "--drill", "--follow", "--answers", answers(tmp_path, "reach: run\n")
    )
    assert (code, "at start, do changes the world: allow it with --yes" in said) == (2, True), said


async def test_a_run_by_keys_without_the_database_being_told_to_wait(
    embedded_database: Database, tmp_path: Path
) -> None:
    """Begun, looked at, decided, noted, corrected, exported, left and gone on with: by arrows and enter."""
    url = await person_url(embedded_database)
    async with console(url, tmp_path, real_runbooks=True) as (app, pilot):
        await until(pilot, app, "LIVE")
        await pilot.press("4")
        await until(pilot, app, "15 runbooks")
        app.pane.table.select("db-timeout")
        await pilot.press("n")
        await until(pilot, app, "Does it answer from here?", "saved ●", "suggested: look")
        await pilot.press("enter")
        await until(pilot, app, "✔ login: connected and answered", "go on to 6 What goes on inside?")
        await pilot.press("enter")
        await until(pilot, app, "6  What goes on inside?")
        await pilot.press("enter")
        await until(pilot, app, "✔ locks: 0 sessions wait for a lock", "schema: all migrations are applied")
        await pilot.press("c")
        await give(pilot, app, "I see nothing yet")
        await until(pilot, app, "inside: note: I see nothing yet")
        await pilot.press("e")
        await give(pilot, app, "4 note: I see nothing at all")
        await until(pilot, app, "I see nothing at all (corrected)")
        await pilot.press("v")
        await until(pilot, app, "Timeline", "  4 ")
        await pilot.press("v")
        await pilot.press("x")
        await give(pilot, app, str(tmp_path / "incident.md"))
        await until(pilot, app, "it is in")
        assert "note: I see nothing at all *(corrected)*" in (tmp_path / "incident.md").read_text()
        await pilot.press("escape")
        await until(pilot, app, "[runs]", "db-timeout", "open")
        await pilot.press("enter")
        await until(pilot, app, "6  What goes on inside?", "I see nothing at all (corrected)")


async def test_what_changes_the_world_is_asked_with_its_exact_words(
    embedded_database: Database, tmp_path: Path
) -> None:
    url = await person_url(embedded_database)
    marker = tmp_path / "started"
    commands = {"database_start": ("touch", str(marker))}
    async with console(url, tmp_path, real_runbooks=True, commands=commands) as (app, pilot):
        await until(pilot, app, "LIVE")
        await pilot.press("4")
        await until(pilot, app, "15 runbooks")
        app.pane.table.select("db-timeout")
        await pilot.press("n")
        await until(pilot, app, "suggested: look")
        app.pane.table.select("goto")
        await pilot.press("enter")
        await give(pilot, app, "3")
        await until(pilot, app, "3  Start the database", "CHANGES THE WORLD", "  touch /", "suggested: do it")
        await pilot.press("enter")
        await until(pilot, app, "Starts the database server.", "Type start and enter to confirm")
        await pilot.press("enter")
        assert not marker.exists()
        await give(pilot, app, "start")
        await until(pilot, app, "touch succeeded", "it is done: go on to 12")
        assert marker.exists()
        await pilot.press("escape")
        await until(pilot, app, "[runs]")
    async with connected(parse_target(url), "test", 1) as db:
        rows = await db.rows(
            "select kind, body ->> 'what' as what from iot.runbook_events where step_id = 'start' order by at"
        )
    assert [(row["kind"], row["what"]) for row in rows] == [("begun", f"touch {marker}"), ("did", f"touch {marker}")]


async def test_two_consoles_one_run(embedded_database: Database, tmp_path: Path) -> None:
    """The second one watches, live; and takes it over with a reason."""
    anna = await person_url(embedded_database)
    ben = await embedded_database.person_url("iot_u_ben", "platform")
    async with console(anna, tmp_path / "a", real_runbooks=True) as (app, pilot):
        await until(pilot, app, "LIVE")
        await pilot.press("4")
        await until(pilot, app, "15 runbooks")
        app.pane.table.select("shift-start")
        await pilot.press("n")
        await until(pilot, app, "suggested: look")
        async with console(ben, tmp_path / "b", real_runbooks=True) as (other, watching):
            await until(watching, other, "LIVE")
            await watching.press("4", "tab")
            await until(watching, other, "shift-start", "anna")
            await watching.press("enter")
            await until(watching, other, "take it over from anna")
            await pilot.press("c")
            await give(pilot, app, "hello ben")
            await until(watching, other, "note: hello ben")
            other.pane.table.select("take")
            await watching.press("enter")
            await give(watching, other, "she asked me to")
            await until(watching, other, "took it over: she asked me to", "suggested: look")
        await until(pilot, app, "take it over from ben", "took it over: she asked me to")
