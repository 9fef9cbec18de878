"""`make bench`: run the measurements, print one table, save it under bench/results."""

import argparse
import asyncio
import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import alerts, broker, console, creds, ingest, scale, soak, spool
from stack.broker import version

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog='make bench ARGS="..."')
    parser.add_argument(
        "what", nargs="*", choices=[*MEASUREMENTS, []], help="all of them but scale and soak without a name"
    )
    parser.add_argument(
        "--quick", action="store_true", help="leave out what is large: millions of rows, 100 000 devices"
    )
    parser.add_argument("--no-save", action="store_true", help="print only")
    options = parser.parse_args()
    for name in options.what or [name for name in MEASUREMENTS if name not in LONG]:
        measure, show = MEASUREMENTS[name]
        found = asyncio.run(measure(options.quick))
        report = {"machine": machine(), "at": datetime.now(UTC).isoformat(timespec="minutes"), name: found}
        print(show(found))
        if not options.no_save:
            RESULTS.mkdir(exist_ok=True)
            (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=2) + "\n")


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
        "python": platform.python_version(),
        "mosquitto": version(),
        "postgresql": "18, embedded, fsync on",
    }


def table(found: dict[str, object]) -> str:
    """One line a measurement; the last column is the ratio of CPU to mosquitto_sub, which stores nothing."""
    throughput = found["throughput"]
    assert isinstance(throughput, list)
    floor = next(row["cpu_us_per_message"] for row in throughput if row["what"] == "mosquitto_sub")
    lines = [f"{'':42}{'msg/s':>9}{'CPU us/msg':>12}{'RSS MB':>8}{'CPU / mosquitto_sub':>21}"]
    for row in [*throughput, *found["growth"]]:  # type: ignore[misc]
        ratio = row["cpu_us_per_message"] / floor if floor else 0.0
        lines.append(
            f"{row['what']:42}{row['rows_per_second']:>9}{row['cpu_us_per_message']:>12}{row['rss_mb']:>8}{ratio:>20.1f}x"
        )
    lines += [f"{row['what']:42}{'':>9}{'':>12}{row['rss_mb']:>8}" for row in found["memory"]]  # type: ignore[attr-defined]
    lines += ["", "by stage, in one process"]
    lines += [
        f"{row['what']:51}{row.get('rows_per_second', ''):>9}{row['cpu_us_per_message']:>12}"
        for row in found["stages"]  # type: ignore[attr-defined]
    ]
    growth = found["growth"]
    assert isinstance(growth, list)
    if len(growth) == 2:
        lines.append(
            f"rate with 5 M rows / rate with few: {growth[1]['rows_per_second'] / growth[0]['rows_per_second']:.2f}"
        )
    return "\n".join(lines)


MEASUREMENTS: dict[str, tuple[Any, Any]] = {
    "ingest": (ingest.run, table),
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
