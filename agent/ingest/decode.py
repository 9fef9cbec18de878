"""Delivery -> Reading or Refusal. Pure: the only clock is the delivery's own arrival time.

Everything that PostgreSQL would refuse is refused here first, so that one bad message cannot hold up a batch.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache

import orjson

from agent.ingest.delivery import Delivery
from agent.ingest.topics import Route
from store.directory import Place
from store.message import message_hash
from store.telemetry import Reading

DAY = 86_400
LONGEST_NUMBER = 16_000  # digits
# An escaped NUL: an odd number of backslashes, then u0000. jsonb has no way to store it.
ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
# What numeric cannot hold and a double reads as 0: PostgreSQL has at most 16 383 digits behind the point.
TINY_NUMBER = re.compile(r"[0-9.][eE]-0*[1-9][0-9]{3}")
# From a run's first digit only: tried from each, runs that are just short enough would cost seconds a message.
LONG_NUMBER = re.compile(r"(?<![0-9])[0-9]{16000}")
# Seconds, milli-, micro- and nanoseconds since 1970 differ by a factor of 1000: each fits one range only.
EPOCH_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))


class Reason(StrEnum):
    """Why a message became a dead letter."""

    TOPIC = "topic"
    UNKNOWN_TENANT = "unknown-tenant"
    UNKNOWN_DEVICE = "unknown-device"
    DISABLED = "disabled"
    TOO_LARGE = "too-large"
    NOT_JSON = "not-json"
    NUL = "nul"
    NUMBER = "number"
    TOO_DEEP = "too-deep"
    DATABASE = "refused-by-database"


@dataclass(frozen=True, slots=True)
class Refusal:
    """detail is one line for a person and never repeats the payload."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken from a device. Times are seconds, sizes bytes."""

    max_payload: int = 262_144
    max_depth: int = 32
    bucket_seconds: int = 10
    max_past: float = 7 * DAY
    max_future: float = 3600.0
    timestamp_keys: tuple[str, ...] = ("ts", "timestamp", "time", "Time")
    sequence_keys: tuple[str, ...] = ("seq",)


def decode(delivery: Delivery, route: Route, place: Place, limits: Limits) -> Reading | Refusal:
    """Validate one message and give it its identity (tenant, bucket, hash).

    The bucket follows the device's own timestamp when there is a sane one, so that a resend hours later is the
    same row; else the arrival day for messages with a sequence number; else the arrival time.
    """
    if place.device_id is None:
        return Refusal(Reason.UNKNOWN_DEVICE, f"tenant {route.tenant} has no device {route.device}")
    if place.disabled:
        return Refusal(Reason.DISABLED, f"tenant {route.tenant} or its device {route.device} is disabled")
    topic, payload, qos, _, _, received_at, _ = delivery
    if len(payload) > limits.max_payload:
        return Refusal(Reason.TOO_LARGE, f"{len(payload)} bytes; ingest.max_payload_bytes is {limits.max_payload}")
    text: str | None = None
    raw: bytes | None = payload
    when, sequenced = received_at, False
    if not route.raw:
        try:
            content = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            return Refusal(Reason.NOT_JSON, str(error))
        text, raw = payload.decode(), None
        refusal = _unfit(text, content, limits)
        if refusal is not None:
            return refusal
        if type(content) is dict:
            when, sequenced = _own_identity(content, received_at, limits)
    bucket = _bucket(int(when), DAY if sequenced else limits.bucket_seconds)
    msg_hash = message_hash(topic, payload)
    # tuple.__new__ is a third of what calling the NamedTuple costs
    values = (place.tenant_id, bucket, msg_hash, when, place.device_id, topic, qos, text, raw, sequenced)
    return tuple.__new__(Reading, values)


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as an aware time."""
    return datetime.fromtimestamp(seconds, UTC)


@lru_cache(maxsize=4096)
def _start(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _bucket(seconds: int, width: int) -> datetime:
    """The start of the bucket that holds a time. Most messages of a batch share one, so they are remembered."""
    return _start(seconds - seconds % width)


def _unfit(text: str, content: object, limits: Limits) -> Refusal | None:
    """What is valid JSON and still no valid jsonb. Cheap searches come first and nearly always settle it; in text they
    take half of what they take in bytes."""
    if "\\u0000" in text and ESCAPED_NUL.search(text):
        return Refusal(Reason.NUL, "holds the character U+0000, which PostgreSQL cannot store in JSON")
    if ("e-" in text or "E-" in text) and TINY_NUMBER.search(text):
        return Refusal(Reason.NUMBER, "holds a number closer to zero than PostgreSQL can store")
    if len(text) > LONGEST_NUMBER and LONG_NUMBER.search(text):
        return Refusal(Reason.NUMBER, f"holds a number of more than {LONGEST_NUMBER} digits")
    if text.count("[") + text.count("{") > limits.max_depth and depth(content) > limits.max_depth:
        return Refusal(Reason.TOO_DEEP, f"nested more than {limits.max_depth} levels; see ingest.max_depth")
    return None


def depth(content: object) -> int:
    """How deeply lists and objects nest; 0 for a plain value. Iterative: the input may be hostile."""
    deepest, todo = 0, [(content, 0)]
    while todo:
        value, level = todo.pop()
        if isinstance(value, dict | list):
            deepest = max(deepest, level + 1)
            todo.extend((inner, level + 1) for inner in (value.values() if isinstance(value, dict) else value))
    return deepest


def _own_identity(content: dict[str, object], received_at: float, limits: Limits) -> tuple[float, bool]:
    """(time the bucket follows, whether a sequence number makes it a whole day)."""
    device_time = _sane_time(content, received_at, limits)
    if device_time is not None:
        return device_time, False
    return received_at, any(key in content for key in limits.sequence_keys)


def _sane_time(content: dict[str, object], received_at: float, limits: Limits) -> float | None:
    """The device's own time if it lies in the agent's window: a wrong clock must not steer partitions."""
    for key in limits.timestamp_keys:
        if key in content:
            seconds = device_seconds(content[key])
            if seconds is not None and received_at - limits.max_past <= seconds <= received_at + limits.max_future:
                return seconds
    return None


def claimed_bucket(payload: bytes, limits: Limits) -> datetime | None:
    """The bucket of a message's own time, believed or not: where an earlier copy is, if its time was believed then."""
    try:
        content = orjson.loads(payload)
        times = [device_seconds(content.get(key)) for key in limits.timestamp_keys] if type(content) is dict else []
        return next((_bucket(int(t), limits.bucket_seconds) for t in times if t is not None), None)
    except (orjson.JSONDecodeError, ValueError, OverflowError, OSError):
        return None


def device_seconds(value: object) -> float | None:
    """Seconds since 1970 of a number (s, ms, us or ns) or an ISO 8601 text (UTC when it names no zone)."""
    if type(value) is int or type(value) is float:  # and not bool, which isinstance would take
        for bound, unit in EPOCH_UNITS:
            if 0 < value < bound:
                return value / unit
    elif type(value) is str:
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            return None
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    return None
