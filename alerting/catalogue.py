"""Every metric that an expression can name: what it is, who has it, and which functions fit it."""

import re
from dataclasses import dataclass
from enum import StrEnum

from alerting.expression import OF_COUNTERS, Query


class Scope(StrEnum):
    """Where values come from: an agent's own memory (works without the database), the database, or Azure."""

    AGENT = "agent"
    DATABASE = "database"
    AZURE = "azure"


class Form(StrEnum):
    """What the values are: a level, a count that only grows, or moments of which only the age is asked."""

    GAUGE = "gauge"
    COUNTER = "counter"
    MOMENT = "moment"


@dataclass(frozen=True, slots=True)
class Metric:
    """staleness: seconds after which the newest value is none any more, for functions without a window."""

    name: str
    scope: Scope
    form: Form
    labels: tuple[str, ...]
    help: str
    staleness: float = 300.0


def _agent(name: str, form: Form, text: str, *labels: str) -> Metric:
    return Metric(name, Scope.AGENT, form, ("agent", *labels), text, staleness=60.0)


def _azure(name: str, text: str, label: str, staleness: float = 1800.0) -> Metric:
    return Metric(name, Scope.AZURE, Form.GAUGE, (label,), text, staleness)


GAUGE, COUNTER, MOMENT = Form.GAUGE, Form.COUNTER, Form.MOMENT
DAY = 86_400.0
FIXED = (
    _agent("agent.ingest.received", COUNTER, "messages received from the broker"),
    _agent("agent.ingest.inserted", COUNTER, "messages that became rows"),
    _agent("agent.ingest.duplicates", COUNTER, "messages that were rows already"),
    _agent("agent.ingest.dead_letters", COUNTER, "messages that cannot be stored"),
    _agent("agent.ingest.spooled", COUNTER, "messages put into the spool"),
    _agent("agent.ingest.batches", COUNTER, "batches written"),
    _agent("agent.ingest.errors", COUNTER, "batches that the database did not take"),
    _agent("agent.ingest.held_seconds", GAUGE, "how long a batch can go neither into the database nor into the spool"),
    _agent("agent.ingest.idle_seconds", GAUGE, "time since the last message"),
    _agent("agent.mqtt.connected", GAUGE, "1 while there is a session with the broker"),
    _agent("agent.mqtt.connect_failures", COUNTER, "connections to the broker that failed"),
    _agent("agent.mqtt.sessions_lost", COUNTER, "times the broker had forgotten our session"),
    _agent("agent.broker.answers", GAUGE, "1 while the devices' listener completes a TLS handshake"),
    _agent("agent.db.up", GAUGE, "1 while the database takes writes"),
    _agent("agent.db.write_p95_ms", GAUGE, "duration of a batch write, 95th percentile"),
    _agent("agent.spool.rows", GAUGE, "messages in the spool"),
    _agent("agent.spool.used_percent", GAUGE, "fill of the spool"),
    _agent("agent.canary.arrived", GAUGE, "1 while the canary message comes back from the table"),
    _agent("agent.canary.round_trip_ms", GAUGE, "from publish to row"),
    _agent("agent.creds.behind", GAUGE, "credential sets that are not in force at the broker yet"),
    _agent("agent.creds.failed", GAUGE, "1 while the newest credential set is refused or did not prove itself"),
    _agent("agent.memory_bytes", GAUGE, "resident memory of the agent"),
    _agent("agent.alerts.failing", GAUGE, "rules whose last evaluation failed"),
    _agent("agent.alerts.degraded", GAUGE, "rules that refuse new instances because they are full"),
    _agent("agent.alerts.config_stale", GAUGE, "1 while the rules' file is invalid and the last good one is used"),
    _agent("agent.notify.failing", GAUGE, "notifications that could not be delivered so far"),
    _agent("cert.days_left", GAUGE, "days until a certificate of the broker ends", "certificate"),
    _agent("vm.cpu_percent", GAUGE, "CPU of the machine"),
    _agent("vm.memory_percent", GAUGE, "memory of the machine that is in use"),
    _agent("vm.disk_percent", GAUGE, "disk of the agent's state directory"),
    _agent("vm.load_per_core", GAUGE, "load average of one minute over the number of cores"),
    Metric("telemetry.last_seen", Scope.DATABASE, MOMENT, ("tenant", "device"), "newest row of each enabled device"),
    Metric("agents.last_seen", Scope.DATABASE, MOMENT, ("agent",), "newest heartbeat of each agent"),
    Metric("ingest.inserted", Scope.DATABASE, COUNTER, ("tenant",), "rows inserted, by the minute"),
    Metric("ingest.duplicates", Scope.DATABASE, COUNTER, ("tenant",), "duplicates, by the minute"),
    Metric("ingest.dead_letters", Scope.DATABASE, COUNTER, ("tenant",), "refused messages, by the minute"),
    Metric("db.size_bytes", Scope.DATABASE, GAUGE, (), "size of the database"),
    Metric("db.size_percent", Scope.DATABASE, GAUGE, (), "size of the database against alerts.database_limit_gb"),
    Metric("db.connections_percent", Scope.DATABASE, GAUGE, (), "connections against max_connections"),
    Metric("credentials.overdue", Scope.DATABASE, GAUGE, ("policy",), "secrets past their rotation date"),
    _azure("azure.vm.cpu_credits", "CPU credits that are left", "vm"),
    _azure("azure.vm.available_memory_percent", "memory that is left, as the platform sees it", "vm"),
    _azure("azure.vm.available", "1 while the platform says that the VM is available", "vm"),
    Metric(
        "azure.vm.maintenance_seconds",
        Scope.AZURE,
        Form.GAUGE,
        ("vm", "kind"),
        "time until maintenance that Azure has announced",
        1800.0,
    ),
    _azure("azure.function.error_percent", "failed requests of a function app, by KQL", "function"),
    Metric("azure.cost.daily", Scope.AZURE, GAUGE, ("scope", "currency"), "cost of a whole day", 4 * DAY),
)
METRICS = {metric.name: metric for metric in FIXED}
TELEMETRY = "telemetry."
LONGEST_WINDOW = {Scope.AGENT: 3600.0, Scope.DATABASE: 7 * DAY, Scope.AZURE: 35 * DAY}
SEGMENT = re.compile(r'"([^"]+)"|([^."]+)')


