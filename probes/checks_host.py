"""Checks of the machine they run on: the VM, when an agent asks."""

import asyncio
import shutil

from probes.checks import World, check
from probes.finding import Finding, judged, unknown
from probes.host import Host


@check("disk.free")
async def disk_free(world: World, *, min_percent: float = 10) -> Finding:
    """Free space where the agent keeps its spool."""
    usage = await asyncio.to_thread(shutil.disk_usage, world.state_dir)
    free = 100.0 * usage.free / usage.total
    return judged(free >= float(min_percent), f"{free:.0f} % of the disk ({usage.free / 1e9:.1f} GB) is free")


@check("mem.available")
async def mem_available(world: World, *, min_percent: float = 12) -> Finding:
    """Memory that can be given out without swapping."""
    sample = await asyncio.to_thread(Host(world.state_dir).sample)
    free = 100.0 - sample.memory_percent
    size = (sample.memory_total - sample.memory_used) / 2**20
    return judged(free >= float(min_percent), f"{free:.0f} % of memory ({size:.0f} MiB) is available")


@check("clock.offset")
async def clock_offset(world: World, *, max_seconds: float = 2) -> Finding:
    """This machine's clock against the database's."""
    if world.db is None:
        return unknown("there is no database to compare with")
    before = world.now()
    there = float(str(await world.db.value("select extract(epoch from clock_timestamp())::float8")))
    off = abs(there - (before + world.now()) / 2)
    return judged(off <= float(max_seconds), f"the clock is {off:.1f} s off the database's")
