"""The Overview: pictures of every state at both sizes, and the flows with a real database."""

import asyncio
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fcntl import ioctl
from pathlib import Path as File

import pyte
import pytest
from textual.pilot import Pilot

from stack.proxy import Proxy
from store import agents, dead_letters, directory, telemetry
from store.agents import AgentRow, AgentStatus, Part, PartState, Sample
from store.db import connected
from store.dead_letters import DeadLetter, DeadLetterRow
from store.rates import Minute, Totals
from store.target import parse_target
from store.telemetry import NewestRow, Reading
from tests.servers import Database
from tui.app import Console
from tui.chart import area, nice_top, resample, spark
from tui.feed import RateMeter
from tui.frame import banner_line, footer_line, help_page, status_line, tabs_line
from tui.overview import overview
from tui.render import Line, age, clip, fit, line_width, literal, number, pad, plain, to_ascii, width
from tui.style import STYLES
from tui.view import Metric, Path, PathState, Snapshot, View

PICTURES = File(__file__).parent / "pictures"
NOW = datetime(2026, 11, 23, 14, 3, 22, tzinfo=UTC)
T = NOW.timestamp()

PARTS = (
    Part("broker", PartState.OK, "connected"),
    Part("ingest", PartState.OK, "last message 0 s ago"),
    Part("database", PartState.OK, "write p95 38 ms"),
    Part("spool", PartState.OK, "empty"),
    Part("canary", PartState.OK, "there and back in 312 ms"),
    Part("disk", PartState.WARN, "87 % used"),
    Part("partitions", PartState.OK, "made ahead"),
)
STATUS = AgentStatus(
    host="vm", pid=1, cores=1, cpu_percent=31.0, load_1m=0.62, memory_used=640 * 2**20, memory_total=1000 * 2**20,
    swap_used=0, disk_percent=87.0, agent_memory=52 * 2**20, received=1, inserted=1, duplicates=0, dead_letters=0,
    spooled=0, errors=0, spool_rows=0, spool_bytes=0, spool_limit=2**30, write_p95_ms=38.0, canary_ms=312.0,
    last_message_at=NOW, last_commit_at=NOW, last_error=None, parts=PARTS,
)  # fmt: skip
MINUTE = NOW.replace(second=0)
SNAPSHOT = Snapshot(
    at=T - 0.4,
    round_trip_ms=24.0,
    login="iot_u_anna",
    server_now=NOW,
    today=Totals(412_345, 1200, 17),
    rate=412.3,
    minutes=(*tuple(Minute(MINUTE - timedelta(minutes=n), 24000 + 200 * (n % 7), 12, n % 3) for n in range(12, 0, -1) if n != 6), Minute(MINUTE, 9000, 3, 1)),
    agents=(AgentRow("vm-weu", "0.1.0", NOW, NOW, NOW, 1.6, STATUS),),
    samples=tuple(
        Sample(NOW - timedelta(seconds=5 * n), 30.0 + n % 9, 62.0, 87.0, 0.6, 0, 0, 38.0 + n % 5, 312.0)
        for n in range(170, 0, -1) if not 60 < n < 90
    ),
    newest=tuple(
        NewestRow(NOW - timedelta(seconds=n), "acme", f"dev-{n:04}", f"tenants/acme/devices/dev-{n:04}/telemetry",
                  '{"temperature": 21.5, "place": "München \x1b[31m[red]"}')
        for n in range(40)
    ),
    dead_letters=(
        DeadLetterRow(1, NOW - timedelta(seconds=3), "acme", "tenants/acme/devices/dev-0412/up", "not-json",
                      "unexpected end of data: line 1 column 25", 4, "open", False),
    ),
)  # fmt: skip
LIVE = View(T, "PROD", "iot on vm-weu:5432", Path(PathState.LIVE, T - 60), SNAPSHOT)
LOST = Path(PathState.LOST, T - 42, "no connection to the database: Connection refused", T + 8)
OLD = replace(SNAPSHOT, at=T - 42)

