"""Sending only cells that changed shows what is meant: characters and styles, on any walk, for a fraction of the bytes."""

import asyncio
import random
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path
from signal import SIGUSR1, SIGWINCH

import pyte
import pytest

from stack.terminal import Terminal

KEYS = [*"1234567", "\t", "\r", "j", "k", "G", "g", " ", "?", "/", "x", ":", "\x1b", "o", "n", "R", "D", "y", "m", "]", "a",
        "\x1b[B", "\x1b[6~", "\x0c", "e", "v", "p", "日", "é"]  # fmt: skip
STEPS, KEYS_EACH = 8, 10
Cells = list[list[tuple[object, ...]]]


def cells(screen: pyte.Screen) -> Cells:
    """Every cell with its style. A blank's colour of text shows nowhere."""
    return [
        [
            (c.data, c.fg if c.data != " " or c.reverse else "", c.bg, c.bold, c.reverse, c.underscore)
            for c in (screen.buffer[y][x] for x in range(screen.columns))
        ]
        for y in range(screen.lines)
    ]


def meant(terminal: Terminal, file: Path) -> Cells:
    """What the console says it shows."""
    file.unlink(missing_ok=True)
    terminal.process.send_signal(SIGUSR1)
    ends_at = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < ends_at
        terminal.read(0.02)
    screen = pyte.Screen(terminal.screen.columns, terminal.screen.lines)
    pyte.Stream(screen).feed(file.read_text())
    return cells(screen)


@contextmanager
def still(file: Path, size: tuple[int, int], **environment: str) -> Iterator[Terminal]:
    terminal = Terminal(None, argv=[sys.executable, "-m", "tests.still", str(file)], size=size, **environment)
    try:
        terminal.until("PROD")
        terminal.quiet()
        yield terminal
    finally:
        terminal.close()


def resize(terminal: Terminal, cells: int, rows: int) -> None:
    terminal.screen.resize(rows, cells)
    ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cells, 0, 0))
    terminal.process.send_signal(SIGWINCH)


def walk(seed: int, size: tuple[int, int], file: Path) -> None:
    """Compares after every few keys."""
    dice = random.Random(seed)
    with still(file, size) as terminal:
        pressed: list[str] = []
        for step in range(STEPS):
            for _ in range(KEYS_EACH):
                pressed.append(dice.choice(KEYS))
                terminal.press(pressed[-1])
                terminal.read(0.2 if pressed[-1] == "\x1b" else 0.03)  # an escape waits for what may follow it
            if step == STEPS // 2:
                resize(terminal, size[0] - 9, size[1] - 4)
            wrong = differences(terminal, file)
            assert wrong == [], f"step {step} after {pressed[-KEYS_EACH:]}: {wrong[:5]}"


def differences(terminal: Terminal, file: Path) -> list[tuple[object, ...]]:
    """Cells that differ once nothing moves any more. A busy machine may take its time after a change of size."""
    ends_at = time.monotonic() + 15
    while True:
        terminal.quiet()
        assert terminal.process.poll() is None
        shown, wanted = cells(terminal.screen), meant(terminal, file)
        wrong = [
            (x, y, a, b)
            for y, (row, other) in enumerate(zip(shown, wanted, strict=True))
            for x, (a, b) in enumerate(zip(row, other, strict=True))
            if a != b
        ]
        if not wrong or time.monotonic() > ends_at:
            return list(wrong)


@pytest.mark.parametrize(("seed", "size"), [(1, (120, 36)), (2, (80, 24)), (3, (60, 15))])
async def test_what_is_meant_is_seen(seed: int, size: tuple[int, int], tmp_path: Path) -> None:
    await asyncio.to_thread(walk, seed, size, tmp_path / "whole")


def spent(file: Path, **environment: str) -> int:
    """Bytes of a short walk through the panes."""
    with still(file, (120, 36), **environment) as terminal:
        before = len(terminal.output)
        for key in ["2", "j", "j", "j", "3", "j", "7", "1", "a", "\x1b"]:
            terminal.press(key)
            terminal.quiet(0.2)
        return len(terminal.output) - before


async def test_it_costs_a_fraction_of_the_bytes(tmp_path: Path) -> None:
    ours = await asyncio.to_thread(spent, tmp_path / "a")
    whole = await asyncio.to_thread(spent, tmp_path / "b", IOT_CONSOLE_FULL_PAINT="1")
    assert ours < whole / 2, (ours, whole)
