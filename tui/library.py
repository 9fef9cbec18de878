"""Runbooks as files: what their front matter says, and their text."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alerting import document
from alerting.document import DocumentError

FENCE = "---\n"
BESIDE = Path(__file__).parent.parent / "runbooks"
INSTALLED = Path(sys.prefix) / "share" / "iot-console" / "runbooks"


@dataclass(frozen=True, slots=True)
class Runbook:
    """error: why its file cannot be used; then only id is known."""

    id: str
    title: str = ""
    severity: str = ""
    summary: str = ""
    alerts: tuple[str, ...] = ()
    reviewed: str = ""
    text: str = ""
    error: str = ""


def directory() -> Path:
    """Where the runbooks are that come with the program."""
    return BESIDE if BESIDE.is_dir() else INSTALLED


def runbooks(folder: Path) -> list[Runbook]:
    """All of a directory, by id. A file that cannot be read is among them, with the reason."""
    try:
        paths = sorted(folder.glob("*.md"))
    except OSError:
        paths = []
    return [_read(path) for path in paths]


def _read(path: Path) -> Runbook:
    try:
        text = path.read_text()
        _, head, body = text.split(FENCE, 2)
        front = document.load(head).data
        return _runbook(path.stem, front, body.strip())
    except (OSError, ValueError, DocumentError) as error:
        return Runbook(path.stem, error=f"{path}: {error}")


def _runbook(name: str, front: dict[str, Any], body: str) -> Runbook:
    return Runbook(
        id=name,
        title=str(front.get("title", name)),
        severity=str(front.get("severity", "")),
        summary=str(front.get("summary", "")),
        alerts=tuple(str(alert) for alert in front.get("alerts", [])),
        reviewed=str(front.get("last_reviewed", "")),
        text=body,
    )