STATES = {
    "live": LIVE,
    "starting": replace(LIVE, snapshot=None, path=Path(PathState.CONNECTING, T - 0.8)),
    "waiting": replace(LIVE, snapshot=None, path=Path(PathState.CONNECTING, T - 4)),
    "unreachable": replace(LIVE, snapshot=None, path=LOST),
    "empty": replace(
        LIVE,
        snapshot=replace(
            SNAPSHOT, minutes=(), samples=(), newest=(), dead_letters=(), agents=(), rate=None, today=Totals()
        ),
    ),
    "lost": replace(LIVE, snapshot=OLD, path=LOST),
    "late": replace(LIVE, snapshot=replace(SNAPSHOT, at=T - 4)),
    "silent": replace(LIVE, snapshot=replace(SNAPSHOT, agents=(replace(SNAPSHOT.agents[0], age_seconds=192.0),))),
    "broker down": replace(
        LIVE,
        snapshot=replace(
            SNAPSHOT,
            rate=0.0,
            agents=(
                replace(
                    SNAPSHOT.agents[0],
                    status=replace(
                        STATUS,
                        errors=7,
                        last_error="cannot connect to 127.0.0.1:8884: Connection refused",
                        parts=(
                            Part("broker", PartState.CRIT, "cannot connect to 127.0.0.1:8884: Connection refused"),
                            *PARTS[1:],
                        ),
                    ),
                ),
            ),
        ),
    ),
    "frozen": replace(LIVE, frozen_at=T - 12),
    "memory": replace(LIVE, metric=Metric.MEMORY, window_minutes=60, local_time=False),
    "ascii": replace(LIVE, ascii=True),
}


def screen(view: View, cells: int, rows: int) -> list[Line]:
    """The whole terminal, as the app puts it together."""
    banner = banner_line(view, cells)
    pane = overview(view, cells, rows - 3 - (banner is not None))
    lines = [status_line(view, cells), tabs_line(view, cells), *pane, *([banner] if banner else []), footer_line(cells)]
    return [to_ascii(line) for line in lines] if view.ascii else lines


@pytest.mark.parametrize("size", [(120, 36), (80, 24)], ids=["120x36", "80x24"])
@pytest.mark.parametrize("state", STATES)
def test_picture(state: str, size: tuple[int, int]) -> None:
    """Reviewed by eye; IOT_PICTURES=write makes them anew."""
    lines = screen(STATES[state], *size)
    assert [line_width(line) for line in lines] == [size[0]] * size[1]
    file = PICTURES / f"overview-{state.replace(' ', '-')}-{size[0]}x{size[1]}.txt"
    drawn = "\n".join(row.rstrip() for row in plain(lines).splitlines()) + "\n"
    if os.environ.get("IOT_PICTURES") == "write":
        PICTURES.mkdir(exist_ok=True)
        file.write_text(drawn)
    assert drawn == file.read_text()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("size", [(60, 15), (100, 24), (99, 40), (200, 60), (30, 8)])
def test_every_size_is_filled_exactly(state: str, size: tuple[int, int]) -> None:
    assert [line_width(line) for line in screen(STATES[state], *size)] == [size[0]] * size[1]


def test_ascii_is_ascii() -> None:
    data = plain(screen(STATES["ascii"], 120, 36)).replace("München", "").replace("␛", "")
    assert data.isascii(), sorted({c for c in data if not c.isascii()})


def test_nothing_old_is_shown_as_ok() -> None:
    for state in ("lost", "silent"):
        text = plain(overview(STATES[state], 120, 33))
        assert "● ok      broker" not in text
        assert "? unknown broker" in text


def test_the_help_knows_every_key() -> None:
    text = plain(help_page(80, 22))
    for word in ("hold the picture", "UTC", "window", "leave"):
        assert word in text


