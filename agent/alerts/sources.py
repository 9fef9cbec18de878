"""Rows of a query from where they are: the agent's own memory or the database. Asked once a tick for equal queries."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from agent.alerts.history import History
from alerting import aggregate, catalogue
from alerting.aggregate import Stats
from alerting.catalogue import TELEMETRY, Form, Metric, Scope
from alerting.expression import Query
from alerting.vectors import Vector
from store import series
from store.db import Db

CLOCK_AHEAD = 3600.0  # rows of devices whose clock is ahead count as seen, but not when the past is replayed
SEEN_DAYS = 2  # how far back the newest row of a device is looked for
Key = tuple[str, float | None, bool]


@dataclass(frozen=True, slots=True)
class Limits:
    """What percentages are against."""

    database_bytes: float


class Sources:
    """Values as of one slot, seconds since 1970. What was read is kept: make a new one for each tick.

    past: the slot is replayed, and nothing later may be seen.
    """

    def __init__(self, db: Db, history: History, limits: Limits, slot: float, past: bool = False) -> None:
        self.slot = slot
        self._db = db
        self._history = history
        self._limits = limits
        self._ahead = 0.0 if past else CLOCK_AHEAD
        self._read: dict[Key, list[Stats]] = {}
        self._by_tenant: dict[Key, dict[str, list[Stats]]] = {}

    async def rows(self, query: Query) -> Vector:
        """Raises StoreError."""
        key = (query.metric, query.window, query.function == "quantile")
        if key not in self._read:
            self._read[key] = await self._ask(query, key[2])
        tenant = next((m.value for m in query.matchers if m.label == "tenant" and m.equal), None)
        found: Iterable[Stats] = self._read[key] if tenant is None else self._of_tenant(key, tenant)
        return aggregate.reduce(query, found, self.slot)

    def complete(self, queries: Iterable[Query]) -> bool:
        """Whether a missing row means something: the agent may have begun to watch after the window began."""
        for query in queries:
            metric = _metric(query)
            looked_back = metric.staleness if query.window is None else query.window
            if metric.scope is Scope.AGENT and not self._history.covers(self.slot - looked_back):
                return False
        return True

    def _of_tenant(self, key: Key, tenant: str) -> list[Stats]:
        """Every tenant's rule reads the same rows; each takes its own without looking at the others."""
        if key not in self._by_tenant:
            index: dict[str, list[Stats]] = {}
            for found in self._read[key]:
                index.setdefault(found.labels.get("tenant", ""), []).append(found)
            self._by_tenant[key] = index
        return self._by_tenant[key].get(tenant, [])

    async def _ask(self, query: Query, numbers: bool) -> list[Stats]:
        metric = _metric(query)
        since = self.slot - (metric.staleness if query.window is None else query.window)
        if metric.scope is Scope.AGENT:
            return self._history.stats(metric.name, since, self.slot)
        if metric.scope is Scope.AZURE:
            return _stats(await series.stored(self._db, metric.name, since, self.slot))
        if metric.name.startswith(TELEMETRY) and metric.form is Form.GAUGE:
            path = catalogue.json_path(metric.name)
            return _stats(await series.telemetry(self._db, path, since, self.slot, None, numbers))
        return await self._asked[metric.name](self, metric.name, since)

    async def _last_seen(self, name: str, since: float) -> list[Stats]:
        return _moments(await series.last_seen(self._db, self.slot, SEEN_DAYS, None, self._ahead))

    async def _agents(self, name: str, since: float) -> list[Stats]:
        return _moments(await series.agents_seen(self._db, self.slot))

    async def _ingested(self, name: str, since: float) -> list[Stats]:
        what = name.removeprefix("ingest.")
        rows = await series.ingested(self._db, since, self.slot)
        return [Stats(labels, increase=counts[what], newest_at=self.slot) for labels, counts in rows]

    async def _database(self, name: str, since: float) -> list[Stats]:
        found = await series.database(self._db)
        found["size_percent"] = 100.0 * found["size_bytes"] / self._limits.database_bytes
        return [_level({}, found[name.removeprefix("db.")], self.slot)]

    async def _overdue(self, name: str, since: float) -> list[Stats]:
        return [_level(labels, value, self.slot) for labels, value in await series.overdue(self._db)]

    _asked: dict[str, Callable[["Sources", str, float], Awaitable[list[Stats]]]] = {
        "telemetry.last_seen": _last_seen,
        "agents.last_seen": _agents,
        "ingest.inserted": _ingested,
        "ingest.duplicates": _ingested,
        "ingest.dead_letters": _ingested,
        "db.size_bytes": _database,
        "db.size_percent": _database,
        "db.connections_percent": _database,
        "credentials.overdue": _overdue,
    }


def _metric(query: Query) -> Metric:
    metric = catalogue.metric_of(query.metric)
    assert metric is not None, "rules are checked when they are loaded"
    return metric


def _stats(windows: Sequence[series.Window]) -> list[Stats]:
    return [Stats(w.labels, w.count, w.total, w.low, w.high, w.newest, w.newest_at, None, w.numbers) for w in windows]


def _moments(rows: Sequence[tuple[dict[str, str], float]]) -> list[Stats]:
    return [Stats(labels, newest_at=at) for labels, at in rows]


def _level(labels: dict[str, str], value: float, at: float) -> Stats:
    return Stats(labels, 1, value, value, value, value, at, None, (value,))
