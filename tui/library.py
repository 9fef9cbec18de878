"""Runbooks as files: those that come with the program, read and linted against the rules beside them."""

from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

from probes.shipped import shipped
from tui.runbook.parse import Runbook as Parsed
from tui.runbook.parse import RunbookError, parse


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
    return shipped("runbooks")


def runbooks(folder: Path) -> list[Runbook]:
    """All of a directory, by id; only what changed is read. A file that cannot be used has an error."""
    return [_shown(path, _changed(path)) for path in sorted(folder.glob("*.md"))]


def _changed(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:  # reading it says why
        return (0, 0, 0)
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size


@lru_cache(maxsize=256)
def _shown(path: Path, _: tuple[int, int, int]) -> Runbook:
    """As it was when it changed last."""
    try:
        found = read(path)
    except RunbookError as error:
        return Runbook(path.stem, error=f"{path.name}: {error.mistakes[0]}")
    front, body = found.front, found.text.split("\n---\n", 1)[1].strip()
    return Runbook(
        front.id, front.title, front.severity, front.summary, front.alerts, front.last_reviewed.isoformat(), body
    )


def read(path: Path) -> Parsed:
    """Raises RunbookError."""
    try:
        found = parse(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise RunbookError([getattr(error, "strerror", None) or str(error)]) from None
    if found.front.id != path.stem:
        raise RunbookError([f"id: {found.front.id} is in a file named {path.name}"])
    return found


def mistakes(folder: Path, rules_file: Path | None, today: date) -> list[str]:
    """Every mistake of every runbook of a directory. rules_file: alerts.yaml, to hold it against.

    Raises OSError, DocumentError when that file cannot be read.
    """
    from alerting import rules  # slow to import, and only needed here
    from probes.actions import ACTIONS
    from probes.catalogue import CHECKS
    from tui.runbook.lint import Known, lint, unanswered

    alerts = {}
    if rules_file is not None:
        found = rules.load(rules_file.read_text())
        alerts = {rule.alert: rule.runbook for rule in found.rules}
        alerts |= {template.alert: template.runbook for template in found.templates}
    paths = sorted(folder.glob("*.md"))
    checks = {name: check.signature for name, check in CHECKS.items()}
    known = Known(checks, ACTIONS, alerts, {path.stem for path in paths})
    said, read_well = [], []
    for path in paths:
        try:
            runbook = read(path)
        except RunbookError as error:
            said += [f"{path.name}: {mistake}" for mistake in error.mistakes]
            continue
        read_well.append(runbook)
        said += [f"{path.name}: {mistake}" for mistake in lint(runbook, known, today)]
    return said + unanswered(known, read_well) if rules_file is not None else said
