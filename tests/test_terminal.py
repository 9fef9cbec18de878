"""The console in a real terminal: bytes, endings, sizes, colours; and its commands for scripts."""

import asyncio
import json
import os
import signal
import struct
import termios
from fcntl import ioctl
from pathlib import Path

import pytest

from stack.terminal import Terminal
from store.target import parse_target
from tests.consoles import person_url, run_cli
from tests.servers import Database


@pytest.fixture
def url_file(tmp_path: Path) -> Path:
    return tmp_path / "url"


async def test_in_a_real_terminal(embedded_database: Database, url_file: Path) -> None:
    """Starts, is frugal with bytes, leaves the terminal as it was."""
    url_file.write_text(await person_url(embedded_database))
    terminal = Terminal(url_file)
    await asyncio.to_thread(terminal.until, "LIVE")
    await asyncio.to_thread(terminal.until, "acme/d1")
    spent = len(await asyncio.to_thread(terminal.read, 5.0)) / 5
    assert terminal.process.poll() is None
    assert spent < 3000, f"{spent:.0f} bytes a second"
    terminal.press("q")
    await asyncio.to_thread(terminal.read, 2.0)
    assert terminal.process.wait(5) == 0
    for mode in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l"):
        assert mode in terminal.output, f"{mode!r} was not sent at the end"
    terminal.close()


async def test_without_colour_no_colour_is_sent(embedded_database: Database, url_file: Path) -> None:
    url_file.write_text(await person_url(embedded_database))
    terminal = Terminal(url_file, NO_COLOR="1")
    await asyncio.to_thread(terminal.until, "acme/d1")
    assert b";38;2;" not in terminal.output
    assert b"\x1b[38;" not in terminal.output
    terminal.close()


@pytest.mark.parametrize("how", ["hang up", "terminal closed"])
async def test_a_closed_terminal_ends_it(embedded_database: Database, url_file: Path, how: str) -> None:
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


async def test_a_storm_of_sizes_is_survived(embedded_database: Database, url_file: Path) -> None:
    url_file.write_text(await person_url(embedded_database))
    terminal = Terminal(url_file)
    await asyncio.to_thread(terminal.until, "LIVE")
    for cells, rows in [(80, 24), (20, 5), (200, 60), (1, 1), (100, 24), (80, 24)]:
        terminal.screen.resize(rows, cells)
        ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cells, 0, 0))
        terminal.process.send_signal(signal.SIGWINCH)
        await asyncio.to_thread(terminal.read, 0.1)
    await asyncio.to_thread(terminal.until, "Parts")
    assert terminal.process.poll() is None
    terminal.close()


async def test_status_for_scripts(embedded_database: Database, url_file: Path) -> None:
    url_file.write_text(await person_url(embedded_database))
    done = await asyncio.to_thread(run_cli, "status", "--json", "--url-file", str(url_file))
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"], found["today"]["inserted"]) == (0, True, 5)
    assert found["agents"][0]["agent_id"] == "vm-weu"
    assert found["dead_letters"][0]["reason"] == "not-json"
    text = await asyncio.to_thread(run_cli, "status", IOT_CONSOLE_DATABASE_URL=url_file.read_text())
    assert "today 5 rows, 0 duplicates, 1 dead letters" in text.stdout


async def test_status_says_when_something_is_wrong(embedded_database: Database, url_file: Path) -> None:
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


def test_wrong_usage_is_explained(url_file: Path) -> None:
    for arguments, words in [
        ((), "give --url-file, set $IOT_CONSOLE_DATABASE_URL, or write profiles"),
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
