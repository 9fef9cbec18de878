"""Text of expressions: what is understood, what is refused, and what comes out."""

import math

import pytest

from alerting import aggregate, catalogue, durations, vectors
from alerting.aggregate import Stats, stats_of
from alerting.expression import Binary, Matcher, Number, Query, split
from alerting.grammar import ExpressionError, parse
from alerting.machine import Labels
from alerting.threshold import Limit
from alerting.vectors import Vector


def test_a_query_has_all_its_parts() -> None:
    node = parse('quantile(0.95, telemetry.ENERGY."apparent power"{tenant="a", device!="b"}[1h30m]) by (tenant)')
    assert node == Query(
        "quantile", 'telemetry.ENERGY."apparent power"', (Matcher("tenant", "a"), Matcher("device", "b", False)), 5400.0,
        ("tenant",), 0.95, 1,
    )  # fmt: skip
    assert catalogue.json_path('telemetry.ENERGY."apparent power"') == ("ENERGY", "apparent power")
    assert catalogue.json_path('telemetry."switch:0".apower') == ("switch:0", "apower")


def test_operators_bind_as_in_prometheus() -> None:
    node = parse("last(a) > 1 + 2 * last(b) and last(c) == 0 or last(d) < 15m")
    assert isinstance(node, Binary)
    assert node.op == "or"
    assert isinstance(node.left, Binary)
    assert node.left.op == "and"
    assert isinstance(node.left.left, Binary)
    assert node.left.left.op == ">"
    assert isinstance(node.right, Binary)
    assert node.right.right == Number(900.0)


def test_a_limit_is_told_from_a_condition() -> None:
    assert split(parse("avg(a[2m]) > 90"))[1] == Limit(">", 90.0)
    assert split(parse("avg(a[2m]) > -1.5e2"))[1] == Limit(">", -150.0)
    assert split(parse("avg(a[2m]) > 90 and last(b) > 1"))[1] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"column 1: expected a number, a function or \( instead of the end"),
        ("vm.cpu > 1", r"column 1: vm.cpu is no function: write a function around it, as in last\(vm.cpu\)"),
        ("foo(a) > 1", "column 1: foo is no function"),
        ("last(a > 1", r"column 8: expected \) instead of >"),
        ("last(a) >", "column 10: expected a number"),
        ("last(a) > 1 1", "column 13: 1 is too much"),
        ("rate(a) > 1", r"column 1: rate needs a window, as in rate\(a\[5m\]\)"),
        ("last(a[5]) > 1", "column 8: a window is a duration"),
        ('last(a{x~"b"}) > 1', "column 9: '~' is not understood"),
        ("last(a{x=b}) > 1", "column 10: expected a text in double quotes"),
        ("last(a) by (b.c) > 1", "column 13: expected a label instead of b.c"),
        ("quantile(2, a[5m]) > 1", "column 10: quantile begins with a number from 0 to 1"),
        ("1 > 2", "column 3: > joins two numbers"),
        ("last(a) and 1", "column 9: and joins two conditions"),
        ("last(a) > 1; drop table x", "column 12: ';' is not understood"),
        ("(" * 60 + "last(a)" + ")" * 60, "nested too deeply"),
    ],
)
def test_what_is_no_expression_is_said_where(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("last(vm.cpu_pct)", "there is no metric vm.cpu_pct; did you mean vm.cpu_percent?"),
        ("last(xyz)", "`iot-agent rules metrics` lists them"),
        ("last(agent.ingest.errors)", "is a counter: use rate"),
        ("rate(vm.cpu_percent[5m])", "is no counter"),
        ("last(telemetry.last_seen)", "has only an age"),
        ("age(vm.cpu_percent)", "has no age"),
        ("last(vm.cpu_percent) by (device)", "has no label device; it has agent"),
        ('last(vm.cpu_percent{tenant="a"})', "has no label tenant"),
        ("avg(vm.cpu_percent[2h])", "longer than 1 h"),
    ],
)
def test_metrics_are_known_with_what_fits_them(text: str, message: str) -> None:
    node = parse(text)
    assert isinstance(node, Query)
    assert message in "; ".join(catalogue.mistakes(node))


