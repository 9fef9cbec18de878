"""Half an hour of a busy small service: does memory stay where it is, of the agent and of the broker?"""

import asyncio
import time
from statistics import median

import psutil

from bench.rig import Rig, database, inserted, rig, until, usage

Row = dict[str, object]
MINUTES, RATE = 30, 500
EVERY_SECONDS = 10.0
SETTLED_MINUTES = 5  # caches fill at first


async def run(quick: bool) -> dict[str, object]:
    """quick: two minutes."""
    minutes = 2 if quick else MINUTES
    async with rig() as on:
        return await _soaked(on, minutes)


async def _soaked(on: Rig, minutes: int) -> dict[str, object]:
    agent = on.start_agent("soak", True, {})
    await agent.ready()
    messages = minutes * 60 * RATE
    async with database(on.stack) as db:
        before = await inserted(db)
        cpu = usage(agent.process.pid).cpu
        publisher = on.start_publisher(messages, rate=RATE)
        began, seen = time.monotonic(), []
        while publisher.alive:
            now = time.monotonic() - began
            seen.append((now, usage(agent.process.pid).rss / 1e6, usage(on.stack.broker.pid).rss / 1e6))
            await asyncio.sleep(EVERY_SECONDS)
        await until(db, before + messages)
        spent = usage(agent.process.pid).cpu - cpu
    agent.stop()
    return {
        "minutes": minutes,
        "messages_per_second": RATE,
        "messages": messages,
        "agent_cpu_percent": round(100 * spent / (minutes * 60), 1),
        "rss_mb": {
            name: _summary([(row[0], row[n]) for row in seen], minutes) for n, name in ((1, "agent"), (2, "broker"))
        },
        "free_mb_of_this_machine": round(psutil.virtual_memory().available / 1e6),
    }


def _summary(seen: list[tuple[float, float]], minutes: int) -> Row:
    """The middle of the first minutes that count, and of the last ones; growth an hour between the two."""
    start = min(SETTLED_MINUTES, minutes // 2) * 60
    span = max(60.0, minutes * 60 / 6)
    first = median(value for at, value in seen if start <= at < start + span)
    last = median(value for at, value in seen if at >= seen[-1][0] - span)
    hours = max(1e-9, (seen[-1][0] - span / 2 - start - span / 2) / 3600)
    return {
        "after_5_minutes": round(first, 1), "at_the_end": round(last, 1), "most": round(max(v for _, v in seen), 1),
        "growth_mb_an_hour": round((last - first) / hours, 2), "windows": _windows(seen, span),
    }  # fmt: skip


def _windows(seen: list[tuple[float, float]], span: float) -> list[float]:
    """The middle of each stretch of time: growth that goes on looks different from growth that ends."""
    stretches: dict[int, list[float]] = {}
    last = int(seen[-1][0] / span - 0.5)
    for at, value in seen:
        stretches.setdefault(min(int(at / span), last), []).append(value)
    return [round(median(values), 1) for _, values in sorted(stretches.items())]


def table(found: dict[str, object]) -> str:
    lines = [f"{found['minutes']} minutes, {found['messages_per_second']} messages a second, "
             f"agent's CPU {found['agent_cpu_percent']} % of a core"]  # fmt: skip
    lines.append(f"{'':10}{'after 5 min':>12}{'at the end':>12}{'most':>8}{'MB an hour':>12}   each sixth of the time")
    for name, row in found["rss_mb"].items():  # type: ignore[attr-defined]
        values = (row["after_5_minutes"], row["at_the_end"], row["most"], row["growth_mb_an_hour"])
        stretches = ", ".join(map(str, row["windows"]))
        lines.append(f"{name:10}{values[0]:>12}{values[1]:>12}{values[2]:>8}{values[3]:>12}   {stretches}")
    return "\n".join(lines)
