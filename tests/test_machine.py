"""The state machine against tables: what Prometheus does, and where we go further."""

import math
from typing import Any

import pytest

from alerting import cases

P, F, I = "pending", "firing", "inactive"  # noqa: E741 - read as a table
N = None


def run(rule: dict[str, Any], values: list[Any], events: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """values: one each 15 s; "error" is a failed evaluation."""
    samples = [
        {"t": 15 * n, "error": True} if value == "error" else {"t": 15 * n, "v": value}
        for n, value in enumerate(values)
    ]
    case = {"rule": {"op": ">", "threshold": 5} | rule, "samples": samples, "events": events or []}
    return cases.run(case)


def states(outcome: dict[str, Any]) -> list[str]:
    return [state["state"] for state in outcome["states"]]


def told(outcome: dict[str, Any]) -> list[tuple[float, str]]:
    return [(notice["t"], notice["kind"]) for notice in outcome["notifications"]]


@pytest.mark.parametrize(
    ("rule", "values", "expected"),
    [
        pytest.param({}, [6, 1], [F, I], id="without for it fires at once"),
        pytest.param({"for": 30}, [6, 6, 6, 1], [P, P, F, I], id="for is inclusive"),
        pytest.param({"for": 1}, [6, 6], [P, F], id="for below the interval needs two evaluations"),
        pytest.param({"for": 30}, [6, 6, 1, 6, 6, 6], [P, P, I, P, P, F], id="pending begins anew"),
        pytest.param({"keep_firing_for": 20}, [6, 1, 1, 1], [F, F, F, I], id="keeps firing from the first false"),
        pytest.param({"keep_firing_for": 1}, [6, 1, 1], [F, F, I], id="any keep_firing_for survives one evaluation"),
        pytest.param({"keep_firing_for": 20}, [6, 1, 6, 1, 1, 1], [F, F, F, F, F, I], id="its timer begins anew"),
        pytest.param({"keep_firing_for": 60, "for": 30}, [6, 1], [P, I], id="keep_firing_for is not for pending"),
        pytest.param({"for": 30}, [6, "error", 6, 6], [P, P, F, F], id="an error freezes and time goes on"),
        pytest.param({}, [6, "error", 1], [F, F, I], id="an error resolves nothing"),
        pytest.param({}, [6, N], [F, I], id="no row is false by default"),
        pytest.param({"no_data": "keep"}, [6, N, N, 1], [F, F, F, I], id="keep: no row is nothing"),
        pytest.param({"no_data": "keep"}, [N, 1], [I, I], id="keep: nothing stays nothing"),
        pytest.param({"no_data": "keep", "for": 30}, [6, N, 6], [P, P, F], id="keep: pending goes on"),
        pytest.param({"no_data": "alerting"}, [1, N, 1], [I, F, I], id="alerting: no row is an alert"),
        pytest.param({"no_data": "alerting"}, [N, 1], [F, I], id="alerting: even if nothing was ever there"),
        pytest.param({"no_data": "alerting", "for": 15}, [1, N, N], [I, P, F], id="alerting: after for"),
        pytest.param({"recover": "< 3"}, [6, 4, 3, 2, 4], [F, F, F, I, I], id="recover is a second limit"),
        pytest.param({"recover": {"op": "<", "threshold": 3}}, [6, 4, 2], [F, F, I], id="recover as an object"),
        pytest.param({"recover": "< 3", "for": 15}, [6, 4, 6, 6, 4], [P, I, P, F, F], id="recover only while firing"),
        pytest.param({}, ["NaN", 6, "NaN"], [I, F, I], id="NaN is not above anything"),
        pytest.param({"op": "!="}, ["NaN"], [F], id="NaN differs from everything"),
        pytest.param({}, ["+Inf", "-Inf"], [F, I], id="infinities compare"),
        pytest.param({"op": ">="}, [5], [F], id=">="),
        pytest.param({"op": "<"}, [5, 4], [I, F], id="<"),
        pytest.param({"op": "<="}, [5], [F], id="<="),
        pytest.param({"op": "=="}, [5, 6], [F, I], id="=="),
    ],
)
def test_states(rule: dict[str, Any], values: list[Any], expected: list[str]) -> None:
    assert states(run(rule, values)) == expected


def test_times_never_move_while_it_fires() -> None:
    outcome = run({"for": 30, "keep_firing_for": 20}, [6, 6, 6, 1, 6])
    assert [(s.get("active_at"), s.get("fired_at")) for s in outcome["states"]] == [
        (0, None), (0, None), (0, 30), (0, 30), (0, 30),
    ]  # fmt: skip
    assert told(outcome) == [(30, "firing")]


def test_pending_is_never_told_and_an_end_always_is() -> None:
    assert told(run({"for": 30}, [6, 6, 1])) == []
    assert told(run({}, [6, 6, 1, 1, 6])) == [(0, "firing"), (30, "resolved"), (60, "firing")]


def test_a_notifier_without_memory_is_told_again() -> None:
    """Prometheus' resend-delay: more than the delay must have passed; resolved is sent again for 15 minutes."""
    assert told(run({"resend_delay": 30}, [6, 6, 6, 6, 6, 6, 6])) == [(0, "firing"), (45, "firing"), (90, "firing")]
    again = told(run({"resend_delay": 300}, [6] + [1] * 80))
    assert again == [(0, "firing"), (15, "resolved"), (330, "resolved"), (645, "resolved")]


def test_a_restart_pauses_pending_and_keeps_firing() -> None:
    restart = [{"t": 60, "type": "restart"}]
    outcome = cases.run(
        {"rule": {"op": ">", "threshold": 5, "for": 60}, "events": restart,
         "samples": [{"t": t, "v": 6} for t in (0, 15, 60, 90, 105)]}
    )  # fmt: skip
    assert states(outcome) == [P, P, P, P, F]  # 15 s of 60 were over before, 45 s are left
    assert [s.get("active_at") for s in outcome["states"]] == [0, 0, 45, 45, 45]
    assert told(run({}, [6, 6, 6], [{"t": 15, "type": "restart"}])) == [(0, "firing")]
    assert told(run({}, [6, 6, 1], [{"t": 30, "type": "restart"}])) == [(0, "firing"), (30, "resolved")]


def test_after_a_restart_there_is_time_to_look() -> None:
    rule = {"op": ">", "threshold": 5, "for": 60, "grace_period": 30}
    samples = [{"t": t, "v": 6} for t in (0, 45, 60, 75, 90)]
    outcome = cases.run({"rule": rule, "samples": samples, "events": [{"t": 60, "type": "restart"}]})
    assert states(outcome) == [P, P, P, P, F]  # 15 s were left, 30 s are given
    short = cases.run({"rule": rule | {"for": 20}, "samples": [{"t": t, "v": 6} for t in (0, 15, 30, 35)],
                       "events": [{"t": 15, "type": "restart"}]})  # fmt: skip
    assert states(short) == [P, P, P, F]  # shorter than the grace period: begins anew


def test_a_long_outage_begins_pending_anew_and_goes_on_firing() -> None:
    rule = {"op": ">", "threshold": 5, "for": 60, "outage_tolerance": 3600}
    late = cases.run({"rule": rule, "samples": [{"t": t, "v": 6} for t in (0, 5000, 5060)], "events": []})
    assert [s["active_at"] for s in late["states"]] == [0, 5000, 5000]
    assert states(late) == [P, P, F]
    firing = cases.run({"rule": rule | {"for": 0}, "samples": [{"t": t, "v": 6} for t in (0, 5000)]})
    assert told(firing) == [(0, "firing")]


def test_a_clock_that_steps_back_changes_nothing() -> None:
    outcome = cases.run(
        {"rule": {"op": ">", "threshold": 5}, "samples": [{"t": 60, "v": 6}, {"t": 30, "v": 1}, {"t": 75, "v": 6}]}
    )
    assert states(outcome) == [F, F, F]
    assert told(outcome) == [(60, "firing")]


def test_raising_for_takes_an_alert_back_and_its_end_is_told() -> None:
    raised = [{"t": 30, "type": "reload", "rule": {"for": 60}}]
    outcome = run({"for": 15}, [6, 6, 6, 6, 6], raised)
    assert states(outcome) == [P, F, P, P, F]
    assert told(outcome) == [(15, "firing"), (60, "firing")]
    assert told(run({"for": 15}, [6, 6, 6, 1], raised)) == [(15, "firing"), (45, "resolved")]


def test_a_reload_keeps_state_unless_the_labels_change() -> None:
    new = [{"t": 15, "type": "reload", "rule": {"threshold": 7}}]
    assert states(run({}, [6, 6], new)) == [F, I]
    other = [{"t": 15, "type": "reload", "rule": {"labels": {"severity": "critical"}}}]
    outcome = run({"for": 15}, [6, 6, 6], other)
    assert states(outcome) == [P, P, F]
    assert told(run({}, [6, 6], other)) == [(0, "firing"), (15, "resolved"), (15, "firing")]


def test_each_series_is_on_its_own() -> None:
    samples = [{"t": t, "v": v, "series": s} for t, s, v in [(0, "a", 6), (0, "b", 1), (15, "a", 6), (15, "b", 6)]]
    outcome = cases.run({"rule": {"op": ">", "threshold": 5, "for": 15}, "samples": samples})
    assert [(s["series"], s["state"]) for s in outcome["states"]] == [("a", P), ("b", I), ("a", F), ("b", P)]
    assert outcome["notifications"] == [{"t": 15, "series": "a", "kind": "firing"}]


def test_two_rows_with_one_name_are_an_error() -> None:
    samples = [{"t": 0, "v": 6, "series": "a"}, {"t": 15, "v": 1, "series": "a"}, {"t": 15, "v": 9, "series": "a"}]
    outcome = cases.run({"rule": {"op": ">", "threshold": 5}, "samples": samples})
    assert outcome["states"][1] == {"t": 15, "series": "a", "state": F, "active_at": 0, "fired_at": 0, "error": True}


def test_a_full_rule_keeps_what_it_has() -> None:
    """Prometheus empties the whole rule; a storm must not end the alerts that were there before it."""
    samples = [{"t": 0, "v": 6, "series": "a"}, *({"t": 15, "v": 6, "series": s} for s in "abc")]
    outcome = cases.run({"rule": {"op": ">", "threshold": 5, "limit": 2}, "samples": samples})
    assert [(s["series"], s["state"], s.get("error")) for s in outcome["states"][3:]] == [
        ("a", F, None), ("b", F, None), ("c", I, True),
    ]  # fmt: skip


def test_a_file_of_another_kind_is_refused() -> None:
    with pytest.raises(cases.CaseError, match="not a case file"):
        list(cases.run_all({"cases": []}))
    with pytest.raises(cases.CaseError, match="case 0"):
        list(cases.run_all({"format": cases.FORMAT, "cases": [{"rule": {}}]}))


def test_values_stay_numbers() -> None:
    outcome = cases.run({"rule": {"op": ">", "threshold": 5}, "samples": [{"t": 0.5, "v": 6}]})
    assert outcome["states"][0]["t"] == 0.5
    assert not math.isnan(outcome["states"][0]["fired_at"])