def metric_of(name: str) -> Metric | None:
    """The metric of that name; telemetry.PATH is a number in the payload at that JSON path."""
    found = METRICS.get(name)
    if found is None and name.startswith(TELEMETRY):
        return Metric(name, Scope.DATABASE, Form.GAUGE, ("tenant", "device"), "a number in the payload")
    return found


def json_path(name: str) -> tuple[str, ...]:
    """Keys of telemetry.PATH: telemetry.ENERGY."apparent power" is ("ENERGY", "apparent power")."""
    return tuple(a or b for a, b in SEGMENT.findall(name.removeprefix(TELEMETRY)))


def mistakes(query: Query) -> list[str]:
    """What is wrong with a query, for people; empty when nothing is."""
    metric = metric_of(query.metric)
    if metric is None:
        return [f"there is no metric {query.metric}{_suggestion(query.metric)}"]
    found = []
    if metric.form is Form.MOMENT and query.function != "age":
        found.append(f"{metric.name} has only an age: write age({metric.name})")
    if metric.form is not Form.MOMENT and query.function == "age":
        found.append(f"{metric.name} has no age; age() is for telemetry.last_seen and agents.last_seen")
    if metric.form is Form.COUNTER and query.function not in OF_COUNTERS:
        found.append(f"{metric.name} is a counter: use rate({metric.name}[5m]) or increase({metric.name}[5m])")
    if metric.form is Form.GAUGE and query.function in OF_COUNTERS:
        found.append(f"{metric.name} is no counter: {query.function} does not fit")
    unknown = {*(query.by or ()), *(matcher.label for matcher in query.matchers)} - set(metric.labels)
    if unknown:
        has = ", ".join(metric.labels) or "no labels"
        found.append(f"{metric.name} has no label {', '.join(sorted(unknown))}; it has {has}")
    longest = LONGEST_WINDOW[metric.scope]
    if query.window is not None and query.window > longest:
        found.append(f"the window is longer than {longest / 3600:g} h, the most for {metric.name}")
    return found


def labels_of(query: Query) -> tuple[str, ...]:
    """Labels that the rows of a valid query carry."""
    metric = metric_of(query.metric)
    assert metric is not None
    return metric.labels if query.by is None else query.by


def _suggestion(name: str) -> str:
    """The known name that shares the most parts with it."""
    parts = set(re.split(r"[._]", name))
    best = max(METRICS, key=lambda known: len(parts & set(re.split(r"[._]", known))))
    shared = parts & set(re.split(r"[._]", best))
    return f"; did you mean {best}?" if shared else "; `iot-agent rules metrics` lists them"
