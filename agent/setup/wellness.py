"""Whether an agent that was restarted is as well as before: by what it says on /healthz."""

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from agent.setup.perform import StepFailed
from store.agents import PartState

IN_A_ROW = 3
AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Wellness:
    """port 0: nobody tells. critical: parts that are; canary: a message came through lately, None when none is sent."""

    port: int
    version: str = ""
    critical: frozenset[str] = frozenset()
    canary: bool | None = None


def look(port: int) -> Wellness:
    """As it is now. What does not answer has nothing to say."""
    found = _asked(port) if port else None
    if found is None:
        return Wellness(port)
    parts: dict[str, dict[str, str]] = found["parts"]
    canary = parts.get("canary", {}).get("state")
    critical = frozenset(name for name, part in parts.items() if part["state"] == PartState.CRIT)
    through = None if canary in (None, PartState.OFF) else canary == PartState.OK
    return Wellness(port, str(found.get("version", "")), critical, through)


def wait(before: Wellness, version: str, within: float) -> None:
    """Until it says several times that nothing is critical that was not before, and that a message came through.

    version: that has to answer, "" for any. Raises StepFailed when the time is over.
    """
    if not before.port:
        return
    ends_at, well = time.monotonic() + within, 0
    while well < IN_A_ROW:
        found = look(before.port)
        worse = sorted(found.critical - before.critical)
        lost = found.canary is False and "canary" not in before.critical
        good = bool(found.version) and version in ("", found.version) and not worse and not lost
        well = well + 1 if good else 0
        if time.monotonic() > ends_at:
            raise StepFailed(f"after {within:.0f} s {_words(found, version, worse)}")
        time.sleep(AGAIN_SECONDS)


def _words(found: Wellness, version: str, worse: list[str]) -> str:
    if not found.version:
        return "it does not answer"
    if version not in ("", found.version):
        return f"version {found.version} answers"
    return f"these are critical: {', '.join(worse)}" if worse else "no message has come through yet"


def _asked(port: int) -> dict[str, Any] | None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            said = answer.read()
    except urllib.error.HTTPError as error:  # 503, with the same words
        said = error.read()
    except OSError:
        return None
    try:
        found = json.loads(said)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "parts" in found else None
