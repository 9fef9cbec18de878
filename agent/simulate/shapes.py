"""What devices send, good and bad. Pure: a shape is a function of the device's count and the time.

Every message of a device is distinct, so that rows can be counted against what was sent.
"""

import json
import math
import random
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple


class Message(NamedTuple):
    """channel is the end of the topic; good messages become rows, the others dead letters.

    dated: carries a time or a sequence number, so that sending it again, whenever, is the same row.
    """

    channel: str
    payload: bytes
    good: bool
    dated: bool


Shape = Callable[[int, float], Message]


def _json(channel: str, content: Mapping[str, object], dated: bool) -> Message:
    return Message(channel, json.dumps(content, separators=(",", ":")).encode(), True, dated)


def _wave(count: int, middle: float, swing: float) -> float:
    return round(middle + swing * math.sin(count / 30), 2)


def flat(count: int, now: float) -> Message:
    """Time in milliseconds and a sequence number."""
    return _json(
        "telemetry",
        {
            "ts": round(now * 1000),
            "seq": count,
            "temperature": _wave(count, 21.5, 4),
            "humidity": _wave(count, 48, 9),
            "battery": round(4.1 - count % 9000 / 10_000, 3),
            "rssi": -60 - count % 17,
        },
        dated=True,
    )


def nested(count: int, now: float) -> Message:
    """A sequence number and no time."""
    position = {"lat": _wave(count, -6.2, 0.01), "lon": _wave(count, 106.8, 0.01)}
    device = {"fw": "1.3.2", "uptime": count}
    return _json("state", {"seq": count, "device": device, "position": position, "ok": True}, True)


def tasmota(count: int, now: float) -> Message:
    """Local time without a zone, as Tasmota's tele/SENSOR."""
    time = datetime.fromtimestamp(now, UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    energy = {"Total": round(count / 1000, 3), "Power": round(_wave(count, 60, 20)), "Voltage": 230}
    return _json("tele/SENSOR", {"Time": time, "ENERGY": energy, "TempUnit": "C"}, True)


def zigbee2mqtt(count: int, now: float) -> Message:
    """No time that we would read; distinct by its counter."""
    return _json(
        "zigbee2mqtt/0x00158d0001a2b3c4",
        {"battery": 97, "linkquality": 90 + count % 60, "temperature": _wave(count, 22, 3), "counter": count},
        dated=False,
    )


def shelly(count: int, now: float) -> Message:
    """A status object as Shelly Gen2 sends it."""
    energy = {"total": round(count * 0.013, 3), "by_minute": [12.1, 11.9, 12.4]}
    return _json(
        "status/switch:0", {"id": 0, "output": count % 2 == 0, "apower": _wave(count, 75, 25), "aenergy": energy}, False
    )


def bare_number(count: int, now: float) -> Message:
    """Just a value, which is valid JSON."""
    return Message("sensor/temperature", f"{20 + count / 1000:.3f}".encode(), True, False)


def skewed(count: int, now: float) -> Message:
    """A clock that was never set, or set wrong; only the sequence number can be believed."""
    wrong = (0, 12, 946_684_800, round(now) - 90 * 86_400, round(now) + 86_400, 4_102_444_800)
    return _json("telemetry", {"ts": wrong[count % len(wrong)], "seq": count, "temperature": _wave(count, 20, 2)}, True)


def binary(count: int, now: float) -> Message:
    """A packed frame, for a channel that is stored as bytes."""
    return Message("raw/frame", struct.pack(">BIdh", 1, count, now, -60), True, False)


GOOD: Mapping[str, Shape] = {
    shape.__name__: shape for shape in (flat, nested, tasmota, zigbee2mqtt, shelly, bare_number, skewed, binary)
}

BAD: Mapping[str, Callable[[int], bytes]] = {
    "truncated": lambda n: b'{"seq":%d,"temperature":' % n,
    "nan": lambda n: b'{"seq":%d,"temperature":NaN}' % n,
    "nul": lambda n: b'{"seq":%d,"name":"a\\u0000b"}' % n,
    "surrogate": lambda n: b'{"seq":%d,"name":"\\ud800"}' % n,
    "deep": lambda n: b"[" * 60 + b"%d" % n + b"]" * 60,
    "latin1": lambda n: b'{"seq":%d,"place":"M\xfcnchen"}' % n,
    "huge-number": lambda n: b'{"seq":%d,"value":1e999999}' % n,
    "not-json": lambda n: b"hello %d" % n,
}


class Mix:
    """Chooses the next message of one device, the same for the same seed.

    bad is the share 0..1 of messages that cannot be stored.
    """

    def __init__(self, seed: str, shapes: tuple[str, ...], bad: float) -> None:
        self._random = random.Random(seed)
        self._shapes = [GOOD[name] for name in shapes]
        self._bad = bad
        self._count = 0

    def next(self, now: float) -> Message:
        self._count += 1
        if self._random.random() < self._bad:
            return Message("telemetry", self._random.choice(list(BAD.values()))(self._count), False, False)
        return self._random.choice(self._shapes)(self._count, now)