def test_words_for_values() -> None:
    assert [age(s) for s in (None, 0.4, 9.94, 12, 252, 11_220, 183_600)] == [
        "never",
        "0.4s",
        "9.9s",
        "12s",
        "4m12s",
        "3h07m",
        "2d03h",
    ]
    assert [number(n) for n in (0, 0.2, 12.34, 99.4, 412.3, 10_214, 1_234_567)] == [
        "0",
        "0.2",
        "12.3",
        "99.4",
        "412",
        "10 214",
        "1.2 M",
    ]
    assert literal("a\x1b[31m\nb\u202e") == "a␛[31m·b·"
    assert (width("日本"), clip("日本語", 5), pad("é", 3), clip("abc", 0)) == (4, "日本…", "é  ", "")
    assert line_width(fit(status_line(LIVE, 120), 7)) == 7


def test_charts_leave_gaps_and_never_invent_zero() -> None:
    assert spark([None, 0, 5, 10], 6) == "   ▁▄█"
    assert spark([1, 2], 2, ascii_only=True) == "=@"
    assert resample([1, None, 3, 5], 2) == [1, 4]
    assert resample([], 3) == [None] * 3
    assert area([None, None], 4, 2, 1.0) == ["    ", "    "]
    assert [nice_top(v) for v in (0, 0.7, 1, 412, 999, 1001)] == [1, 0.8, 1, 500, 1000, 1500]


def test_a_rate_needs_two_readings_and_survives_midnight() -> None:
    meter = RateMeter(window=5)
    assert meter.add(0, 100) is None
    assert meter.add(1, 150) == 50
    assert meter.add(2, 150) == 25
    assert meter.add(3, 10) is None
    assert meter.add(4, 20) == 10


# -- with a real database


async def person_url(database: Database) -> str:
    """Some rows, a dead letter and an agent's heartbeat, and someone who may see them."""
    now = datetime.now(UTC)
    async with connected(parse_target(database.owner_url), "test", 2) as db:
        tenant_id = await directory.create_tenant(db, "acme", "Acme")
        await directory.register(db, [(tenant_id, "d1")])
        await db.execute("select iot.ensure_partitions($1, $1)", now.date())
        device = (await directory.find(db, [("acme", "d1")]))["acme", "d1"].device_id
        assert device is not None
    async with connected(parse_target(await database.agent_url()), "test", 2) as db:
        topic = "tenants/acme/devices/d1/t"
        bucket = now.replace(second=0, microsecond=0)
        rows = [Reading(tenant_id, bucket, n, now, device, topic, 1, f'{{"n": {n}}}', None, False) for n in range(5)]
        await telemetry.insert(db, rows, "a")
        await dead_letters.put(db, [DeadLetter(tenant_id, 9, now, topic, 1, b"{", "not-json", "cut off")], "a")
        await agents.beat(db, "vm-weu", "0.1.0", now, now, STATUS)
    return await database.person_url("iot_u_anna", "platform")


def text_of(app: Console) -> str:
    return "\n".join("".join(s.text for s in strip) for strip in app.screen._compositor.render_strips())


async def until(pilot: "Pilot[None]", app: Console, *words: str) -> str:
    async with asyncio.timeout(60):
        while any(word not in text_of(app) for word in words):
            await pilot.pause(0.05)
    return text_of(app)


@asynccontextmanager
async def console(url: str, size: tuple[int, int] = (120, 36)) -> AsyncIterator[tuple[Console, "Pilot[None]"]]:
    app = Console(parse_target(url), "TEST")
    async with app.run_test(size=size) as pilot:
        yield app, pilot


@pytest.mark.parametrize("size", [(120, 36), (80, 24)])
async def test_shows_what_the_database_holds(embedded_database: Database, size: tuple[int, int]) -> None:
    async with console(await person_url(embedded_database), size) as (app, pilot):
        text = await until(pilot, app, "● LIVE", "acme/d1", "not-json", "iot_u_anna")
        assert " TEST " in text
        assert "● agent" in text or "● ok      agent" in text


