"""What only root may see of a machine: kept by `iot-agent doctor --save` for the agent to tell, for a day."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from agent import service
from probes.finding import Finding, Outcome

SAVED = "doctor.json"  # what root has seen, in the state directory
SAVED_HOURS = 26.0
OF_ROOT = {  # what this process may see only a part of; everything else is looked at now, or not known
    "key.private", "secrets.no_argument", "secrets.private", "secrets.unseen", "ssh.hardened", "tls.no_insecure",
}  # fmt: skip


def joined(own: Finding, state_dir: Path, name: str, now: float) -> Finding:
    """What this process found, with what root has found lately of what it may not see whole."""
    return _worse(own, saved(state_dir, name, now)) if name in OF_ROOT else own


def private_paths(state_dir: Path, environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Where the agent's own logins and spool are, what systemd gave it, and where systemd took that from."""
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    found = [state_dir]
    for place in (Path(credentials) if credentials else None, service.SECRETS):
        if place is not None and place.is_dir():
            found.append(place)
            if os.access(place, os.R_OK | os.X_OK):
                found += sorted(path for path in place.iterdir() if path.is_file())
    return found


def own_places(state_dir: Path, environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Where the agent's secrets belong."""
    given = environment.get("CREDENTIALS_DIRECTORY")
    return (state_dir, service.SECRETS, *((Path(given),) if given else ()))


def _worse(own: Finding, of_root: Finding | None) -> Finding:
    """What root has seen counts where this process could not look, and where it found what this one did not."""
    if of_root is None or own.outcome is Outcome.FAIL:
        return own
    return of_root if own.outcome is Outcome.UNKNOWN or of_root.outcome is Outcome.FAIL else own


def saved(state_dir: Path, name: str, now: float) -> Finding | None:
    """What was kept of a check, when it is of today."""
    try:
        one = _kept(state_dir / SAVED)[name]
        hours = (now - float(str(one["at"]))) / 3600
        if not 0 <= hours <= SAVED_HOURS:
            return None
        return Finding(
            Outcome(str(one["outcome"])), f"{one['found']} (as root, {hours:.0f} h ago)", str(one["evidence"])
        )
    except (ValueError, KeyError, TypeError):
        return None


def save(state_dir: Path, found: Mapping[str, Finding], now: float) -> None:
    """Beside what was kept before. Atomic, for the agent may be reading. The directory is the agent's, so that no
    name in it is trusted. Raises OSError."""
    path = state_dir / SAVED
    kept = _kept(path) | {name: {"at": now, **asdict(one)} for name, one in found.items() if name in OF_ROOT}
    temporary = path.with_name(f".{SAVED}.{secrets.token_hex(8)}")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(file, "w") as stream:
        os.fchmod(file, 0o644)
        stream.write(json.dumps(kept))
    temporary.rename(path)


def _kept(path: Path) -> dict[str, dict[str, object]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
