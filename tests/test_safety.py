"""What must not happen at 3 a.m.: the wrong row, a question nobody read, a secret that is gone or in the open."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from rich.color import ColorSystem
from rich.segment import Segment
from textual._compositor import ChopsUpdate, LayoutUpdate
from textual.events import Key
from textual.geometry import Region
from textual.pilot import Pilot
from textual.strip import Strip

from store.db import Db
from store.errors import Conflict, Unavailable
from tests.consoles import until, yes
from tests.screens import ALERTS, DEVICES, FIRING, LISTED, LOST, NAMES, RUNBOOKS, SNAPSHOT, Still, T, text_of
from tui.effects import Ask, Done, Level, Secret, Write
from tui.export import picture, redacted, write_report
from tui.feed import Loaded
from tui.options import Options
from tui.paint import Front
from tui.panes import alert_deeds
from tui.panes.alerts import Alerts


@asynccontextmanager
async def still(tmp_path: Path, size: tuple[int, int] = (80, 24)) -> AsyncIterator[tuple[Still, "Pilot[str]"]]:
    app = Still(Options(runbooks=lambda: list(RUNBOOKS), runbook_names=NAMES, state_dir=tmp_path, files_dir=tmp_path))
    async with app.run_test(size=size) as pilot:
        app.fill()
        yield app, pilot


SECRET = Secret(
    "north-sea-platform/devices/compressor-inlet-pressure-04", "R7L4eCS40wJAQjPXxEnZYK19cUH9fZzaL4rKN6NkDx4"
)


class Notes:
    """Writes that only note that they were made."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def write(self, name: str, done: Done | None = None, wait: asyncio.Event | None = None) -> Write:
        async def run(db: Db) -> Done:
            if wait is not None:
                await wait.wait()
            self.made.append(name)
            return done or Done(f"{name} done")

        return Write(name, run)


async def test_no_question_hides_behind_a_secret(tmp_path: Path) -> None:
    async with still(tmp_path) as (app, pilot):
        await pilot.press("2")
        app.bar.secrets = (SECRET,)
        await pilot.press("D")
        await until(pilot, app, "close it first")
        assert app.bar.ask is None
        await pilot.press("y")
        assert app.bar.secrets == (SECRET,)


async def test_a_secret_is_whole_and_stays_until_it_is_closed(tmp_path: Path) -> None:
    notes = Notes()
    async with still(tmp_path) as (app, pilot):
        await pilot.press("2")
        app.begin(notes.write("rotate", Done("new", secrets=(SECRET,))))
        await until(pilot, app, SECRET.value)
        app.write(notes.write("other"))
        await until(pilot, app, "other done", SECRET.value)
        app.write(notes.write("again", Done("new", secrets=(Secret("b", "second"),))))
        await until(pilot, app, SECRET.value, "second")
        await pilot.press("x", "ctrl+u", *f"{tmp_path}/s.csv", "enter")
        await until(pilot, app, "2 secrets are in")
        assert (tmp_path / "s.csv").read_text().splitlines()[1:] == [f"{SECRET.name},{SECRET.value}", "b,second"]
        assert (tmp_path / "s.csv").stat().st_mode & 0o077 == 0
        await pilot.press("ctrl+q")
        assert app.bar.secrets == ()
        assert app.is_running, "it only closed the secret"
        assert SECRET.value not in text_of(app)


async def test_a_question_that_a_secret_would_cover_is_taken_back(tmp_path: Path) -> None:
    notes = Notes()
    async with still(tmp_path) as (app, pilot):
        await pilot.press("2", "D")
        app.write(notes.write("rotate", Done("new", secrets=(SECRET,))))
        await until(pilot, app, SECRET.value, "taken back")
        await pilot.press("y")
        assert notes.made == ["rotate"]


async def test_the_marked_row_is_meant_not_the_one_under_the_cursor(tmp_path: Path) -> None:
    async with still(tmp_path) as (app, pilot):
        await pilot.press("6", "down", "space", "D")
        await until(pilot, app, "Disable Ben")
        await pilot.press("escape", "space", "D")
        await until(pilot, app, "one person at a time")


