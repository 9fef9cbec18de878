"""Checks of the database, and of what agents have written into it."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import sql
from probes.checks import World, check, database
from probes.finding import Finding, Outcome, failed, judged, passed, unknown
from store import activity, agents, alert_views, brokers, fleet, migrate, runs
from store.agents import AgentRow, PartState
from store.db import connected
from store.deadline import within
from store.errors import Misconfigured, StoreError

SILENT_SECONDS = 20.0
GONE_SECONDS = 3600.0  # silent for longer: it was taken out of service
BROKER_SECONDS = 60.0
PORT_SECONDS = 5.0
OWN_LIMIT = "too many connections for role"
FULL = ("too many", "connection slots", "maxclients")  # as servers and poolers say it


@check("db.connect")
async def db_connect(world: World, *, max_ms: float = 5000) -> Finding:
    """A new connection, TLS verified, answers in time."""
    if world.target is None:
        return unknown("which database is not known")
    began = time.perf_counter()
    error = await _login_error(world)
    took = (time.perf_counter() - began) * 1000
    if error is not None:
        return failed(str(error))
    return judged(took <= float(max_ms), f"connected and answered in {took:.0f} ms")


@check("db.port")
async def db_port(world: World) -> Finding:
    """Something listens where the database should be; through a tunnel, at its near end."""
    target = world.target
    if target is None:
        return unknown("which database is not known")
    try:
        async with asyncio.timeout(PORT_SECONDS):
            if target.through is not None or target.local_socket:
                path = target.through or Path(target.host, f".s.PGSQL.{target.port}")
                _, writer = await asyncio.open_unix_connection(path)
            else:
                _, writer = await asyncio.open_connection(target.host, target.port)
        writer.close()
    except TimeoutError:
        return failed(f"{target.host}:{target.port} does not answer within {PORT_SECONDS:.0f} s")
    except OSError as error:
        return failed(f"{target.host}:{target.port}: {(error.strerror or str(error)).lower()}")
    return passed(f"{target.host}:{target.port} takes connections")


@check("db.password")
async def db_password(world: World) -> Finding:
    """Login and certificate are not refused; whether it answers otherwise is another question."""
    error = await _login_error(world)
    if isinstance(error, Misconfigured):
        return failed(str(error))
    return passed("the login is accepted") if error is None else unknown(str(error))


@check("db.room")
async def db_room(world: World) -> Finding:
    """There is room for another connection."""
    error = await _login_error(world)
    if error is None:
        return passed("a connection was given")
    full = any(word in str(error).lower() for word in FULL)
    return failed(str(error)) if full else unknown(str(error))


async def _login_error(world: World) -> StoreError | None:
    """Why a new connection cannot be made; None when it can. One at a time: a person may have a few only, and a
    server that says so answers. Raises ValueError without a target."""
    if world.target is None:
        raise ValueError("which database is not known")
    async with world.turn:
        try:
            async with connected(world.target, "iot-console check", 1) as db:
                await within(PORT_SECONDS, db.value("select 1"))
        except StoreError as error:
            return None if OWN_LIMIT in str(error) else error
    return None


@check("db.schema")
async def db_schema(world: World) -> Finding:
    """All migrations of this version are applied."""
    missing = [f"{m.number:04} {m.name}" for m in await migrate.pending(database(world), sql.migrations())]
    return judged(not missing, f"missing: {', '.join(missing)}" if missing else "all migrations are applied")


@check("db.locks")
async def db_locks(world: World, *, max_waiting: int = 0) -> Finding:
    """Not more sessions than so many wait for a lock."""
    found = await activity.waiting(database(world))
    evidence = "\n".join(f"session {one.pid} waits for {', '.join(map(str, one.blocked_by))}" for one in found)
    return judged(len(found) <= int(max_waiting), f"{len(found)} sessions wait for a lock", evidence)


@check("db.connections")
async def db_connections(world: World, *, max_percent: float = 85) -> Finding:
    """Connections in use, of those that the server takes."""
    found = await activity.connections(database(world))
    evidence = "\n".join(f"{one.sessions:>4}  {one.login}  {one.application}" for one in found.held)
    share = 100.0 * found.used / found.most
    return judged(share <= float(max_percent), f"{found.used} of {found.most} connections are in use", evidence)


@check("db.size")
async def db_size(world: World, *, max_gb: float) -> Finding:
    """The database is not larger than so many gigabytes."""
    size = await activity.size(database(world)) / 1e9
    return judged(size <= float(max_gb), f"{size:.2f} GB of {float(max_gb):g} GB")


@check("ingest.fresh")
async def ingest_fresh(world: World, *, max_seconds: float, tenant: str = "") -> Finding:
    """The newest row of a tenant, or of all, is not older than so many seconds."""
    age = await activity.newest_age(database(world), tenant or None)
    whose = f" of {tenant}" if tenant else ""
    if age is None:
        return failed(f"there is no row{whose} within a day")
    return judged(age <= float(max_seconds), f"the newest row{whose} is {age:.0f} s old")


@check("agent.heartbeat")
async def agent_heartbeat(world: World, *, max_seconds: float = SILENT_SECONDS) -> Finding:
    """Some agent has reported within so many seconds."""
    found = await agents.all_agents(database(world))
    if not found:
        return failed("no agent has ever reported")
    row = found[0]
    return judged(row.age_seconds <= float(max_seconds), f"{row.agent_id} reported {row.age_seconds:.0f} s ago")


@check("agent.part")
async def agent_part(world: World, *, part: str, at_least: str = "warn") -> Finding:
    """What the agent says of a part of itself: broker, ingest, database, spool, canary, credentials, disk, ...

    at_least: warn, so that only what is critical fails; or ok.
    """
    return await _of_all(world, lambda row: _part(row, part, at_least))


def _part(row: AgentRow, part: str, at_least: str) -> Finding:
    found = next((one for one in row.status.parts if one.name == part), None)
    if found is None or found.state in (PartState.UNKNOWN, PartState.OFF):
        return unknown(f"{part}: {found.detail if found else 'there is no such part'}")
    good = found.state is PartState.OK or (at_least == "warn" and found.state is PartState.WARN)
    return judged(good, f"{part}: {found.state}, {found.detail}")


@check("spool.empty")
async def spool_empty(world: World) -> Finding:
    """Nothing waits on the VM for the database."""
    return await _of_all(world, _spool)


def _spool(row: AgentRow) -> Finding:
    share = 100.0 * row.status.spool_bytes / max(1, row.status.spool_limit)
    return judged(row.status.spool_rows == 0, f"{row.status.spool_rows} messages wait, the spool is {share:.0f} % full")


@check("vm.load")
async def vm_load(
    world: World, *, max_cpu: float = 90, max_memory: float = 88, max_disk: float = 90, max_load: float = 2
) -> Finding:
    """CPU, memory and disk in percent, and the load a core, as the agent measured them last."""
    limits = (float(max_cpu), float(max_memory), float(max_disk), float(max_load))
    return await _of_all(world, lambda row: _load(row, *limits))


def _load(row: AgentRow, max_cpu: float, max_memory: float, max_disk: float, max_load: float) -> Finding:
    status = row.status
    memory = 100.0 * status.memory_used / max(1, status.memory_total)
    load = status.load_1m / max(1, status.cores)
    over = [
        f"{name} {value:.0f} {unit}".strip()
        for name, value, most, unit in (
            ("CPU", status.cpu_percent, max_cpu, "%"), ("memory", memory, max_memory, "%"),
            ("disk", status.disk_percent, max_disk, "%"), ("load a core", load, max_load, ""),
        ) if value > most
    ]  # fmt: skip
    words = f"CPU {status.cpu_percent:.0f} %, memory {memory:.0f} %, disk {status.disk_percent:.0f} %, load {load:.1f}"
    return judged(not over, f"too high: {', '.join(over)}" if over else words)


@check("alert.over")
async def alert_over(world: World, *, alert: str) -> Finding:
    """No alert of this name fires."""
    firing = [row for row in await alert_views.episodes(database(world), timedelta(0)) if row.alert == alert]
    if not firing:
        return passed(f"{alert} does not fire")
    return failed(f"{alert} fires since {firing[0].fired_at:%H:%M:%S}Z")


@check("device.ready")
async def device_ready(world: World, *, tenant: str, device: str) -> Finding:
    """The device exists, is enabled and has a credential."""
    rows = [r for r in await fleet.devices(database(world)) if (r.tenant, r.device) == (tenant, device)]
    if not rows:
        return failed(f"there is no device {tenant}/{device} that you may see")
    if rows[0].disabled:
        return failed(f"{tenant}/{device} is disabled")
    if not rows[0].credentials:
        return failed(f"{tenant}/{device} has no credential: it was revoked, or none was ever made")
    login = rows[0].last_login_at
    seen = "has never logged in" if login is None else f"logged in last at {login:%Y-%m-%d %H:%M:%S}Z"
    return passed(f"{tenant}/{device} is enabled with {rows[0].credentials} credential(s), {seen}")


@check("creds.applied")
async def creds_applied(world: World) -> Finding:
    """Every broker that is alive has the newest credential set."""
    db = database(world)
    head = await brokers.head(db)
    rows = [row for row in await brokers.all_brokers(db) if row.age_seconds < GONE_SECONDS]
    silent = [row.broker.broker_id for row in rows if row.age_seconds > BROKER_SECONDS]
    if silent or not rows:
        return unknown(f"no agent has reported lately of broker {', '.join(silent) or 'any'}")
    behind = [row.broker for row in rows if row.broker.generation < head or row.broker.state != "applied"]
    words = "; ".join(f"{b.broker_id}: set {b.generation} of {head}, {b.state}, {b.detail}" for b in behind)
    return judged(not behind, words or f"set {head} is in force everywhere")


@check("letters.few")
async def letters_few(world: World, *, most: int = 0) -> Finding:
    """Not more open dead letters than so many came within 15 minutes."""
    found = await activity.letters(database(world), timedelta(minutes=15))
    evidence = "\n".join(f"{one.count:>6}  {one.reason}  {one.example}" for one in found)
    total = sum(one.count for one in found)
    return judged(total <= int(most), f"{total} dead letters within 15 minutes", evidence)


@check("cost.steady")
async def cost_steady(world: World, *, factor: float = 1.5) -> Finding:
    """The bill of the last whole day against the median of the fourteen before it."""
    bills = await activity.bills(database(world))
    if len(bills) < 4:
        return unknown("there are bills of fewer than four days: is [cloud] cost_scope set on the agent?")
    (day, last), before = bills[-1], sorted(amount for _, amount in bills[-15:-1])
    usual = before[len(before) // 2]
    return judged(last <= usual * float(factor), f"{day}: {last:.2f}, usually {usual:.2f} a day")


@check("drill.recent")
async def drill_recent(world: World, *, runbook: str, max_days: float = 180) -> Finding:
    """A drill of a runbook was brought to its end within so many days."""
    at = (await runs.drilled(database(world))).get(runbook)
    if at is None:
        return failed(f"{runbook} was never drilled to its end")
    days = (world.now() - at.timestamp()) / 86_400
    return judged(days <= float(max_days), f"{runbook} was drilled {days:.0f} days ago")


async def _of_all(world: World, judge: Callable[[AgentRow], Finding]) -> Finding:
    """The worst of all agents. One that has only just fallen silent tells nothing, and what it would say counts."""
    rows = [row for row in await agents.all_agents(database(world)) if row.age_seconds <= GONE_SECONDS]
    if not rows:
        return unknown("no agent has reported lately")
    found = [(row, judge(row) if row.age_seconds <= SILENT_SECONDS else _silent(row)) for row in rows]
    order = (Outcome.FAIL, Outcome.UNKNOWN, Outcome.PASS)
    row, worst = min(found, key=lambda one: order.index(one[1].outcome))
    return worst if len(rows) == 1 else Finding(worst.outcome, f"{row.agent_id}: {worst.found}", worst.evidence)


def _silent(row: AgentRow) -> Finding:
    return unknown(f"not known since {row.age_seconds:.0f} s: no agent has reported lately")
