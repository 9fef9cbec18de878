"""The budgets of the design beside what was saved last. A ratio above 1 is over the limit, wherever that points."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
DEVICES, ROWS = 10_000, 50_000_000  # devices and rows that the budgets speak of


@dataclass(frozen=True, slots=True)
class Budget:
    """must: the limit; aim: where it should be. source: the measurement's name; value: how to find it in its result."""

    what: str
    unit: str
    must: float
    aim: float | None
    source: str
    value: Callable[[Any], float]
    more_is_better: bool = False

    def against(self, measured: float, limit: float | None) -> str:
        """Two columns: the limit, and how much of it is used."""
        if limit is None:
            return " " * 16
        ratio = limit / measured if self.more_is_better else measured / limit
        return f"{limit:>9,g}{ratio:>7.2f}"


def _ingest(what: str, part: str, key: str) -> Callable[[Any], float]:
    return lambda found: float(next(row[key] for row in found[part] if row["what"].startswith(what)))


def _creds(key: str) -> Callable[[Any], float]:
    return lambda found: float(next(row[key] for row in found if row["devices"] == DEVICES))


def _console(*keys: str) -> Callable[[Any], float]:
    return lambda found: float(reduce(lambda part, key: part[key], keys, found))


def storing(found: Any) -> float:
    """The rate at ROWS, of the rate in an empty table."""
    took = [row for row in found if row["what"] == "agent: store 2000 rows"]
    full = next(row for row in took if row["rows"] == ROWS)
    return round(float(took[0]["median_ms"]) / float(full["median_ms"]), 2)


BUDGETS = (
    Budget(
        "agent's CPU a message, socket to committed row", "us", 25, 16, "ingest",
        _ingest("agent, TLS, batch 2000", "throughput", "cpu_us_per_message"),
    ),
    Budget(
        "broker to row, all on 2 cores", "msg/s", 20_000, 30_000, "ingest",
        _ingest("agent, TLS, batch 2000", "throughput", "rows_per_second"), more_is_better=True,
    ),
    Budget("agent's memory, idle", "MB", 60, 45, "ingest", _ingest("idle", "memory", "rss_mb")),
    Budget("  at 10 000 msg/s", "MB", 110, 80, "ingest", _ingest("at 10 000", "memory", "rss_mb")),
    Budget("  with the database away", "MB", 110, 80, "ingest", _ingest("database away", "memory", "rss_mb")),
    Budget("revoked to cut off, 10 000 devices", "ms", 50, 20, "creds", _creds("revoked_ms")),
    Budget("created to let in, 10 000 devices", "ms", 1000, 300, "creds", _creds("created_ms")),
    Budget("storing rate with 50 M rows, of that with none", "", 0.8, 0.95, "scale", storing, more_is_better=True),
    Budget("console: first picture", "ms", 700, 400, "console", _console("first_paint_ms")),
    Budget("  key to picture, p95", "ms", 40, 20, "console", _console("key_ms", "p95")),
    Budget("  page of 10 000 devices, p95", "ms", 80, 30, "console", _console("page_ms", "p95")),
    Budget("  another pane, p95", "ms", 80, 40, "console", _console("switch_ms", "p95")),
    Budget("  another pane", "bytes", 12_000, None, "console", _console("switch_bytes")),
    Budget("  live Overview, 120x36", "bytes/s", 3000, 1500, "console", _console("overview", "bytes_per_second")),
    Budget("  as ssh -C sends it", "bytes/s", 500, 250, "console", _console("overview", "compressed_bytes_per_second")),
    Budget("  live Overview, 80x24", "bytes/s", 2000, 1000, "console", _console("small", "bytes_per_second")),
    Budget("  while it is frozen", "bytes/s", 50, None, "console", _console("frozen_bytes_per_second")),
    Budget("  CPU", "% of a core", 4, 2, "console", _console("overview", "cpu_percent")),
    Budget("  memory", "MB", 80, 60, "console", _console("rss_mb")),
)  # fmt: skip


def table(directory: Path = RESULTS) -> str:
    """One line a budget, from the saved results."""
    lines = [f"{'':50}{'measured':>18}{'must':>9}{'ratio':>7}{'aim':>9}{'ratio':>7}   saved"]
    saved = {path.stem: json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))}
    for budget in BUDGETS:
        if budget.source not in saved:
            lines.append(f"{budget.what:50}{'not measured':>18}   make bench ARGS={budget.source}")
            continue
        result = saved[budget.source]
        value = budget.value(result[budget.source])
        measured = f"{value:,g} {budget.unit}"
        limits = budget.against(value, budget.must) + budget.against(value, budget.aim)
        lines.append(f"{budget.what:50}{measured:>18}{limits}   {budget.source}.json, {result['at'][:10]}")
    return "\n".join(lines)