async def test_marks_end_with_what_was_done_and_are_counted_when_not_shown(tmp_path: Path) -> None:
    notes = Notes()
    async with still(tmp_path, (120, 36)) as (app, pilot):
        await pilot.press("2", "space", "slash", *"globex", "enter")
        await until(pilot, app, "1 marked, 1 not shown")
        app.begin(notes.write("it"))
        await until(pilot, app, "it done")
        assert app.pane.table.marked == set()


async def test_a_row_that_went_is_said_before_its_neighbour_is_hit(tmp_path: Path) -> None:
    async with still(tmp_path) as (app, pilot):
        app.view = replace(app.view, snapshot=replace(SNAPSHOT, alerts=FIRING))
        await pilot.press("3")
        app.pane.take(replace(ALERTS, episodes=ALERTS.episodes[1:]), T)
        await pilot.press("s")
        await until(pilot, app, "has just gone: look again")
        await pilot.press("s")
        await until(pilot, app, "Silence alertname=DeviceSilent")


async def test_two_destructions_are_not_one_and_esc_forgets_none(tmp_path: Path) -> None:
    notes = Notes()
    async with still(tmp_path) as (app, pilot):
        await pilot.press("2")
        for name in ("first", "second"):
            app.soon(Ask(Level.DESTROYS, "?", (), notes.write(name)))
        assert app.bar.pending is not None
        assert "not begun" in app.bar.told[-1].text
        await pilot.press("escape", "q")
        assert app.bar.pending is not None
        assert app.is_running, "nor does one leave over it"
        app.clock = lambda: T + 5.5
        app.settle_pending()
        async with asyncio.timeout(20):
            while not notes.made:
                await pilot.pause(0.02)
        assert notes.made == ["first"]


async def test_what_was_confirmed_while_the_database_went_is_refused(tmp_path: Path) -> None:
    async with still(tmp_path) as (app, pilot):
        await pilot.press("2", "R", *"dev-0001")
        app.view = replace(app.view, path=LOST)
        await pilot.press("enter")
        await until(pilot, app, "rotating: not done, the database is away")


async def test_nobody_reads_a_question_in_no_time(tmp_path: Path) -> None:
    async with still(tmp_path) as (app, pilot):
        await pilot.press("2")
        for key in "Dy":
            app.post_message(Key(key, key))
        await until(pilot, app, "y: yes")
        await pilot.pause()
        assert app.bar.ask is not None
        await yes(pilot, app)
        assert app.bar.ask is None


async def test_a_form_is_not_closed_by_another_change(tmp_path: Path) -> None:
    notes, wait = Notes(), asyncio.Event()
    async with still(tmp_path) as (app, pilot):
        await pilot.press("6")
        app.begin(notes.write("slow", wait=wait))
        await pilot.press("n")
        await until(pilot, app, "New person")
        await pilot.press(*"Zoe")
        wait.set()
        await until(pilot, app, "slow done", "Zoe")


async def test_frozen_rows_stand_still_and_nothing_is_changed_by_them(tmp_path: Path) -> None:
    async with still(tmp_path) as (app, pilot):
        await pilot.press("2", "p")
        app.on_console_heard(Still.Heard(Loaded(app.pane, replace(DEVICES, devices=LISTED[3:]))))
        await pilot.press("z")
        await until(pilot, app, "▸  dev-0001", "frozen")
        await pilot.press("D")
        await until(pilot, app, "frozen, the world is not")
        await pilot.press("p")
        await until(pilot, app, "▸  dev-0004")


async def test_an_unexpected_failure_is_said(tmp_path: Path) -> None:
    async def broken(db: Db) -> Done:
        raise KeyError("x")

    async def gone(db: Db) -> Done:
        raise Unavailable("connection reset")

    async with still(tmp_path) as (app, pilot):
        app.begin(Write("rotating", broken))
        await until(pilot, app, "rotating failed unexpectedly (KeyError): look whether it was done")
        app.begin(Write("rotating", gone))
        await until(pilot, app, "the database went away, look whether it was done")


