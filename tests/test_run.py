"""The run of a runbook as a machine: where one is, what is offered, what is written down. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from probes.finding import Finding, Outcome
from tui.runbook import deed, fill, timeline
from tui.runbook.fill import MissingError
from tui.runbook.offer import Offer, offers, suggestion
from tui.runbook.parse import Runbook, parse
from tui.runbook.run import Event, Facts, Kind, Run, after, begun, folded

NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
BOOK = parse("""---
schema: runbook/1
id: broker-down
title: Broker down
severity: sev1
summary: It is down.
owner: platform
last_reviewed: 2026-11-01
vars:
  host: {from: config.broker.host}
  device: {from: alert.labels.device}
  start: {from: config.commands.start}
  rule: {from: ask, default: allow-ssh}
done_when: [prove]
---
## Look {#look}

On {{host}}:

```yaml step
kind: check
all:
  - {id: port, check: tcp.open}
  - {id: unit, check: service.active}
pass: goto prove
fail: goto which
unknown: goto which
```

## Which {#which}

```yaml step
kind: decide
question: What?
options:
  - {label: Stopped, when: {look.port: fail, look.unit: fail}, goto: restart}
  - {label: Elsewhere, when: {look.unit: unknown}, goto: "runbook:vm-pressure"}
  - {label: Nothing, goto: prove}
```

## Restart {#restart}

```yaml step
kind: command
where: console
run: ["{{start}}", --now]
confirm: Restarts it for everybody.
undo: [stop, "{{host}}"]
verify: {check: tcp.open}
rollback: back
goto: prove
fail: goto back
```

## Back {#back}

```yaml step
kind: rollback
where: agent
action: creds.restore
confirm: Puts the former set back.
```

## Prove {#prove}

```yaml step
kind: check
check: mqtt.answers
```

## Close {#close}

