"""The budgets of the design beside what was saved last. A ratio above 1 is over the limit, wherever that points."""

import json
from collections.abc import Callable
from dataclasses import dataclass
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
    aim: float
    source: str
    value: Callable[[Any], float]
    more_is_better: bool = False

    def ratio(self, measured: float, limit: float) -> float:
        return limit / measured if self.more_is_better else measured / limit


def _ingest(what: str, part: str, key: str) -> Callable[[Any], float]:
    return lambda found: float(next(row[key] for row in found[part] if row["what"].startswith(what)))


def _creds(key: str) -> Callable[[Any], float]:
    return lambda found: float(next(row[key] for row in found if row["devices"] == DEVICES))


def _storing(found: Any) -> float:
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
    Budget("storing rate with 50 M rows, of that with none", "", 0.8, 0.95, "scale", _storing, more_is_better=True),
    Budget("console: first picture", "ms", 700, 400, "console", lambda found: float(found["first_paint_ms"])),
    Budget("  key to picture, p95", "ms", 40, 20, "console", lambda found: float(found["key_ms"]["p95"])),
    Budget("  page of 10 000 devices, p95", "ms", 80, 30, "console", lambda found: float(found["page_ms"]["p95"])),
    Budget("  over SSH", "bytes/s", 3000, 1500, "console", lambda found: float(found["overview"]["bytes_per_second"])),
    Budget("  memory", "MB", 80, 60, "console", lambda found: float(found["rss_mb"])),
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
        lines.append(
            f"{budget.what:50}{measured:>18}{budget.must:>9,g}{budget.ratio(value, budget.must):>7.2f}"
            f"{budget.aim:>9,g}{budget.ratio(value, budget.aim):>7.2f}   {budget.source}.json, {result['at'][:10]}"
        )
    return "\n".join(lines)
