"""Who is told of what, and when: messages from episodes."""

from dataclasses import replace

from alerting import message
from alerting.grouping import Alert, Plan, Policy, Reason, plan
from alerting.message import Story
from alerting.routing import Inhibition, Route, Silence

ROUTE = Route({}, ("log",), ("alertname",), 10.0, 100.0)


def alert(name: str, fired_at: float = 0.0, **labels: str) -> Alert:
    return Alert(f"{name}-{sorted(labels.items())}", {"alertname": name, **labels}, fired_at)


def policy(*routes: Route, inhibitions: tuple[Inhibition, ...] = (), silences: tuple[Silence, ...] = ()) -> Policy:
    return Policy(routes or (ROUTE,), inhibitions, silences)


def said(found: Plan) -> list[tuple[str, list[tuple[str, Reason]]]]:
    return [(m.channel, [(x.alert.event_id.split("-")[0], x.reason) for x in m.mentions]) for m in found.messages]


def test_a_group_waits_once_and_then_goes_out_together() -> None:
    alerts = [alert("A", 0, device="1"), alert("A", 5, device="2"), alert("B", 0)]
    early = plan(alerts, policy(), 9)
    assert (said(early), early.next_at) == ([], 10)
    assert said(plan(alerts, policy(), 10)) == [("log", [("A", Reason.NEW)] * 2), ("log", [("B", Reason.NEW)])]


def test_a_group_that_was_told_takes_more_at_once() -> None:
    told = replace(alert("A", 0, device="1"), told_at=10.0, told=1)
    assert said(plan([told, alert("A", 20, device="2")], policy(), 20)) == [("log", [("A", Reason.NEW)])]


def test_an_end_is_told_at_once_and_only_to_whom_knew() -> None:
    told = replace(alert("A"), told_at=10.0, ended_at=20.0)
    found = plan([told], policy(), 20)
    assert said(found) == [("log", [("A", Reason.RESOLVED)])]
    assert found.done == (told.event_id,)


def test_what_began_and_ended_before_anybody_knew_is_mentioned_once() -> None:
    brief = replace(alert("A"), ended_at=5.0)
    assert (said(plan([brief], policy(), 6)), plan([brief], policy(), 6).done) == ([], ())
    found = plan([brief], policy(), 10)
    assert (said(found), found.done) == ([("log", [("A", Reason.BRIEF)])], (brief.event_id,))


def test_reminders_stop_with_an_acknowledgement_and_its_end_is_told() -> None:
    told = replace(alert("A"), told_at=10.0, told=1)
    assert plan([told], policy(), 50).next_at == 110
    assert said(plan([told], policy(), 110)) == [("log", [("A", Reason.REPEAT)])]
    acked = replace(told, acked=True)
    assert said(plan([acked], policy(), 1000)) == []
    assert said(plan([replace(acked, ended_at=1000.0)], policy(), 1000)) == [("log", [("A", Reason.RESOLVED)])]


def test_a_rule_may_have_its_own_reminders() -> None:
    told = replace(alert("A"), told_at=0.0, repeat=20.0)
    assert said(plan([told], policy(), 20)) == [("log", [("A", Reason.REPEAT)])]


def test_a_silence_mutes_and_what_still_fires_afterwards_is_told() -> None:
    silence = Silence("1", {"alertname": "A"}, 0.0, 60.0)
    muted = plan([alert("A")], policy(silences=(silence,)), 30)
    assert (said(muted), muted.next_at, len(muted.muted)) == ([], 60, 1)
    assert said(plan([alert("A")], policy(silences=(silence,)), 60)) == [("log", [("A", Reason.NEW)])]


def test_who_was_told_before_a_silence_is_told_of_the_end_during_it() -> None:
    told = replace(alert("A"), told_at=5.0, ended_at=30.0)
    silence = Silence("1", {"alertname": "A"}, 10.0, 60.0)
    assert said(plan([told], policy(silences=(silence,)), 30)) == [("log", [("A", Reason.RESOLVED)])]


def test_what_was_muted_until_its_end_needs_no_word() -> None:
    over = replace(alert("A"), ended_at=30.0, muted=True)
    found = plan([over], policy(), 60)
    assert (said(found), found.done) == ([], (over.event_id,))


def test_a_tenants_silence_is_for_its_own_alerts() -> None:
    silence = Silence("1", {"alertname": "A"}, 0.0, 60.0, tenant="acme")
    alerts = [alert("A", tenant="acme"), alert("A", tenant="globex")]
    found = plan(alerts, policy(silences=(silence,)), 10)
    assert [x.alert.labels["tenant"] for m in found.messages for x in m.mentions] == ["globex"]


def test_inhibition() -> None:
    rule = Inhibition({"alertname": "A"}, {"alertname": "B"}, ("agent",))
    alerts = [alert("A", agent="1"), alert("B", agent="1"), alert("B", agent="2")]
    found = plan(alerts, policy(inhibitions=(rule,)), 10)
    assert [dict(x.alert.labels) for m in found.messages for x in m.mentions] == [
        {"alertname": "A", "agent": "1"},
        {"alertname": "B", "agent": "2"},
    ]
    ended = [replace(alerts[0], ended_at=5.0), alerts[1]]
    assert ("log", [("B", Reason.NEW)]) in said(plan(ended, policy(inhibitions=(rule,)), 10))


def test_what_mutes_others_is_not_muted_by_itself() -> None:
    rule = Inhibition({"severity": "critical"}, {"team": "x"})
    both = alert("A", severity="critical", team="x")
    assert said(plan([both], policy(inhibitions=(rule,)), 10)) == [("log", [("A", Reason.NEW)])]


def test_routes_are_tried_in_order() -> None:
    first = Route({"severity": "critical"}, ("phone", "mail"), ("alertname",), 0.0, 100.0)
    alerts = [alert("A", severity="critical"), alert("B", severity="warning")]
    assert said(plan(alerts, policy(first, ROUTE), 10)) == [
        ("phone", [("A", Reason.NEW)]), ("mail", [("A", Reason.NEW)]), ("log", [("B", Reason.NEW)]),
    ]  # fmt: skip
    tenants = Route({"tenant": "*"}, ("t",), ("tenant",), 0.0, 100.0)
    assert said(plan([alert("A"), alert("A", tenant="x")], policy(tenants), 10)) == [("t", [("A", Reason.NEW)])]


def test_a_storm_is_planned_in_linear_time() -> None:
    rule = Inhibition({"alertname": "X"}, {"alertname": "A"}, ("device",))
    alerts = [alert("A", device=str(n)) for n in range(20_000)]
    assert len(plan(alerts, policy(inhibitions=(rule,)), 10).messages[0].mentions) == 20_000


def test_a_message_names_itself_by_what_it_says() -> None:
    found = plan([alert("A", device="1")], policy(), 10).messages[0]
    again = plan([alert("A", device="1")], policy(), 500).messages[0]
    assert message.message_id(found) == message.message_id(again)
    stories = {found.mentions[0].alert.event_id: Story("A", "warning", "it is hot", "rb", 7.0, "a")}
    body = message.body(found, stories, "agent-1", 70)
    assert body["title"] == "[FIRING] warning: A"
    assert body["text"] == "FIRING A (device=1): it is hot | since 1m 10s | runbook rb"
    assert body["alerts"][0]["labels"] == {"alertname": "A", "device": "1"}
