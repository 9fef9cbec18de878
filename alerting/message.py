"""What a message says: JSON for machines, text for people. Pure."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alerting import durations
from alerting.grouping import Alert, Mention, Message, Reason

MESSAGES = uuid.UUID("0f6f8c9a-54c5-5d0c-8a6f-2b1f0f4c7d11")  # name space of message ids
LISTED = 20  # alerts that the text names; the JSON has them all
WORDS = {Reason.NEW: "FIRING", Reason.REPEAT: "STILL FIRING", Reason.RESOLVED: "RESOLVED", Reason.BRIEF: "WAS FIRING"}


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of an episode beyond what routing needs. value: now or at its end."""

    alert: str
    severity: str
    summary: str
    runbook: str
    value: float | None
    rule: str


def message_id(message: Message) -> str:
    """Follows from what is said to whom, so that a copy of a message can be told by it."""
    said = "\n".join(sorted(f"{m.alert.event_id} {m.reason} {m.seq}" for m in message.mentions))
    return str(uuid.uuid5(MESSAGES, f"{message.channel}\n{said}"))


def body(message: Message, stories: Mapping[str, Story], agent: str, now: float) -> dict[str, Any]:
    """The message as JSON. "text" and "title" are what people read."""
    firing = [m for m in message.mentions if m.reason in (Reason.NEW, Reason.REPEAT)]
    return {
        "version": 1,
        "id": message_id(message),
        "status": "firing" if firing else "resolved",
        "group": message.group,
        "agent": agent,
        "sent_at": now,
        "title": _title(message.mentions, stories),
        "text": _text(message.mentions, stories, now),
        "alerts": [_alert(mention, stories[mention.alert.event_id]) for mention in message.mentions],
    }


def _alert(mention: Mention, story: Story) -> dict[str, Any]:
    alert = mention.alert
    return {
        "event_id": alert.event_id,
        "reason": str(mention.reason),
        "alert": story.alert,
        "rule": story.rule,
        "severity": story.severity,
        "labels": dict(alert.labels),
        "summary": story.summary,
        "runbook": story.runbook,
        "value": story.value if story.value is None or abs(story.value) < float("inf") else str(story.value),
        "fired_at": alert.fired_at,
        "ended_at": alert.ended_at,
    }


def _title(mentions: Sequence[Mention], stories: Mapping[str, Story]) -> str:
    first = mentions[0]
    story = stories[first.alert.event_id]
    more = f" (+{len(mentions) - 1})" if len(mentions) > 1 else ""
    return f"[{WORDS[first.reason]}] {story.severity}: {story.alert}{more}"


def _text(mentions: Sequence[Mention], stories: Mapping[str, Story], now: float) -> str:
    lines = [_line(mention, stories[mention.alert.event_id], now) for mention in mentions[:LISTED]]
    if len(mentions) > LISTED:
        lines.append(f"... and {len(mentions) - LISTED} more")
    return "\n".join(lines)


def _line(mention: Mention, story: Story, now: float) -> str:
    alert = mention.alert
    where = ", ".join(f"{k}={v}" for k, v in sorted(alert.labels.items()) if k not in ("alertname", "severity"))
    lasted = _lasted(alert, now)
    runbook = f" | runbook {story.runbook}" if story.runbook and mention.reason is not Reason.RESOLVED else ""
    summary = story.summary  # of an end, what it said at the beginning would mislead
    if mention.reason is Reason.RESOLVED:
        summary = "no data now" if story.value is None else f"now {story.value:g}"
    return f"{WORDS[mention.reason]} {story.alert} ({where}): {summary}{lasted}{runbook}"


def _lasted(alert: Alert, now: float) -> str:
    if alert.ended_at is not None:
        return f" | lasted {durations.words(alert.ended_at - alert.fired_at)}"
    since = now - alert.fired_at
    return f" | since {durations.words(since)}" if since >= 60 else ""