async def test_an_undo_that_came_too_late_takes_back_nothing_else(tmp_path: Path) -> None:
    notes = Notes()
    async with still(tmp_path) as (app, pilot):
        app.view = replace(app.view, snapshot=replace(SNAPSHOT, alerts=FIRING))
        await pilot.press("3", "down")
        app.bar.say("yours", "ok", T - 13)
        app.bar.offer(notes.write("undo"))
        await pilot.press("u")
        assert notes.made == []
        await until(pilot, app, "too late to undo")


async def test_nothing_in_the_database_commands_the_terminal(tmp_path: Path) -> None:
    evil = replace(ALERTS.silences[0], reason="\x1b]52;c;ZXZpbA==\x07\x1b[2J", matchers={"a": "\x1b[31m"})
    note = replace(FIRING[1], ack_note="\x1b[2Jx", acked_by="iot_u_\x9b31m")
    async with still(tmp_path) as (app, pilot):
        pane = app.panes["alerts"]
        assert isinstance(pane, Alerts)
        pane.take(replace(ALERTS, silences=(evil,), episodes=(note,)), T)
        for key in ("3", "tab", "tab", "enter"):
            await pilot.press(key)
            assert not {c for c in text_of(app) if ord(c) < 32 and c != "\n"} | ({"\x9b"} & set(text_of(app)))


async def test_odd_input_ends_nothing(tmp_path: Path) -> None:
    async with still(tmp_path) as (app, pilot):
        await pilot.press("3", "s", "ctrl+u", *"99999999999d x", "enter")
        await until(pilot, app, "✗")
        await pilot.press("escape", "colon", *"export ~nouser/x.csv", "enter")
        await pilot.pause()
        assert app.is_running


async def test_bulk_goes_on_past_what_is_over() -> None:
    async def do(event_id: str) -> None:
        if event_id == "b":
            raise Conflict("b is over")

    assert await alert_deeds.each(["a", "b", "c"], do) == (["a", "c"], "1 not: b is over")


def test_a_report_holds_no_payload_and_no_secret(tmp_path: Path) -> None:
    text = '{"token":"LEAK1"} password:\u00a0LEAK2 token = "LEAK3\nnext'
    write_report(tmp_path / "r.txt", text)
    assert "LEAK" not in (tmp_path / "r.txt").read_text() + (tmp_path / "r.svg").read_text()
    assert picture("<a> & b").count("&lt;a&gt; &amp; b") == 1
    assert redacted("&quot;token&quot;") == "&quot;token&quot;"


async def test_a_report_is_bare(tmp_path: Path) -> None:
    async with still(tmp_path, (120, 36)) as (app, pilot):
        await pilot.press("exclamation_mark")
        await until(pilot, app, "report in")
        (report,) = tmp_path.glob("*.txt")
        assert "temperature" not in report.read_text()
        assert "temperatu" in text_of(app), "the screen itself goes on to show them"


def test_no_sequence_but_our_own_goes_to_the_terminal() -> None:
    """Fields and texts are drawn by Textual, with what the database holds in them."""
    strip = Strip([Segment("a\x1b[2Jb\x9bc\x07")])
    sent = Front().written(LayoutUpdate([[strip]], Region(0, 0, 12, 1)), (12, 1), ColorSystem.TRUECOLOR)
    assert sent.count("\x1b") == 1, "the move to where it begins"
    assert not {"\x9b", "\x07"} & set(sent)


def test_of_a_partial_update_only_the_part_is_painted() -> None:
    """Beside it there are backgrounds without what stands on them: a scrolled form lost its fields."""
    front, system = Front(), ColorSystem.TRUECOLOR
    whole = LayoutUpdate([[Strip([Segment("abc日ef")])]], Region(0, 0, 7, 1))
    assert "abc日ef" in front.written(whole, (7, 1), system)
    part = ChopsUpdate([{0: Strip([Segment("       ")])}], [(0, 5, 7)], [[7]])
    assert front.written(part, (7, 1), system) == "\x1b[1;6H  "
    assert front.written(whole, (7, 1), system) == "\x1b[1;6Hef", "the rest was never touched"
