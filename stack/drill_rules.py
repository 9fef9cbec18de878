"""The rules that come with the program, made quick: the same conditions, with seconds instead of minutes."""

import json
import re
from pathlib import Path
from typing import Any

from alerting import document

WINDOW = re.compile(r"\[(\d+)([mhd])\]")
MINUTES = re.compile(r"> (\d+)m$")
INTERVAL, HOLD, KEEP, WINDOW_SECONDS, AGE = "1s", "3s", "2s", "10s", "5s"
CHANNEL = "drill"


def quick(path: Path, limits: dict[str, str]) -> str:
    """The text of a rules file. limits: rule id to another limit, such as "> 43.5", for faults that must stay small."""
    data: dict[str, Any] = document.load(path.read_text()).data
    data["defaults"]["interval"] = INTERVAL
    for group in data["groups"]:
        group.pop("interval", None)
        group["rules"] = [_quick(rule, limits.get(rule["id"])) for rule in group["rules"]]
    for route in data["routes"]:
        route |= {"channels": [CHANNEL], "group_wait": "0s", "repeat": "30s", "group_by": ["alertname"]}
    data.pop("templates", None)
    return json.dumps(data, indent=1)  # JSON is YAML


def _quick(rule: dict[str, Any], limit: str | None) -> dict[str, Any]:
    expr = rule["expr"]
    if not expr.startswith(("last(azure", "age(")):  # days of a bill stay days
        expr = WINDOW.sub(f"[{WINDOW_SECONDS}]", expr)
    expr = MINUTES.sub(f"> {AGE}", expr)
    if limit is not None:
        expr = re.sub(r"[<>=]=? [\d.]+s?$", limit, expr)
        rule.pop("recover", None)
    quicker = rule | {"expr": expr}
    if "for" in rule:
        quicker["for"] = HOLD
    if "keep_firing_for" in rule:
        quicker["keep_firing_for"] = KEEP
    quicker.pop("repeat", None)
    return quicker
