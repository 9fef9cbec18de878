"""Drills as an engineer runs them, and the control that they can fail."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parent.parent


async def drill(*argv: str) -> tuple[int, dict[str, Any]]:
    """(exit code, evidence)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", "drill", *argv, "--json", cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert out, err.decode()
    return process.returncode or 0, json.loads(out)


def command_line(pid: int) -> list[str]:
    """Empty when it has ended meanwhile."""
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


@pytest.mark.parametrize("name", ["mqtt-down", "db-down", "db-exhausted", "disk", "cost-spike", "agent-killed"])
async def test_a_fault_is_seen_told_and_its_end_too(name: str) -> None:
    before = set(psutil.pids())
    code, evidence = await drill(name)
    assert (code, evidence["failure"]) == (0, None), evidence
    assert evidence["t_fault"] < evidence["t_notified"] <= evidence["t_fault"] + evidence["within_seconds"]
    assert evidence["t_mended"] < evidence["t_resolved"]
    left = [line for pid in set(psutil.pids()) - before if (line := command_line(pid))]
    assert not [argv for argv in left if any("iot-drill" in part for part in argv)]


async def test_a_drill_can_fail() -> None:
    code, evidence = await drill("mqtt-down", "--blind")
    assert (code, evidence["passed"], evidence["t_notified"]) == (1, False, None)
    assert "no message within" in evidence["failure"]


async def test_the_names_are_listed_and_others_refused() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", "drill", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert len(out.decode().splitlines()) == 12
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent", "drill", "nothing", cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    _, err = await process.communicate()
    assert (process.returncode, b"there is no drill nothing: one of mqtt-down" in err) == (2, True)
