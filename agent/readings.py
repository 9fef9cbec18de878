"""The agent's own metrics, by the names that rules use."""

from agent.broker_watch import BrokerWatch
from agent.report import Observed

Readings = dict[tuple[str, str | None], float]
DAY = 86_400.0


def readings(seen: Observed, watch: BrokerWatch) -> Readings:
    """Every metric that has a value now; one that is not known is left out."""
    found: dict[str, float | None] = {
        **_ingest(seen),
        "agent.mqtt.connected": float(seen.link.connected_at is not None),
        "agent.mqtt.connect_failures": float(seen.link.failures),
        "agent.mqtt.sessions_lost": float(seen.link.sessions_lost),
        "agent.broker.answers": None if watch.answers is None else float(watch.answers),
        "agent.db.up": _database_up(seen),
        "agent.db.write_p95_ms": seen.write_p95_ms,
        "agent.spool.rows": float(seen.spool.rows),
        "agent.spool.used_percent": 100.0 * seen.spool.bytes / seen.spool.limit,
        "agent.memory_bytes": float(seen.host.agent_memory),
        "vm.cpu_percent": seen.host.cpu_percent,
        "vm.memory_percent": seen.host.memory_percent,
        "vm.disk_percent": seen.host.disk_percent,
        "vm.load_per_core": seen.host.load_1m / seen.host.cores,
        **_canary(seen),
        **_creds(seen),
    }
    values: Readings = {(name, None): value for name, value in found.items() if value is not None}
    certificate = watch.certificate
    if certificate is not None:
        values["cert.days_left", "server"] = (certificate.until - seen.now) / DAY
        if certificate.ca_until is not None:
            values["cert.days_left", "ca"] = (certificate.ca_until - seen.now) / DAY
    return values


def _database_up(seen: Observed) -> float | None:
    """Unknown until somebody asked: an agent that has just started must not say that all is well."""
    if seen.ingest.database_error is not None:
        return 0.0
    asked = None if seen.alerts is None else seen.alerts.database_up
    return None if asked is None else float(asked)


def _ingest(seen: Observed) -> dict[str, float | None]:
    count, health = seen.count, seen.ingest
    return {
        "agent.ingest.received": float(count.received),
        "agent.ingest.inserted": float(count.inserted + count.drained_inserted),
        "agent.ingest.duplicates": float(count.duplicates + count.drained_duplicates),
        "agent.ingest.dead_letters": float(count.dead_letters + count.drained_dead_letters),
        "agent.ingest.spooled": float(count.spooled),
        "agent.ingest.batches": float(count.batches),
        "agent.ingest.errors": float(count.errors),
        "agent.ingest.held_seconds": 0.0 if health.holding_since is None else seen.now - health.holding_since,
        "agent.ingest.idle_seconds": None if health.last_message_at is None else seen.now - health.last_message_at,
    }


def _canary(seen: Observed) -> dict[str, float | None]:
    canary = seen.canary
    if canary is None or canary.at is None:
        return {}
    return {"agent.canary.arrived": float(canary.error is None), "agent.canary.round_trip_ms": canary.round_trip_ms}


def _creds(seen: Observed) -> dict[str, float | None]:
    creds = seen.creds
    if creds is None:
        return {}
    behind = None if creds.desired is None else float(max(0, creds.desired - creds.generation))
    return {"agent.creds.behind": behind, "agent.creds.failed": float(creds.state in ("failed", "refused", "stopped"))}