async def test_keys_do_what_the_footer_says(embedded_database: Database) -> None:
    async with console(await person_url(embedded_database)) as (app, pilot):
        await until(pilot, app, "● LIVE", "msg/s, 15 min")
        await pilot.press("m", "]")
        await until(pilot, app, "dead letters/min, 60 min")
        await pilot.press("?")
        await until(pilot, app, "Three ages")
        await pilot.press("escape")
        await until(pilot, app, "dead letters/min, 60 min")
        await pilot.press("p")
        await until(pilot, app, "frozen")
        await pilot.press("p", "z", "r")
        text = await until(pilot, app, "● LIVE")
        assert "frozen" not in text.splitlines()[-2]
        await pilot.press("q")


async def test_a_lost_database_is_said_and_comes_back_by_itself(embedded_database: Database) -> None:
    url = await person_url(embedded_database)
    socket_dir = embedded_database.cluster.directory / f"c{embedded_database.name}"
    socket_dir.mkdir()
    proxy = Proxy(embedded_database.cluster.socket_dir / ".s.PGSQL.5432", socket_dir / ".s.PGSQL.5432")
    async with (
        proxy.running(),
        console(url.replace(str(embedded_database.cluster.socket_dir), str(socket_dir))) as (app, pilot),
    ):
        await until(pilot, app, "● LIVE", "acme/d1")
        proxy.refusing = True
        proxy.close()
        text = await until(pilot, app, "DB LOST", "shown data is old", "again in")
        assert "acme/d1" in text, "old data stays"
        proxy.refusing = False
        await until(pilot, app, "● LIVE")


async def test_a_database_that_is_not_there_ends_nothing(embedded_database: Database) -> None:
    url = embedded_database.cluster.url("iot_u_x", "x", embedded_database.name, embedded_database.cluster.directory)
    async with console(url) as (app, pilot):
        await until(pilot, app, "No data yet: the database cannot be reached", "DB LOST")


class Terminal:
    """The console in a real pseudo-terminal, read by a terminal emulator."""

    def __init__(self, url_file: File, *arguments: str, size: tuple[int, int] = (120, 36), **environment: str) -> None:
        self.screen = pyte.Screen(*size)
        self.output = b""
        self._stream = pyte.ByteStream(self.screen)
        self.master, slave = pty.openpty()
        ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tui", "--url-file", str(url_file), *arguments],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env=os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"} | environment,
        )  # fmt: skip
        os.close(slave)

    def read(self, seconds: float) -> bytes:
        """What arrives within the time."""
        got, ends_at = b"", time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            if select.select([self.master], [], [], left)[0]:
                with suppress(OSError):
                    got += (data := os.read(self.master, 65_536))
                    self._stream.feed(data)
        self.output += got
        return got

    def until(self, word: str, seconds: float = 20) -> None:
        ends_at = time.monotonic() + seconds
        while word not in "\n".join(self.screen.display):
            assert time.monotonic() < ends_at, "\n".join(self.screen.display)
            self.read(0.1)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def close(self) -> None:
        with suppress(OSError):
            os.close(self.master)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def url_file(tmp_path: File) -> File:
    return tmp_path / "url"


async def test_in_a_real_terminal(embedded_database: Database, url_file: File) -> None:
    """Starts, is frugal with bytes, leaves the terminal as it was."""
    url_file.write_text(await person_url(embedded_database))
    terminal = Terminal(url_file)
    await asyncio.to_thread(terminal.until, "LIVE")
    await asyncio.to_thread(terminal.until, "acme/d1")
    spent = len(await asyncio.to_thread(terminal.read, 5.0)) / 5
    assert spent < 3000, f"{spent:.0f} bytes a second"
    terminal.press("q")
    await asyncio.to_thread(terminal.read, 2.0)
    assert terminal.process.wait(5) == 0
    for mode in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l"):
        assert mode in terminal.output, f"{mode!r} was not sent at the end"
    terminal.close()