A: Labels = (("d", "1"),)
B: Labels = (("d", "2"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("last(a) > 1", {B: 2.0}),
        ("1 < last(a)", {B: 2.0}),
        ("last(a) + last(b)", {A: 11.0, B: 2.0 + 20.0}),
        ("last(b) / last(a)", {A: 10.0, B: 10.0}),
        ("last(a) * 2 - 1", {A: 1.0, B: 3.0}),
        ("-last(a)", {A: -1.0, B: -2.0}),
        ("last(a) and last(c) > 0", {A: 1.0}),
        ("last(a) unless last(c) > 0", {B: 2.0}),
        ("last(c) or last(a)", {A: 5.0, B: 2.0}),
        ("last(a) / last(all)", {A: 0.25, B: 0.5}),
        ("last(all) / last(a)", {A: 4.0, B: 2.0}),
        ("last(a) and last(all) > 3", {A: 1.0, B: 2.0}),
        ("last(a) unless last(all) > 3", {}),
    ],
)
def test_values(text: str, expected: dict[object, float]) -> None:
    series: dict[str, Vector] = {"a": {A: 1.0, B: 2.0}, "b": {A: 10.0, B: 20.0}, "c": {A: 5.0}, "all": {(): 4.0}}
    assert vectors.value(parse(text), lambda query: series[query.metric]) == expected


def test_nothing_divided_is_as_ieee_has_it() -> None:
    series: dict[str, Vector] = {"a": {A: 1.0, B: 0.0}, "z": {A: 0.0, B: 0.0}}
    found = vectors.value(parse("last(a) / last(z)"), lambda query: series[query.metric])
    assert isinstance(found, dict)
    assert found[A] == math.inf
    assert math.isnan(found[B])


def test_sides_with_other_labels_are_an_error() -> None:
    series: dict[str, Vector] = {"a": {A: 1.0}, "t": {(("tenant", "x"),): 1.0}}
    with pytest.raises(vectors.NoMatch, match=r"different labels \(d and tenant\): add by"):
        vectors.value(parse("last(a) / last(t)"), lambda query: series[query.metric])


def test_functions_over_groups() -> None:
    series = [
        stats_of({"tenant": "x", "device": "1"}, [(10, 1.0), (20, 3.0)], 0.5),
        stats_of({"tenant": "x", "device": "2"}, [(15, 5.0)], None),
    ]

    def value(text: str) -> float:
        node = parse(text)
        assert isinstance(node, Query)
        return aggregate.reduce(node, series, 100.0)[(("tenant", "x"),)]

    expected = {"last": 3.0, "avg": 3.0, "min": 1.0, "max": 5.0, "sum": 9.0, "count": 3.0, "increase": 2.5, "age": 80.0}
    assert {name: value(f"{name}(m[1m]) by (tenant)") for name in expected} == expected
    assert value("rate(m[1m]) by (tenant)") == pytest.approx(2.5 / 60)
    assert value("quantile(0.5, m[1m]) by (tenant)") == 3.0
    assert (value("min(m) by (tenant)"), value("count(m) by (tenant)")) == (3.0, 2.0)  # the newest of each
    only = parse('max(m{device!="2"}[1m]) by (tenant)')
    assert isinstance(only, Query)
    assert aggregate.reduce(only, series, 100.0) == {(("tenant", "x"),): 3.0}


def test_a_counter_that_was_reset_goes_on() -> None:
    assert stats_of({}, [(1, 10.0), (2, 2.0), (3, 5.0)], 8.0).increase == 2.0 + 2.0 + 3.0
    assert stats_of({}, [(1, 10.0)], None).increase is None
    assert Stats({}).increase is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("0", 0), ("2w", 1_209_600), ("500ms", 0.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert durations.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 m", "m5", "-5m", "1.5h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        durations.seconds(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (45, "45s"), (300, "5m"), (5400, "1h 30m"), (273_600, "3d 4h"), (-90, "-1m 30s")]
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert durations.words(seconds) == text
