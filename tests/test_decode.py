import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agent.ingest.decode import DAY, Limits, Reason, Refusal, decode, depth, device_seconds
from agent.ingest.delivery import Delivery
from agent.ingest.topics import Route
from store.directory import Place
from store.message import message_hash
from store.telemetry import Reading

NOW = datetime(2026, 11, 23, 14, 0, 3, tzinfo=UTC).timestamp()
ROUTE = Route("acme", "d1", "t", raw=False)
PLACE = Place(1, 11, disabled=False)
LIMITS = Limits()


def take(
    payload: bytes, at: float = NOW, route: Route = ROUTE, place: Place = PLACE, limits: Limits = LIMITS
) -> Reading | Refusal:
    return decode(Delivery("tenants/acme/devices/d1/t", payload, 1, 5, 1, at, None), route, place, limits)


def row(payload: object, at: float = NOW, limits: Limits = LIMITS) -> Reading:
    result = take(json.dumps(payload).encode(), at, limits=limits)
    assert isinstance(result, Reading), result
    return result


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b"", Reason.NOT_JSON, id="empty"),
        pytest.param(b"hello", Reason.NOT_JSON, id="text"),
        pytest.param(b'{"a":', Reason.NOT_JSON, id="cut off"),
        pytest.param(b'{"a":NaN}', Reason.NOT_JSON, id="NaN"),
        pytest.param(b"-Infinity", Reason.NOT_JSON, id="infinity"),
        pytest.param(b'{"a":1e999}', Reason.NOT_JSON, id="number out of range"),
        pytest.param(b'{"a":"\xfc"}', Reason.NOT_JSON, id="not UTF-8"),
        pytest.param(b'{"a":"\\ud800"}', Reason.NOT_JSON, id="lone surrogate"),
        pytest.param(b"\xef\xbb\xbf{}", Reason.NOT_JSON, id="byte order mark"),
        pytest.param(b'{"a":"\x00"}', Reason.NOT_JSON, id="raw NUL"),
        pytest.param(b'{"a":"x\\u0000"}', Reason.NUL, id="escaped NUL"),
        pytest.param(b'{"a\\\\\\u0000":1}', Reason.NUL, id="escaped backslash, escaped NUL"),
        pytest.param(b'{"a":1e-17000}', Reason.NUMBER, id="number too close to zero"),
        pytest.param(b"0." + b"0" * 17_000 + b"1", Reason.NUMBER, id="number with too many digits"),
        pytest.param(b"[" * 33 + b"]" * 33, Reason.TOO_DEEP, id="one level too deep"),
        pytest.param(b'"' + b"x" * 262_143 + b'"', Reason.TOO_LARGE, id="too large"),
    ],
)
def test_refuses(payload: bytes, reason: Reason) -> None:
    result = take(payload)
    assert isinstance(result, Refusal)
    assert result.reason is reason


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"21.5", id="bare number"),
        pytest.param(b'"on"', id="bare text"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"a":1e-300}', id="small number"),
        pytest.param(b'{"a":"\\\\u0000"}', id="an escaped backslash before u0000 is no NUL"),
        pytest.param(b'{"a":"\\ud83d\\ude00"}', id="surrogate pair"),
        pytest.param(b"[" * 32 + b"]" * 32, id="as deep as allowed"),
        pytest.param(b"[" + b"[]," * 500 + b"[]]", id="wide but not deep"),
        pytest.param(b'{"a":123456789012345678901234567890}', id="integer beyond 64 bits"),
        pytest.param(b'{"a":1,"a":2}', id="repeated key"),
    ],
)
def test_takes_and_keeps_the_text_as_it_came(payload: bytes) -> None:
    result = take(payload)
    assert isinstance(result, Reading)
    assert result.payload == payload.decode()
    assert result.payload_raw is None


def test_stores_bytes_on_a_raw_channel() -> None:
    result = take(b"\x00\xff", route=replace(ROUTE, raw=True))
    assert isinstance(result, Reading)
    assert (result.payload, result.payload_raw) == (None, b"\x00\xff")