```yaml step
kind: note
ask: [Cause, Follow-up]
```
""")


def run_of(mode: str = "live", book: Runbook = BOOK) -> Run:
    return begun(Facts("r1", "platform", "broker-down", mode, {"host": "h"}, None, "anna", NOW), book)


def events_by(run: Run, *choices: tuple[str, list[str]]) -> Run:
    """Take offers that only have to be written down."""
    for offer_id, texts in choices:
        offer = next(one for one in offers(run, run.owner) if one.id == offer_id)
        kind, step, body = deed.entry(run, offer, texts)
        run = written(run, kind, step, body)
    return run


def written(run: Run, kind: Kind, step: str, body: Mapping[str, object], actor: str = "") -> Run:
    n = len(run.events)
    return after(run, Event(f"e{n:03}", NOW + timedelta(seconds=n + 1), actor or run.owner, "laptop", kind, step, body))


def looked(run: Run, port: Outcome, unit: Outcome) -> Run:
    found = {"port": Finding(port, "h:1"), "unit": Finding(unit, "active?", "line 1\nline 2")}
    outcome = next((o for o in (Outcome.FAIL, Outcome.UNKNOWN) if o in (port, unit)), Outcome.PASS)
    return written(run, Kind.CHECKED, "look", deed.checked(run, "look", found, outcome))


def suggested(run: Run) -> Offer:
    found = suggestion(offers(run, run.owner))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("port", "unit", "goes", "label"),
    [
        (Outcome.PASS, Outcome.PASS, "prove", ""),
        (Outcome.FAIL, Outcome.FAIL, "which", "Stopped"),
        (Outcome.FAIL, Outcome.UNKNOWN, "which", "Elsewhere"),
        (Outcome.PASS, Outcome.UNKNOWN, "which", "Elsewhere"),
        (Outcome.FAIL, Outcome.PASS, "which", "Nothing"),
    ],
)
def test_evidence_leads(port: Outcome, unit: Outcome, goes: str, label: str) -> None:
    run = looked(run_of(), port, unit)
    offer = suggested(run)
    assert (offer.id, offer.goes) == ("go", goes)
    run = events_by(run, ("go", []))
    assert run.here == goes
    if label:
        assert suggested(run).words == label


def test_unknown_is_never_taken_for_pass_and_people_may_look_instead() -> None:
    run = looked(run_of(), Outcome.PASS, Outcome.UNKNOWN)
    assert run.results["look"] is Outcome.UNKNOWN
    assert {"said-pass", "said-fail"} <= {offer.id for offer in offers(run, "anna")}
    run = events_by(run, ("said-pass", ["both are green in the portal"]))
    assert run.results["look"] is Outcome.PASS
    assert "both are green" in timeline.entries(run)[-1].words


def test_a_run_ends_mended_only_when_it_is_proved() -> None:
    run = events_by(run_of(), ("goto-back", []))
    assert run.here == "back"
    run = replace(run, here=None)
    assert suggested(run).id == "prove-prove"
    assert "end" not in {offer.id for offer in offers(run, "anna")}
    found = {"mqtt.answers": Finding(Outcome.PASS, "yes")}
    proved = written(run, Kind.CHECKED, "prove", deed.checked(run, "prove", found, Outcome.PASS))
    assert suggested(proved).id == "end"
    run = events_by(proved, ("end", []))
    assert (run.state, run.outcome, offers(run, "anna")) == ("done", "mended", [])


def test_what_somebody_does_who_does_not_have_the_run_moves_nothing() -> None:
    """Anna was cut off, and Ben took it over: what she wrote meanwhile stands in the timeline."""
    run = written(events_by(run_of(), ("skip", ["x"])), Kind.TAKEN, "", {"why": "she is away"}, "ben")
    for kind, step, body in (
        (Kind.WENT, "which", {"next": "close"}),
        (Kind.ENDED, "", {"state": "abandoned", "outcome": "x"}),
        (Kind.CHECKED, "prove", deed.checked(run, "prove", {"p": Finding(Outcome.PASS, "x")}, Outcome.PASS)),
    ):
        late = written(run, kind, step, body, "anna")
        assert (late.here, late.state, late.results, len(late.events)) == (
            "which",
            "open",
            run.results,
            len(run.events) + 1,
        )
    assert written(run, Kind.NOTED, "which", {"text": "hello"}, "anna").events[-1].body == {"text": "hello"}


def test_what_began_is_looked_at_also_when_one_comes_back_to_it() -> None:
    run = events_by(run_of(), ("skip", ["known"]), ("option-1", []))
    run = written(run, Kind.BEGUN, "restart", {"what": "start --now", "version": 1})
    run = written(run, Kind.WENT, "restart", {"next": "back"})
    run = written(run, Kind.WENT, "back", {"next": "restart"})
    assert suggested(run).id == "verify"


def test_an_undo_is_not_the_command_and_an_unknown_command_may_be_done_by_hand() -> None:
    run = events_by(run_of(), ("skip", ["known"]), ("option-1", []))
    passed = Finding(Outcome.PASS, "yes")
    done = written(run, Kind.DID, "restart", deed.did(run, "restart", "start", passed))
    undone = written(done, Kind.DID, "restart", deed.did(done, "restart", "stop", passed) | {"undo": True})
    assert undone.marks["restart"].state == "undone"
    assert suggestion(offers(undone, "anna")) is None
    missing = Finding(Outcome.UNKNOWN, "not known: commands.start of the profile; do it by hand")
    unknown = written(run, Kind.DID, "restart", deed.did(run, "restart", "start", missing))
    assert {"byhand", "verify", "do"} <= {offer.id for offer in offers(unknown, "anna")}


def test_nothing_is_suggested_when_what_it_depends_on_is_not_known() -> None:
    """Somebody looked by hand, or skipped: that all is well is no default."""
    run = events_by(run_of(), ("skip", ["no time"]))
    assert suggestion(offers(run, "anna")) is None
    run = looked(run_of(), Outcome.PASS, Outcome.UNKNOWN)
    run = events_by(run, ("said-fail", ["the port is dead"]), ("go", []))
    assert (run.here, suggestion(offers(run, "anna"))) == ("which", None)
    assert "look.unit" not in run.results


def test_an_offer_belongs_to_where_the_run_stood() -> None:
    run = run_of()
    before = offers(run, "anna")[0]
    assert offers(written(run, Kind.NOTED, "look", {"text": "x"}), "anna")[0].stands == before.stands
    assert offers(looked(run, Outcome.FAIL, Outcome.FAIL), "anna")[0].stands != before.stands


def test_a_proof_from_before_a_change_proves_nothing() -> None:
    run = events_by(run_of(), ("goto-back", []))
    found = {"mqtt.answers": Finding(Outcome.PASS, "yes")}
    proof = deed.checked(run, "prove", found, Outcome.PASS)
    run = written(run, Kind.CHECKED, "prove", proof)
    assert run.unproved() == []
    changed = written(run, Kind.DID, "back", deed.did(run, "back", "creds.restore", Finding(Outcome.PASS, "ok")))
    assert changed.unproved() == ["prove"]
    assert written(changed, Kind.CHECKED, "prove", proof).unproved() == []


def test_a_command_that_began_and_has_no_result_is_looked_at_before_it_is_done_again() -> None:
    run = events_by(run_of(), ("skip", ["known"]), ("option-1", []))
    assert (suggested(run).id, suggested(run).changes) == ("do", True)
    run = written(run, Kind.BEGUN, "restart", {"what": "start --now", "version": 1})
    assert suggested(run).id == "verify"
    assert "do" not in {offer.id for offer in offers(run, "anna")}
    failed = written(run, Kind.DID, "restart", deed.did(run, "restart", "start", Finding(Outcome.FAIL, "no")))
    assert (suggested(failed).id, suggested(failed).goes) == ("go", "back")
    done = written(run, Kind.DID, "restart", deed.did(run, "restart", "start", Finding(Outcome.PASS, "yes")))
    assert suggested(done).goes == "prove"
    assert {"undo", "rollback"} <= {offer.id for offer in offers(done, "anna")}


def test_coming_back_to_a_step_asks_it_again() -> None:
    run = events_by(looked(run_of(), Outcome.FAIL, Outcome.PASS), ("go", []))
    run = written(run, Kind.WENT, "which", {"next": "look"})
    assert suggested(run).id == "run"


def test_another_runbook_ends_this_one() -> None:
    run = events_by(looked(run_of(), Outcome.FAIL, Outcome.UNKNOWN), ("go", []), ("option-2", []))
    assert (run.here, run.onward, suggested(run).id) == (None, "vm-pressure", "onward")
    run = events_by(run, ("onward", []))
    assert (run.state, run.outcome) == ("done", "went on with vm-pressure")


def test_others_watch_until_they_take_it_over() -> None:
    run = run_of()
    assert [offer.id for offer in offers(run, "ben")] == ["take", "note"]
    run = written(run, Kind.TAKEN, "", {"why": "anna sleeps"}, "ben")
    assert run.owner == "ben"
    assert [offer.id for offer in offers(run, "anna")] == ["take", "note"]


def test_manual_mode_executes_nothing() -> None:
    run = run_of("manual")
    assert {offer.id for offer in offers(run, "anna")} >= {"said-pass", "said-fail", "said-unknown"}
    assert not [offer for offer in offers(run, "anna") if offer.id == "run" or offer.changes]
    run = events_by(run, ("said-fail", ["no port"]), ("go", []), ("option-1", []))
    assert suggested(run).id == "byhand"
    assert events_by(run, ("byhand", [])).here == "prove"


def test_every_machine_comes_to_the_same_run() -> None:
    run = events_by(looked(run_of(), Outcome.FAIL, Outcome.FAIL), ("go", []), ("option-1", []))
    run = written(run, Kind.NOTED, "restart", {"text": "seen"}, "ben")
    again = folded(run.facts, BOOK, reversed(run.events))
    assert again == run


def test_steps_that_are_not_there_change_nothing() -> None:
    run = written(run_of(), Kind.WENT, "look", {"next": "nowhere"})
    assert run.here == "look"
    assert written(run, Kind.DONE, "nowhere", {"state": "done", "next": "nowhere"}).marks == {}


def test_versions_grow_with_each_change_of_a_step() -> None:
    run = looked(run_of(), Outcome.FAIL, Outcome.FAIL)
    assert deed.version(run, "look") == 1
    assert deed.version(looked(run, Outcome.PASS, Outcome.PASS), "look") == 2
    assert deed.version(run, "prove") == 0


def test_a_correction_supersedes_and_both_are_kept() -> None:
    run = events_by(run_of(), ("note", ["the brocker"]))
    run = after(
        run,
        Event("c1", NOW + timedelta(minutes=9), "ben", "pc", Kind.CORRECTED, "", {"text": "note: the broker"}, "e000"),
    )
    run = after(
        run, Event("c2", NOW + timedelta(minutes=10), "ben", "pc", Kind.CORRECTED, "", {"at": NOW.isoformat()}, "c1")
    )
    (entry,) = timeline.entries(run)
    assert (entry.words, entry.corrected, entry.at) == ("note: the broker", True, NOW)
    assert "*(corrected)*" in timeline.markdown(run, NOW)
    assert len(run.events) == 3


def test_the_timeline_as_markdown() -> None:
    run = looked(run_of(), Outcome.FAIL, Outcome.UNKNOWN)
    run = events_by(run, ("skip", ["not | needed"]))
    text = timeline.markdown(run, NOW + timedelta(minutes=10))
    assert "| 2026-11-26 03:00:02Z | anna | look | skipped: not \\| needed |" in text
    assert "    line 2" in text
    assert "## Skipped\n- look: not | needed" in text
    measured = timeline.pace(run, NOW + timedelta(minutes=10))
    assert (measured.to_first, measured.total, measured.skipped) == (2.0, 600.0, 1)


def test_how_runs_went_says_which_step_to_mend_next() -> None:
    slow = written(events_by(run_of(), ("skip", ["a"])), Kind.DECIDED, "which", {"state": "done", "next": "restart"})
    other = replace(events_by(run_of(), ("skip", ["b"])), outcome="mended")
    (found,) = timeline.summaries([slow, other], NOW + timedelta(seconds=60))
    assert (found.runbook, found.runs, found.mended, found.skipped) == ("broker-down", 2, 1, "look")
    assert (found.to_first, found.total) == (1.0, 60.0)


def test_variables_come_from_the_person_the_alert_the_config_and_the_default() -> None:
    config: dict[str, str | tuple[str, ...]] = {
        "broker.host": "mqtt.example.net",
        "commands.start": ("ssh", "vm", "start"),
    }
    found = fill.known(BOOK.front, {"device": "d1"}, config, {})
    assert found.values == {"host": "mqtt.example.net", "device": "d1", "rule": "allow-ssh"}
    assert found.asked == ()
    assert fill.known(BOOK.front, {}, config, {}).asked == ("device",)
    assert fill.known(BOOK.front, {"device": "d1"}, config, {"device": "d2"}).values["device"] == "d2"
    assert fill.argv(("{{start}}", "--on", "{{host}}"), BOOK.front, found.values, config) == [
        "ssh", "vm", "start", "--on", "mqtt.example.net",
    ]  # fmt: skip
    with pytest.raises(MissingError, match=r"commands\.start of the profile"):
        fill.argv(("{{start}}",), BOOK.front, found.values, {})
    assert fill.shown("on {{host}} and {{nothing}}", found.values) == "on mqtt.example.net and <nothing>"


def test_a_value_is_one_word_whatever_it_holds() -> None:
    """There is no shell: what looks like a command stays an argument."""
    values = {"host": "x; rm -rf / $(id) `id`"}
    assert fill.argv(("show", "{{host}}"), BOOK.front, values, {}) == ["show", values["host"]]
    with pytest.raises(MissingError, match="begins with -"):
        fill.argv(("show", "{{host}}"), BOOK.front, {"host": "--delete"}, {})
