"""The numbers of the Overview: series of the charts and the five figures. Pure."""

from collections.abc import Callable
from datetime import UTC, timedelta

from store.agents import AgentStatus
from store.rates import Minute
from tui.chart import Series
from tui.render import number, size
from tui.view import Metric, Snapshot, View

PERCENT_TOP = 100.0
SHORTEST_RATE_SECONDS = 3.0  # a rate over less is noise: the minute before is shown instead
NOTHING = "-"


def rate_series(snapshot: Snapshot, minutes: int) -> list[float | None]:
    """Rows a second of each minute of the window, oldest first; the last one is the minute that is running."""
    counts = _by_minute(snapshot, minutes, lambda minute: float(minute.inserted))
    running = snapshot.server_now.second + snapshot.server_now.microsecond / 1e6
    rates = [None if count is None else count / 60 for count in counts]
    last = counts[-1]
    rates[-1] = last / running if last is not None and running >= SHORTEST_RATE_SECONDS else rates[-2]
    return rates


def refused_series(snapshot: Snapshot, minutes: int) -> list[float | None]:
    """Dead letters of each minute of the window, oldest first."""
    return _by_minute(snapshot, minutes, lambda minute: float(minute.dead_letters))


def _by_minute(snapshot: Snapshot, minutes: int, value: Callable[[Minute], float]) -> list[float | None]:
    """A minute without a row had no traffic; but before the first row ever seen nothing is known."""
    found = {m.minute: value(m) for m in snapshot.minutes}
    this_minute = snapshot.server_now.astimezone(UTC).replace(second=0, microsecond=0)
    first = min(found, default=this_minute)
    wanted = [this_minute - timedelta(minutes=n) for n in range(minutes - 1, -1, -1)]
    return [found.get(minute, 0.0 if minute >= first else None) for minute in wanted]


def sample_series(snapshot: Snapshot, minutes: int, field: str) -> list[float | None]:
    """An agent's measurements on a grid of 15 s; a slot without one is a gap."""
    slots = minutes * 4
    ends = snapshot.server_now.timestamp()
    sums: list[list[float]] = [[] for _ in range(slots)]
    for sample in snapshot.samples:
        slot = slots - 1 - int((ends - sample.at.timestamp()) // 15)
        value = getattr(sample, field)
        if 0 <= slot < slots and value is not None:
            sums[slot].append(value)
    return [sum(values) / len(values) if values else None for values in sums]


def _rate_text(snapshot: Snapshot) -> str:
    return "… msg/s" if snapshot.rate is None else f"{number(snapshot.rate)} msg/s"


Figure = tuple[str, str, Series, float | None, str]


def figures(view: View, snapshot: Snapshot) -> list[Figure]:
    """(title, value, series, full scale, note) of the five figures. A silent agent's are not shown as current."""
    status = snapshot.agent.status if snapshot.agent and not view.agent_silent else None
    why = "data is old" if view.stale else "agent is silent" if snapshot.agent else "no agent yet"
    today = snapshot.today
    rates = rate_series(snapshot, 20)
    bad = refused_series(snapshot, 20)
    return [
        ("Ingest", _rate_text(snapshot), rates, None, f"{number(today.inserted)} today"),
        ("Refused", f"{number(today.dead_letters)} dead today", bad, None, f"{number(today.duplicates)} duplicates"),
        _database_figure(snapshot, status, why),
        _cpu_figure(snapshot, status, why),
        _memory_figure(snapshot, status, why),
    ]


def _database_figure(snapshot: Snapshot, status: AgentStatus | None, why: str) -> Figure:
    series = sample_series(snapshot, 5, "write_p95_ms")
    if status is None:
        return ("DB write", "?", series, None, why)
    value = NOTHING if status.write_p95_ms is None else f"{status.write_p95_ms:.0f} ms p95"
    return ("DB write", value, series, None, f"spool {number(status.spool_rows)} · errors {number(status.errors)}")


def _cpu_figure(snapshot: Snapshot, status: AgentStatus | None, why: str) -> Figure:
    series = sample_series(snapshot, 5, "cpu_percent")
    if status is None:
        return ("VM CPU", "?", series, PERCENT_TOP, why)
    note = f"load {status.load_1m:.2f} · {status.cores} core{'' if status.cores == 1 else 's'}"
    return ("VM CPU", f"{status.cpu_percent:.0f} %", series, PERCENT_TOP, note)


def _memory_figure(snapshot: Snapshot, status: AgentStatus | None, why: str) -> Figure:
    series = sample_series(snapshot, 5, "memory_percent")
    if status is None:
        return ("VM memory", "?", series, PERCENT_TOP, why)
    share = 100 * status.memory_used / status.memory_total if status.memory_total else 0
    note = f"{size(status.memory_used)} of {size(status.memory_total)}"
    return ("VM memory", f"{share:.0f} %", series, PERCENT_TOP, note)


def chosen(view: View, snapshot: Snapshot) -> list[float | None]:
    """The series of the big chart."""
    match view.metric:
        case Metric.RATE:
            return rate_series(snapshot, view.window_minutes)
        case Metric.BAD:
            return refused_series(snapshot, view.window_minutes)
        case Metric.CPU:
            return sample_series(snapshot, view.window_minutes, "cpu_percent")
        case Metric.MEMORY:
            return sample_series(snapshot, view.window_minutes, "memory_percent")
