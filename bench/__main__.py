"""`make bench`: run the measurements, print a table of each, save them, and print all budgets beside them."""

import argparse
import asyncio
import json
import os
import platform
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import alerts, broker, budgets, console, creds, ingest, scale, soak, spool
from bench.budgets import RESULTS
from stack.broker import version

BUDGETS = "budgets"


def main() -> None:
    parser = argparse.ArgumentParser(prog='make bench ARGS="..."')
    parser.add_argument(
        "what", nargs="*", choices=[*MEASUREMENTS, BUDGETS, []],
        help=f"all but {' and '.join(sorted(LONG))} without a name; {BUDGETS}: what was saved, measuring nothing",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="leave out what is large: millions of rows, 100 000 devices; saves nothing"
    )
    parser.add_argument("--no-save", action="store_true", help="print only")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was started ends, and its directories go
    wanted = options.what or [*(name for name in MEASUREMENTS if name not in LONG), BUDGETS]
    save = not (options.quick or options.no_save)
    try:
        for name in wanted:
            print(budgets.table() if name == BUDGETS else _measured(name, options.quick, save))
    except KeyboardInterrupt:
        parser.exit(130, "\nbench: interrupted\n")


def _measured(name: str, quick: bool, save: bool) -> str:
    """The measurement's table."""
    measure, show = MEASUREMENTS[name]
    found = asyncio.run(measure(quick))
    report = {"machine": machine(), "at": datetime.now(UTC).isoformat(timespec="minutes"), name: found}
    if save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")
    return str(show(found))


def machine() -> dict[str, object]:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "?",
    )
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_mib": memory,
        "python_loop_ms": _loop_ms(),
        "python": platform.python_version(),
        "mosquitto": version(),
        "postgresql": "18, embedded, fsync on",
    }


def _loop_ms() -> float:
    """A fixed amount of Python: shared machines have hours in which all of it takes twice as long."""

    def once() -> float:
        began, total = time.process_time(), 0
        for n in range(1_000_000):
            total += n * n % 7
        return time.process_time() - began

    return round(min(once() for _ in range(3)) * 1000, 1)


MEASUREMENTS: dict[str, tuple[Any, Any]] = {
    "ingest": (ingest.run, ingest.table),
    "creds": (creds.run, creds.table),
    "alerts": (alerts.run, alerts.table),
    "console": (console.run, console.table),
    "broker": (broker.run, broker.table),
    "spool": (spool.run, spool.table),
    "scale": (scale.run, scale.table),
    "soak": (soak.run, soak.table),
}
LONG = {"scale", "soak"}  # many minutes: only by name


if __name__ == "__main__":
    main()
