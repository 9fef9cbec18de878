"""What the console costs: time to the first picture, from key to picture, bytes, memory; with 10 000 devices."""

import asyncio
import os
import select
import shutil
import statistics
import time
import zlib
from pathlib import Path

import psutil

from stack.local import LocalStack, fleet, short_directory
from stack.terminal import Terminal

Row = dict[str, object]
DEVICES, QUICK_DEVICES = 10_000, 500
LIVE_DEVICES, RATE = "50", "100"
STARTS, KEYS, WATCH_SECONDS = 5, 60, 20.0
QUIET = 0.012  # nothing for so long: the picture is complete
FULL_PAINT = {"IOT_CONSOLE_FULL_PAINT": "1"}


class Timed(Terminal):
    """Reads without an emulator in the way."""

    def first(self, seconds: float = 20.0) -> float:
        """Seconds until something arrives; 0.0 and no byte read when nothing does."""
        began = time.perf_counter()
        if not select.select([self.master], [], [], seconds)[0]:
            return 0.0
        return time.perf_counter() - began

    def drain(self, quiet: float = QUIET) -> bytes:
        """What arrives until there is a pause."""
        got = b""
        while select.select([self.master], [], [], quiet)[0]:
            got += os.read(self.master, 65_536)
        return got

    def collect(self, seconds: float) -> list[bytes]:
        """Every burst within the time."""
        bursts, ends_at = [], time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            if select.select([self.master], [], [], left)[0]:
                bursts.append(self.drain())
        return bursts

    def key(self, key: str) -> tuple[float, float, int]:
        """Press; (ms to the first byte, ms to the last one, bytes)."""
        self.drain(0.03)
        began = time.perf_counter()
        self.press(key)
        first = self.first()
        got = self.drain()
        return first * 1000, max(0.0, time.perf_counter() - began - QUIET) * 1000, len(got)


async def run(quick: bool) -> Row:
    """quick: 500 devices."""
    directory = short_directory("iot-bench")
    stack = LocalStack(directory, creds=True)
    devices = QUICK_DEVICES if quick else DEVICES
    try:
        await stack.cluster.start()
        await stack.prepare(fleet(devices))
        stack.broker.start()
        agent = stack.agent()
        agent.start()
        await agent.ready()
        stack.simulator(directory / "fleet.log", "--devices", LIVE_DEVICES, "--rate", RATE)
        url_file = directory / "url"
        url_file.write_text(stack.owner_url)
        return await asyncio.to_thread(measured, url_file, devices)
    finally:
        stack.stop()
        shutil.rmtree(directory, ignore_errors=True)


def measured(url_file: Path, devices: int) -> Row:
    starts = [start(url_file) for _ in range(STARTS)]
    terminal = Timed(url_file)
    try:
        terminal.until("LIVE")
        live = watched(terminal, WATCH_SECONDS)
        switches = [terminal.key(key) for key in "2345671" * 2]
        terminal.press("2")
        terminal.until("dev-0001", 60)
        process = psutil.Process(terminal.process.pid)
        moves = [terminal.key("j") for _ in range(KEYS)]
        pages = [terminal.key("\x1b[6~") for _ in range(KEYS)]
        loaded = process.memory_info().rss
        terminal.press("1")
        terminal.drain(0.5)
        terminal.press("p")
        terminal.drain(0.5)
        frozen = sum(map(len, terminal.collect(5.0))) / 5
    finally:
        terminal.close()
    return {
        "devices": devices,
        "first_paint_ms": round(min(first for first, _ in starts)),
        "first_data_ms": round(min(data for _, data in starts)),
        "switch_ms": times([last for _, last, _ in switches]),
        "switch_bytes": round(statistics.median(count for *_, count in switches)),
        "key_ms": times([last for _, last, _ in moves]),
        "page_ms": times([last for _, last, _ in pages]),
        "rss_mb": round(loaded / 1e6),
        "overview": live,
        "frozen_bytes_per_second": round(frozen),
        "small": watch(url_file, (80, 24)),
        "whole_widgets": watch(url_file, (120, 36), **FULL_PAINT),
        "no_colour": watch(url_file, (120, 36), NO_COLOR="1"),
    }


def start(url_file: Path) -> tuple[float, float]:
    """(ms to the first picture, ms to the first data)."""
    began = time.perf_counter()
    terminal = Timed(url_file)
    try:
        seen, first = b"", 0.0
        while b"LIVE" not in seen:
            if not terminal.first():
                raise TimeoutError("the console shows nothing")
            seen += terminal.drain(0.0)
            if not first and b"iot-console" in seen:
                first = time.perf_counter() - began
        return first * 1000, (time.perf_counter() - began) * 1000
    finally:
        terminal.close()


def watch(url_file: Path, size: tuple[int, int], **environment: str) -> Row:
    terminal = Timed(url_file, size=size, **environment)
    try:
        terminal.until("LIVE")
        return watched(terminal, WATCH_SECONDS)
    finally:
        terminal.close()


def watched(terminal: Timed, seconds: float) -> Row:
    """A live Overview that nobody touches: bytes a second, plain and as `ssh -C` would send them, and CPU."""
    terminal.drain(0.3)
    process = psutil.Process(terminal.process.pid)
    before = sum(process.cpu_times()[:2])
    bursts = terminal.collect(seconds)
    used = sum(process.cpu_times()[:2]) - before
    squeezer = zlib.compressobj(6)
    squeezed = sum(len(squeezer.compress(b)) + len(squeezer.flush(zlib.Z_SYNC_FLUSH)) for b in bursts)
    return {
        "bytes_per_second": round(sum(map(len, bursts)) / seconds),
        "compressed_bytes_per_second": round(squeezed / seconds),
        "cpu_percent": round(100 * used / seconds, 1),
    }


def times(values: list[float]) -> Row:
    ordered = sorted(values)
    return {"p50": round(statistics.median(ordered), 1), "p95": round(ordered[int(len(ordered) * 0.95)], 1)}


def table(found: Row) -> str:
    """One line a measurement; `budgets` has the limits."""
    whole, ours = found["whole_widgets"], found["overview"]
    assert isinstance(whole, dict)
    assert isinstance(ours, dict)
    small, plain = found["small"], found["no_colour"]
    lines: list[str] = []

    def line(what: str, value: object) -> None:
        lines.append(f"{what:44}{value!s:>16}")

    def pair(name: str) -> str:
        values = found[name]
        assert isinstance(values, dict)
        return f"{values['p50']} / {values['p95']}"

    line("first picture, ms (best of 5)", found["first_paint_ms"])
    line("first data, ms", found["first_data_ms"])
    line(f"cursor among {found['devices']} devices, ms p50 / p95", pair("key_ms"))
    line("page down, ms p50 / p95", pair("page_ms"))
    line("another pane, ms p50 / p95", pair("switch_ms"))
    line("another pane, bytes", found["switch_bytes"])
    line("memory with the devices, MB", found["rss_mb"])
    line("live Overview 120x36, bytes/s", ours["bytes_per_second"])
    line("  as ssh -C sends them", ours["compressed_bytes_per_second"])
    line("  CPU, % of a core", ours["cpu_percent"])
    line("live Overview 80x24, bytes/s", small["bytes_per_second"])  # type: ignore[index]
    line("live Overview without colour, bytes/s", plain["bytes_per_second"])  # type: ignore[index]
    line("frozen, bytes/s", found["frozen_bytes_per_second"])
    ratio = whole["bytes_per_second"] / max(1, ours["bytes_per_second"])
    line("whole widgets / changed cells, bytes", f"{ratio:.1f}x")
    return "\n".join(lines)
