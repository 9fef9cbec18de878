"""What the agent says of itself: one AgentStatus from the state of all its parts. Pure."""

from dataclasses import dataclass

from agent.alerts.engine import AlertHealth
from agent.canary import CanaryHealth
from agent.cloud import CloudHealth
from agent.creds.bulletin import CredsHealth
from agent.ingest.accounting import Accounting
from agent.ingest.decode import moment
from agent.ingest.link import LinkHealth
from agent.ingest.pipeline import Health
from probes.host import HostSample
from store.agents import AgentStatus, Part, PartState, Sample

DISK_WARN, DISK_CRIT = 85.0, 95.0
SPOOL_WARN = 0.5
CERTIFICATE_WARN, CERTIFICATE_CRIT = 21.0, 7.0  # days left
ALERTS_LATE = 180.0


@dataclass(frozen=True, slots=True)
class Spooled:
    """Fill of the spool; sizes are bytes."""

    rows: int
    bytes: int
    limit: int


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything a status is made of, as it was at `now` (seconds since 1970)."""

    now: float
    host: HostSample
    count: Accounting
    ingest: Health
    link: LinkHealth
    spool: Spooled
    canary: CanaryHealth | None
    write_p95_ms: float | None
    creds: CredsHealth | None
    alerts: AlertHealth | None
    upkeep_error: str | None
    confirmed: float | None
    unsettled_for: float
    cloud: CloudHealth | None = None


def status(seen: Observed) -> AgentStatus:
    """The row for iot.agents."""
    host, count = seen.host, seen.count
    return AgentStatus(
        host=host.host,
        pid=host.pid,
        cores=host.cores,
        cpu_percent=host.cpu_percent,
        load_1m=host.load_1m,
        memory_used=host.memory_used,
        memory_total=host.memory_total,
        swap_used=host.swap_used,
        disk_percent=host.disk_percent,
        agent_memory=host.agent_memory,
        received=count.received,
        inserted=count.inserted + count.drained_inserted,
        duplicates=count.duplicates + count.drained_duplicates,
        dead_letters=count.dead_letters + count.drained_dead_letters,
        spooled=count.spooled,
        errors=count.errors + seen.link.failures,
        spool_rows=seen.spool.rows,
        spool_bytes=seen.spool.bytes,
        spool_limit=seen.spool.limit,
        write_p95_ms=seen.write_p95_ms,
        canary_ms=seen.canary.round_trip_ms if seen.canary else None,
        last_message_at=moment(seen.ingest.last_message_at) if seen.ingest.last_message_at else None,
        last_commit_at=moment(seen.ingest.last_commit_at) if seen.ingest.last_commit_at else None,
        last_error=seen.ingest.spool_error or seen.ingest.database_error or seen.link.error,
        parts=parts(seen),
    )


def sample(seen: Observed) -> Sample:
    """The row for iot.agent_samples."""
    return Sample(
        at=moment(seen.now),
        cpu_percent=seen.host.cpu_percent,
        memory_percent=seen.host.memory_percent,
        disk_percent=seen.host.disk_percent,
        load_1m=seen.host.load_1m,
        spool_rows=seen.spool.rows,
        errors=seen.count.errors + seen.link.failures,
        write_p95_ms=seen.write_p95_ms,
        canary_ms=seen.canary.round_trip_ms if seen.canary else None,
    )


def parts(seen: Observed) -> tuple[Part, ...]:
    """The state of each part, worst news in its detail."""
    looks = (_broker, _ingest, _database, _spool, _canary, _credentials, _certificate, _disk, _upkeep, _alerts)
    cloud = () if seen.cloud is None else (_cloud(seen.cloud, seen.now),)
    return (*(look(seen) for look in looks), *cloud)


def healthy(seen: Observed) -> bool:
    """Whether nothing is critical: the answer of /healthz."""
    return all(part.state is not PartState.CRIT for part in parts(seen))


def progressing(seen: Observed, patience: float) -> bool:
    """Whether the process itself does its work: what the watchdog is fed with.

    A broker or database that is away is no reason to be restarted; a message that stays in our hands for longer
    than `patience` seconds while nothing says why, is.
    """
    return seen.ingest.holding_since is not None or seen.unsettled_for < patience


def _cloud(cloud: CloudHealth, now: float) -> Part:
    """Nothing depends on it: what cannot be asked is unknown."""
    if cloud.error is not None:
        return Part("cloud", PartState.UNKNOWN, cloud.error)
    if cloud.at is None:
        return Part("cloud", PartState.UNKNOWN, "not asked yet")
    return Part("cloud", PartState.OK, f"{cloud.found or 'answers'}, {max(0.0, now - cloud.at) / 60:.0f} min ago")


def _broker(seen: Observed) -> Part:
    if seen.link.connected_at is None:
        return Part("broker", PartState.CRIT, seen.link.error or "connecting")
    if seen.link.sessions_lost:
        return Part("broker", PartState.WARN, f"connected; it forgot our session {seen.link.sessions_lost} times")
    return Part("broker", PartState.OK, "connected")


def _ingest(seen: Observed) -> Part:
    if seen.ingest.holding_since is not None:
        return Part("ingest", PartState.CRIT, f"held for {seen.now - seen.ingest.holding_since:.0f} s")
    if seen.link.connected_at is None:
        return Part("ingest", PartState.UNKNOWN, "no broker")
    if seen.ingest.last_message_at is None:
        return Part("ingest", PartState.OK, "no message yet")
    return Part("ingest", PartState.OK, f"last message {seen.now - seen.ingest.last_message_at:.0f} s ago")


def _database(seen: Observed) -> Part:
    if seen.ingest.database_error is not None:
        return Part("database", PartState.CRIT, seen.ingest.database_error)
    if seen.write_p95_ms is None:
        return Part("database", PartState.OK, "no write yet")
    return Part("database", PartState.OK, f"write p95 {seen.write_p95_ms:.0f} ms")


def _spool(seen: Observed) -> Part:
    if seen.ingest.spool_error is not None:
        return Part("spool", PartState.CRIT, seen.ingest.spool_error)
    if seen.spool.rows == 0:
        return Part("spool", PartState.OK, "empty")
    share = seen.spool.bytes / seen.spool.limit
    state = PartState.WARN if share < SPOOL_WARN else PartState.CRIT
    return Part("spool", state, f"{seen.spool.rows} messages, {share:.0%} full")


def _canary(seen: Observed) -> Part:
    if seen.canary is None:
        return Part("canary", PartState.OFF, "canary.password is not set")
    if seen.canary.at is None:
        return Part("canary", PartState.UNKNOWN, "first round under way")
    if seen.canary.error is not None:
        return Part("canary", PartState.CRIT, seen.canary.error)
    return Part("canary", PartState.OK, f"there and back in {seen.canary.round_trip_ms or 0:.0f} ms")


def _credentials(seen: Observed) -> Part:
    creds = seen.creds
    if creds is None:
        return Part("credentials", PartState.OFF, "creds.enabled is not set")
    match creds.state:
        case "applied":
            waiting = f", set {creds.desired} is coming" if (creds.desired or 0) > creds.generation else ""
            detail = f"set {creds.generation} with {creds.entries} credentials is in force{waiting}"
            if creds.desired is None:
                return Part("credentials", PartState.WARN, creds.detail)
            return Part("credentials", PartState.OK, detail)
        case "pending":
            return Part("credentials", PartState.WARN, creds.detail)
    return Part("credentials", PartState.CRIT, f"{creds.state}: {creds.detail}")


def _certificate(seen: Observed) -> Part:
    creds = seen.creds
    if creds is None:
        return Part("certificate", PartState.OFF, "creds.enabled is not set")
    if creds.certificate_error is not None:
        return Part("certificate", PartState.CRIT, creds.certificate_error)
    if creds.certificate is None:
        return Part("certificate", PartState.UNKNOWN, "not looked yet")
    days = creds.certificate.days_left(seen.now)
    state = PartState.OK if days > CERTIFICATE_WARN else PartState.WARN if days > CERTIFICATE_CRIT else PartState.CRIT
    return Part("certificate", state, f"{days:.0f} days left")


def _disk(seen: Observed) -> Part:
    used = seen.host.disk_percent
    state = PartState.OK if used < DISK_WARN else PartState.WARN if used < DISK_CRIT else PartState.CRIT
    return Part("disk", state, f"{used:.0f} % used")


def _upkeep(seen: Observed) -> Part:
    if seen.upkeep_error is not None:
        return Part("partitions", PartState.WARN, seen.upkeep_error)
    return Part("partitions", PartState.OK, "made ahead")


def _alerts(seen: Observed) -> Part:
    alerts = seen.alerts
    if alerts is None:
        return Part("alerts", PartState.OFF, "alerts.enabled is not set")
    if alerts.evaluated_at is None:
        return Part("alerts", PartState.UNKNOWN, "not evaluated yet")
    age = seen.now - alerts.evaluated_at
    if age > ALERTS_LATE:
        return Part("alerts", PartState.CRIT, f"last evaluated {age:.0f} s ago")
    if alerts.config_error is not None:
        first, _, more = alerts.config_error.partition("\n")
        return Part("alerts", PartState.WARN, f"the rules' file: {first}{' ...' if more else ''}")
    if alerts.failing_rules:
        return Part("alerts", PartState.WARN, f"{alerts.failing_rules} of {alerts.rules} rules cannot be evaluated")
    if alerts.undelivered:
        return Part(
            "alerts", PartState.WARN, f"{alerts.undelivered} notifications not delivered: {alerts.delivery_error}"
        )
    return Part("alerts", PartState.OK, f"{alerts.rules} rules evaluated {age:.0f} s ago")
