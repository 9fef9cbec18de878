"""Annotations: `{{ value | percent }}`, `{{ labels.device }}`, `{{ active_for }}`. Checked when rules are loaded."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from alerting import durations

FIELD = re.compile(r"\{\{(.*?)\}\}")
FILTER = re.compile(r"\s*([a-z_]+)(?:\((\d+)\))?\s*")
FILTERS = ("percent", "round", "duration", "bytes")
VARIABLES = ("value", "active_for", "labels.NAME")


@dataclass(frozen=True, slots=True)
class Facts:
    """What an annotation can speak of. value None: there was no row; active_for is seconds."""

    labels: Mapping[str, str]
    value: float | None
    active_for: float = 0.0


def mistakes(text: str) -> list[str]:
    """What is wrong with a template; empty when nothing is."""
    found = []
    for inner in FIELD.findall(text):
        name, *filters = (part.strip() for part in inner.split("|"))
        if name not in VARIABLES[:2] and not re.fullmatch(r"labels\.[A-Za-z_]\w*", name):
            found.append(f"{{{{ {name} }}}} is unknown: there is {', '.join(VARIABLES)}")
        for text_of_filter in filters:
            match = FILTER.fullmatch(text_of_filter)
            if match is None or match[1] not in FILTERS:
                found.append(f"{text_of_filter} is no filter: there is {', '.join(FILTERS)}")
    if "{{" in FIELD.sub("", text):
        found.append("{{ is not closed")
    return found


def render(text: str, facts: Facts) -> str:
    """The text with its fields filled in; a label that is missing stays empty."""
    return FIELD.sub(lambda match: _field(match[1], facts), text)


def _field(inner: str, facts: Facts) -> str:
    name, *filters = (part.strip() for part in inner.split("|"))
    if name.startswith("labels."):
        return facts.labels.get(name.removeprefix("labels."), "")
    if name == "active_for":
        return durations.words(facts.active_for)
    if facts.value is None:
        return "no data"
    match = FILTER.fullmatch(filters[0]) if filters else None
    return _filtered(facts.value, match[1] if match else "", int(match[2] or 0) if match else 0)


def _filtered(value: float, name: str, digits: int) -> str:
    if not math.isfinite(value):
        return str(value)
    match name:
        case "percent":
            return f"{value * 100:.{digits or 1}f} %"
        case "round":
            return f"{value:.{digits}f}"
        case "duration":
            return durations.words(value)
        case "bytes":
            return _bytes(value)
    return f"{value:g}"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.1f} {unit}" if unit != "B" else f"{value:.0f} B"
        value /= 1024
    return f"{value:.1f} TiB"
