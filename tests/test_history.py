"""What an agent remembers of its own metrics, for alerts: windows, gaps, clocks, and how much memory an hour takes."""

import tracemalloc

from agent.alerts.history import KEPT_SECONDS, History

OWN = {"cert.days_left": "certificate"}
NAMES = [f"agent.metric.{n}" for n in range(40)]


def newest(history: History, metric: str, since: float, until: float) -> list[tuple[dict[str, str], int, float]]:
    return [(dict(s.labels), s.count, s.newest) for s in history.stats(metric, since, until)]


def test_a_window_is_open_at_its_start_and_closed_at_its_end() -> None:
    history = History("a", OWN)
    for at in (10.0, 20.0, 30.0, 40.0):
        history.add(at, {("m", None): at, ("cert.days_left", "ca"): 100 - at, ("cert.days_left", "server"): at})
    assert newest(history, "m", 10.0, 30.0) == [({"agent": "a"}, 2, 30.0)]
    assert newest(history, "cert.days_left", 30.0, 40.0) == [
        ({"agent": "a", "certificate": "ca"}, 1, 60.0),
        ({"agent": "a", "certificate": "server"}, 1, 40.0),
    ]
    assert newest(history, "m", 40.0, 50.0) == newest(history, "other", 0.0, 50.0) == []
    [stats] = history.stats("m", 20.0, 40.0)
    assert stats.increase == 20.0, "from the last value before the window"


def test_an_hour_is_kept_and_what_is_not_measured_any_more_goes() -> None:
    history = History("a", OWN)
    history.add(0.0, {("m", None): 1.0, ("gone", None): 1.0})
    assert history.covers(0.0)
    for at in range(5, int(KEPT_SECONDS) + 10, 5):
        history.add(float(at), {("m", None): float(at)})
    assert not history.covers(4.0)
    assert history.covers(5.0)
    assert newest(history, "gone", -1.0, KEPT_SECONDS) == []
    assert newest(history, "m", -1.0, 10.0) == [({"agent": "a"}, 2, 10.0)]


def test_series_come_go_and_come_again_within_a_window() -> None:
    history = History("a", OWN)
    history.add(10.0, {("cert.days_left", "ca"): 5.0, ("m", None): 1.0})
    history.add(20.0, {("m", None): 2.0})
    history.add(30.0, {("m", None): 4.0, ("cert.days_left", "server"): 7.0, ("cert.days_left", "ca"): 9.0})
    assert newest(history, "cert.days_left", 0.0, 40.0) == [
        ({"agent": "a", "certificate": "ca"}, 2, 9.0),
        ({"agent": "a", "certificate": "server"}, 1, 7.0),
    ]
    increases = {s.labels["certificate"]: s.increase for s in history.stats("cert.days_left", 20.0, 30.0)}
    assert increases["ca"] == 4.0, "from the last value there was, however long ago"


def test_a_clock_that_steps_back_begins_anew() -> None:
    history = History("a", OWN)
    history.add(100.0, {("m", None): 1.0})
    history.add(50.0, {("m", None): 2.0})
    assert newest(history, "m", 0.0, 200.0) == [({"agent": "a"}, 1, 2.0)]
    assert not history.covers(40.0)


def test_an_hour_of_all_metrics_is_small() -> None:
    history = History("a", OWN)
    tracemalloc.start()
    try:
        for at in range(0, 3 * int(KEPT_SECONDS), 5):
            missing = at // 5 % 3  # a canary that fails now and then has no round trip to tell of
            history.add(float(at), {(name, None): at + 0.5 for name in NAMES[missing:]})
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 600_000, held