async def test_without_colour_no_colour_is_sent(embedded_database: Database, url_file: File) -> None:
    url_file.write_text(await person_url(embedded_database))
    terminal = Terminal(url_file, NO_COLOR="1")
    await asyncio.to_thread(terminal.until, "acme/d1")
    assert b";38;2;" not in terminal.output
    assert b"\x1b[38;" not in terminal.output
    terminal.close()


@pytest.mark.parametrize("how", ["hang up", "terminal closed"])
async def test_a_closed_terminal_ends_it(embedded_database: Database, url_file: File, how: str) -> None:
    url_file.write_text(await person_url(embedded_database))
    terminal = Terminal(url_file)
    await asyncio.to_thread(terminal.until, "LIVE")
    if how == "hang up":
        terminal.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(terminal.read, 1.0)
    else:
        os.close(terminal.master)
    assert terminal.process.wait(5) is not None
    terminal.close()


async def test_a_storm_of_sizes_is_survived(embedded_database: Database, url_file: File) -> None:
    url_file.write_text(await person_url(embedded_database))
    terminal = Terminal(url_file)
    await asyncio.to_thread(terminal.until, "LIVE")
    for cells, rows in [(80, 24), (20, 5), (200, 60), (1, 1), (100, 24), (80, 24)]:
        ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cells, 0, 0))
        terminal.process.send_signal(signal.SIGWINCH)
        await asyncio.to_thread(terminal.read, 0.1)
    terminal.screen.resize(24, 80)
    await asyncio.to_thread(terminal.until, "Parts")
    assert terminal.process.poll() is None
    terminal.close()


def run_cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "IOT_CONSOLE_DATABASE_URL"} | environment
    return subprocess.run(
        [sys.executable, "-m", "tui", *arguments], capture_output=True, text=True, env=env, timeout=60
    )


async def test_status_for_scripts(embedded_database: Database, url_file: File) -> None:
    url_file.write_text(await person_url(embedded_database))
    done = await asyncio.to_thread(run_cli, "status", "--json", "--url-file", str(url_file))
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["today"]["inserted"]) == (0, True, 5)
    assert found["agents"][0]["agent_id"] == "vm-weu"
    assert found["dead_letters"][0]["reason"] == "not-json"
    text = await asyncio.to_thread(run_cli, "status", IOT_CONSOLE_DATABASE_URL=url_file.read_text())
    assert "today 5 rows, 0 duplicates, 1 dead letters" in text.stdout


async def test_status_says_when_something_is_wrong(embedded_database: Database, url_file: File) -> None:
    url = await person_url(embedded_database)
    await embedded_database.fetch("update iot.agents set seen_at = now() - interval '5 minutes'")
    silent = await asyncio.to_thread(run_cli, "status", IOT_CONSOLE_DATABASE_URL=url)
    assert (silent.returncode, "SILENT for 5m0" in silent.stdout) == (1, True)
    wrong = url.replace("iot_u_anna:", "iot_u_anna:x")
    refused = await asyncio.to_thread(run_cli, "status", "--json", IOT_CONSOLE_DATABASE_URL=wrong)
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["ok"] is False
    assert "check the user and password" in refused.stderr
    secret = parse_target(url).password or ""
    assert secret not in refused.stderr + refused.stdout


def test_wrong_usage_is_explained(url_file: File) -> None:
    for arguments, words in [
        ((), "give --url-file, or set $IOT_CONSOLE_DATABASE_URL"),
        (("--url-file", str(url_file)), "No such file"),
        (("status",), "give --url-file"),
    ]:
        done = run_cli(*arguments)
        assert (done.returncode, words in done.stderr) == (2, True), done
    url_file.write_text("postgresql://u:secret@db.example.net/x?sslmode=disable")
    done = run_cli("status", "--url-file", str(url_file))
    assert done.returncode == 2
    assert "always verified" in done.stderr
    assert "secret" not in done.stderr


def test_no_style_has_a_colour_and_dim() -> None:
    """Textual blends such a style with the background; that of a plain terminal has no colour, and the console ended."""
    assert not [name for name, style in STYLES.items() if style.color is not None and style.dim]
