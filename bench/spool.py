"""A spool of 2 GiB, as after a long outage: what it costs in memory, how fast it fills, opens and drains."""

import asyncio
import shutil
import sys
import time
from pathlib import Path

from agent.ingest.delivery import Delivery
from agent.ingest.spool import Spool, SpoolFullError
from bench.publisher import PAYLOAD
from stack.local import short_directory
from store.message import message_hash

Row = dict[str, object]
LIMIT, QUICK_LIMIT = 2 * 2**30, 2**28
BATCH = 2000
DRAINED = 50  # batches that are timed
RECENT = 500  # batches since the horizon, a million messages, among which copies are looked for


def _rss() -> float:
    """Resident memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def _written() -> int:
    """Bytes that this process gave to the disk."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])


async def run(quick: bool) -> dict[str, object]:
    """In a process of its own, so that its memory is its own."""
    argv = (sys.executable, "-m", "bench.spool", str(QUICK_LIMIT if quick else LIMIT))
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    found = dict(line.split("=") for line in out.decode().split())
    return {name: float(value) for name, value in found.items()}


async def _measured(limit: int) -> dict[str, float]:
    directory = short_directory("iot-spool")
    try:
        return await _filled(directory / "spool.sqlite", limit)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _filled(path: Path, limit: int) -> dict[str, float]:
    empty, written = _rss(), _written()
    spool = Spool(path, limit)
    began, arrivals = time.perf_counter(), [time.time()]
    try:
        while True:
            await spool.append(_batch(spool.rows))
            arrivals.append(time.time())
    except SpoolFullError:
        took = time.perf_counter() - began
    full, written, rows = _rss(), _written() - written, spool.rows
    looked = await _looked(spool, arrivals[-RECENT:][0])
    spool.close()
    began = time.perf_counter()
    spool = Spool(path, limit)
    opened = time.perf_counter() - began
    drained = await _drained(spool)
    spool.close()
    return {
        "gib": round(limit / 2**30, 2),
        "million_messages": round(rows / 1e6, 2),
        "appended_a_second": round(rows / took),
        "written_for_each_byte_kept": round(written / limit, 1),
        "copies_of_2000_in_the_last_million_ms": round(looked * 1000),
        "opened_seconds": round(opened, 2),
        "drained_a_second": round(drained),
        "memory_more_mb": round(full - empty, 1),
        "memory_mb": round(_rss(), 1),
    }


async def _looked(spool: Spool, since: float) -> float:
    """Seconds for a batch after a reconnect: is a first copy of any of it in the spool?"""
    hashes = [message_hash(d.topic, d.payload) for d in _batch(0)]
    began = time.perf_counter()
    await spool.holding(hashes, since)
    return time.perf_counter() - began


async def _drained(spool: Spool) -> float:
    """Messages a second out of it, with a database that costs nothing."""
    began = time.perf_counter()
    for _ in range(DRAINED):
        batch = await spool.oldest(BATCH, 4 * 2**20)
        assert batch is not None
        await spool.remove(batch)
    return DRAINED * BATCH / (time.perf_counter() - began)


def _batch(first: int) -> list[Delivery]:
    now = time.time()
    return [
        Delivery(
            f"tenants/acme/devices/dev-{n % 20:04}/telemetry", PAYLOAD % (int(now * 1000), n), 1, None, 0, now, None
        )
        for n in range(first, first + BATCH)
    ]


def table(found: dict[str, object]) -> str:
    return "\n".join(f"{name.replace('_', ' '):40}{value:>12}" for name, value in found.items())


if __name__ == "__main__":
    for name, value in asyncio.run(_measured(int(sys.argv[1]))).items():
        print(f"{name}={value}")
