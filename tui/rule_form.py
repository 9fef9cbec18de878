"""A rule as fields of a form and back, and two people's changes of one rule put together. Pure."""

from collections.abc import Mapping
from typing import Any

from alerting import document, explain, rules
from alerting.document import DocumentError
from alerting.model import Defaults
from tui.effects import Field, Values

SEVERITIES = ("critical", "warning", "info")
NO_DATA = ("", "ok", "keep", "alerting")
EXAMPLE = "max(telemetry.temperature[5m]) by (device) > 40"
PLAIN = ("id", "alert", "expr", "for", "keep_firing_for", "recover", "no_data", "runbook")
LABELS = {
    "id": ("Id", "its name for ever"),
    "alert": ("Alert", "what people read, as in TooHot"),
    "expr": ("Condition", f"as in {EXAMPLE}"),
    "for": ("For", "must hold so long, as in 2m"),
    "keep_firing_for": ("Keep firing", "after it was last true, as in 1m"),
    "recover": ("Ends at", "a second limit, as in < 35"),
    "no_data": ("No data is", "empty: as the file's defaults say"),
    "runbook": ("Runbook", "what on-call is led through"),
}


def fields(body: Mapping[str, Any], runbooks: tuple[str, ...], locked_id: bool) -> tuple[Field, ...]:
    """What people change most; the rest of the body stays as it is."""
    choices = {"no_data": NO_DATA, "runbook": runbooks}
    plain = tuple(
        Field(
            name, *_labelled(name, body.get(name, "")), choices=choices.get(name, ()), locked=locked_id and name == "id"
        )
        for name in PLAIN
    )
    severity = str((body.get("labels") or {}).get("severity", "warning"))
    summary = str((body.get("annotations") or {}).get("summary", ""))
    return (
        *plain[:3],
        Field("severity", "Severity", severity, choices=SEVERITIES),
        *plain[3:],
        Field("summary", "Message", summary, "may name {{ labels.device }} and {{ value }}"),
    )


def _labelled(name: str, value: object) -> tuple[str, str, str]:
    label, hint = LABELS[name]
    return label, str(value), hint


def body_of(values: Values, before: Mapping[str, Any]) -> dict[str, Any]:
    """The body with the form's values in it; an empty field takes its key away."""
    body = dict(before)
    for name in PLAIN:
        value = values[name].strip()
        if value:
            body[name] = value
        else:
            body.pop(name, None)
    body["labels"] = dict(before.get("labels") or {}) | {"severity": values["severity"]}
    annotations = {k: v for k, v in (before.get("annotations") or {}).items() if k != "summary"}
    if values["summary"].strip():
        annotations["summary"] = values["summary"].strip()
    if annotations:
        body["annotations"] = annotations
    else:
        body.pop("annotations", None)
    return body


def checked(tenant: str, body: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    """Problems by field, and the rule in words when there is none."""
    try:
        rule = rules.tenant_rule(tenant, body, Defaults(), {})
    except ValueError as error:
        problems: dict[str, str] = {}
        for line in str(error).splitlines():
            name, colon, text = line.partition(": ")
            known = name.split(".")[-1] if name.startswith("labels") else name.split(".")[0]
            problems[known if colon else ""] = text if colon else line
        return problems, ""
    return {}, explain.words(rule)


def ordered(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with its keys as people write them; the database keeps no order."""
    first = {name: body[name] for name in PLAIN if name in body}
    return first | {name: value for name, value in body.items() if name not in first}


def parsed(text: str) -> dict[str, Any]:
    """The body of a rule that was written as text. Raises ValueError."""
    try:
        data = document.load(text).data
    except DocumentError as error:
        raise ValueError(str(error)) from None
    if not isinstance(data, dict):
        raise ValueError("this is not one rule: begin with id, alert and expr")
    return data


def merged(
    base: Mapping[str, Any], mine: Mapping[str, Any], theirs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """Both changes of base, key by key; and where both changed the same key, (mine, theirs): mine is kept there."""
    result = dict(mine)
    clashes: dict[str, tuple[Any, Any]] = {}
    for key in {*base, *mine, *theirs}:
        was, ours, other = base.get(key), mine.get(key), theirs.get(key)
        if other in (was, ours):
            continue
        if ours != was:
            clashes[key] = (ours, other)
        elif key in theirs:
            result[key] = other
        else:
            result.pop(key, None)
    return result, clashes
