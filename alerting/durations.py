"""Durations as Prometheus writes them: 90s, 5m, 1h30m. Values are seconds."""

import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0, "y": 365 * 86_400.0}
PART = re.compile(r"(\d+)(ms|[smhdwy])")
WHOLE = re.compile(r"(?:\d+(?:ms|[smhdwy]))+")


def seconds(text: str) -> float:
    """Seconds of a duration; "0" is allowed. Raises ValueError."""
    if text == "0":
        return 0.0
    if not WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is no duration: write 90s, 5m, 1h30m")
    return sum(int(number) * UNITS[unit] for number, unit in PART.findall(text))


def words(duration: float) -> str:
    """A duration for people, at most two units: 45s, 5m, 1h 30m, 3d 4h."""
    rest = abs(round(duration))
    parts = []
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(UNITS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    text = " ".join(parts[:2]) or "0s"
    return f"-{text}" if duration < -0.5 else text
