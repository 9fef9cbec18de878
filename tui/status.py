"""`iot-console status`: the Overview for scripts and screen readers."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from store.agents import PartState
from tui.render import age, number
from tui.view import AGENT_SILENT_SECONDS, Snapshot

SCHEMA = "iot-console-status/1"


def healthy(snapshot: Snapshot) -> bool:
    """An agent beats, and none of its parts is critical."""
    agent = snapshot.agent
    if agent is None or agent.age_seconds > AGENT_SILENT_SECONDS:
        return False
    return all(part.state is not PartState.CRIT for part in agent.status.parts)


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """Times are ISO 8601 in UTC, sizes bytes, rates rows a second; agents are sorted by their last heartbeat."""
    return {
        "schema": SCHEMA,
        "ok": healthy(snapshot),
        "login": snapshot.me.login,
        "database": {"now": snapshot.server_now, "round_trip_ms": round(snapshot.round_trip_ms, 1)},
        "rate": snapshot.rate,
        "today": asdict(snapshot.today),
        "minutes": [asdict(minute) for minute in snapshot.minutes],
        "agents": [
            {
                "agent_id": row.agent_id,
                "version": row.version,
                "silent": row.age_seconds > AGENT_SILENT_SECONDS,
                "age_seconds": round(row.age_seconds, 1),
                "status": asdict(row.status),
            }
            for row in snapshot.agents
        ],
        "newest": [asdict(row) for row in snapshot.newest],
        "dead_letters": [asdict(letter) for letter in snapshot.dead_letters],
    }


def encode(value: object) -> str:
    """For json.dumps(default=...): times only."""
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def as_text(snapshot: Snapshot) -> str:
    """One fact a line, no box, no colour."""
    today = snapshot.today
    rate = "" if snapshot.rate is None else f"{number(snapshot.rate)} rows/s, "
    counts = f"today {today.inserted} rows, {today.duplicates} duplicates, {today.dead_letters} dead letters"
    lines = [
        f"ingest     {rate}{counts}",
        f"database   answers in {snapshot.round_trip_ms:.0f} ms, logged in as {snapshot.me.login}",
    ]
    if not snapshot.agents:
        lines.append("agent      none has ever reported")
    for row in snapshot.agents:
        silent = row.age_seconds > AGENT_SILENT_SECONDS
        beat = f"SILENT for {age(row.age_seconds)}" if silent else f"beat {age(row.age_seconds)} ago"
        lines.append(f"agent      {row.agent_id} {row.version}, {beat}")
        lines += [f"  {p.name:<12}{'unknown' if silent else p.state:<8} {p.detail}" for p in row.status.parts]
    return "\n".join(lines)