@pytest.mark.parametrize(
    ("place", "reason"),
    [(Place(1, None, disabled=False), Reason.UNKNOWN_DEVICE), (Place(1, 11, disabled=True), Reason.DISABLED)],
)
def test_refuses_devices_that_may_not(place: Place, reason: Reason) -> None:
    result = take(b"1", place=place)
    assert isinstance(result, Refusal)
    assert result.reason is reason


@pytest.mark.parametrize(
    "value",
    [NOW - 60, round((NOW - 60) * 1000), round((NOW - 60) * 1e6), "2026-11-23T13:59:03Z", "2026-11-23T20:59:03+07:00",
     "2026-11-23T13:59:03"],
)  # fmt: skip
def test_a_device_time_in_any_unit_decides_the_bucket(value: object) -> None:
    found = row({"ts": value})
    assert found.ts == pytest.approx(NOW - 60, abs=1e-6)
    assert found.bucket == datetime(2026, 11, 23, 13, 59, 0, tzinfo=UTC)
    assert not found.sequenced


def test_a_resend_hours_later_is_the_same_row() -> None:
    first, again = row({"ts": NOW - 5}), row({"ts": NOW - 5}, at=NOW + 5 * 3600)
    assert first[:3] == again[:3]


@pytest.mark.parametrize(
    "value", [0, -5, 12, NOW - 8 * DAY, NOW + 3700, 4e9, 1e30, True, None, "yesterday", [], "2099-01-01"]
)
def test_a_wrong_clock_does_not_steer_the_bucket(value: object) -> None:
    found = row({"ts": value})
    assert found.bucket == datetime(2026, 11, 23, 14, 0, 0, tzinfo=UTC)
    assert found.ts == NOW


def test_a_second_time_key_is_tried_when_the_first_is_wrong() -> None:
    assert row({"ts": 12, "Time": "2026-11-23T13:00:00"}).ts == datetime(2026, 11, 23, 13, tzinfo=UTC).timestamp()


def test_a_sequence_number_makes_the_bucket_a_day() -> None:
    found = row({"seq": 7})
    assert found.sequenced
    assert found.bucket == datetime(2026, 11, 23, tzinfo=UTC)
    assert found.ts == NOW
    assert row({"seq": 7}, at=NOW + 3600)[:3] == found[:3]


def test_without_both_the_arrival_decides() -> None:
    found = row({"temperature": 21.5})
    assert found.bucket == datetime(2026, 11, 23, 14, 0, 0, tzinfo=UTC)
    assert row({"temperature": 21.5}, at=NOW + 6)[:3] == found[:3]
    assert row({"temperature": 21.5}, at=NOW + 7)[:3] != found[:3]
    assert row({"temperature": 21.5}, limits=Limits(bucket_seconds=60)).bucket.second == 0


def test_topic_and_payload_both_count_and_cannot_be_shifted() -> None:
    assert message_hash("a", b"b") != message_hash("ab", b"")
    assert message_hash("a", b"1") != message_hash("a", b"2")
    assert message_hash("a", b"1") == message_hash("a", b"1")
    assert -(2**63) <= message_hash("a", b"1") < 2**63


def test_depth_counts_nesting() -> None:
    assert [depth(json.loads(text)) for text in ("1", "[]", '{"a":[1,{"b":[]}]}')] == [0, 1, 4]


def test_device_seconds_reads_each_unit_once() -> None:
    for seconds in (946_684_800.0, 1_790_000_000.5, 4_102_444_800.0):
        for unit in (1, 1e3, 1e6, 1e9):
            found = device_seconds(seconds * unit)
            assert found is not None
            assert abs(found - seconds) < 1e-3


def test_the_window_follows_the_limits() -> None:
    wide = Limits(max_past=30 * DAY)
    assert row({"ts": NOW - 8 * DAY}, limits=wide).ts == NOW - 8 * DAY


def test_digits_are_read_once() -> None:
    """Hundreds of runs of digits, each just short enough: looked at from each digit, they would take minutes."""
    row(["1" * 15_999] * 1000, limits=replace(LIMITS, max_payload=2**25))
    refused = take(json.dumps("1" * 16_000).encode())
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.NUMBER
