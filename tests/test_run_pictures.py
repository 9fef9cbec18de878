"""What a run looks like, as text; see tests/pictures."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from probes.finding import Finding, Outcome
from store.target import Target
from tests.screens import LIVE, NOW
from tests.test_pictures import SIZES, check
from tests.test_run import BOOK, looked, written
from tui.panes.runbooks import Runbooks
from tui.render import plain
from tui.runbook import deed
from tui.runbook.desk import Desk
from tui.runbook.journal import Journal, Kept
from tui.runbook.offer import offers
from tui.runbook.run import Event, Facts, Kind, Run, begun

LOG = "\n".join(
    f"2026-11-23T14:02:{n:02}: Client dev-{n:04} already connected, closing old connection." for n in range(30)
)
VALUES = {"host": "mqtt.example.net", "device": "dev-0412", "rule": "allow-ssh"}
FACTS = Facts("4f2a91c0-0000-4000-8000-000000000000", "platform", "broker-down", "live", VALUES, None, "iot_u_anna",
              NOW - timedelta(minutes=4))  # fmt: skip


def by(run: Run, offer_id: str, *texts: str) -> Run:
    offer = next(one for one in offers(run, run.owner) if one.id == offer_id)
    kind, step, body = deed.entry(run, offer, texts)
    return written(run, kind, step, body, run.owner)


def failed(run: Run) -> Run:
    run = looked(run, Outcome.FAIL, Outcome.UNKNOWN)
    mark = replace(run.marks["look"], evidence=LOG)
    return replace(run, marks={**run.marks, "look": mark})


def decision(run: Run) -> Run:
    return by(looked(run, Outcome.FAIL, Outcome.FAIL), "go")


def command(run: Run) -> Run:
    return by(by(decision(run), "option-1"), "note", "the fleet is back at the old firmware, see ticket 4711")


def done(run: Run) -> Run:
    run = written(command(run), Kind.BEGUN, "restart", {"what": "x", "version": 1}, run.owner)
    found = Finding(Outcome.PASS, "ssh succeeded; mqtt.example.net:8883 answers, and refuses a stranger", LOG)
    return written(run, Kind.DID, "restart", deed.did(run, "restart", "ssh vm restart", found), run.owner)


def proved(run: Run) -> Run:
    run = by(done(run), "go")
    found = {"mqtt.answers": Finding(Outcome.PASS, "it answers")}
    run = written(run, Kind.CHECKED, "prove", deed.checked(run, "prove", found, Outcome.PASS), run.owner)
    return by(by(run, "go"), "answer", "a full disk", "alert earlier")


def ended(run: Run) -> Run:
    return by(proved(run), "end")


def theirs(run: Run) -> Run:
    return written(decision(run), Kind.TAKEN, "", {"why": "anna sleeps"}, "iot_u_ben")


STATES: dict[str, Callable[[Run], Run]] = {
    "begun": lambda run: written(run, Kind.STARTED, "", {"alert": "BrokerDown"}, run.owner),
    "failed": failed, "decision": decision, "command": command, "done": done, "proved": proved, "ended": ended,
    "theirs": theirs,
}  # fmt: skip


def pane_at(run: Run, tmp_path: Path, saved: bool = True) -> Runbooks:
    desk = Desk(Target("h", 5432, "iot_u_anna", "iot"), tmp_path, "PROD", {"commands.start": ("ssh", "vm", "restart")})
    kept = Kept(
        run.facts,
        BOOK.text,
        list(run.events),
        {event.event_id for event in run.events} if saved else set(),
        begun_here=True,
    )
    pane = Runbooks(list, desk)
    conductor = desk.conductor(kept)
    conductor.run, conductor.sync_error = run, "the database is away"
    pane._open(conductor)
    return pane


def start() -> Run:
    return begun(replace(FACTS), BOOK)


def moved(run: Run) -> Run:
    """Its times, to those of the pictures."""
    shift = FACTS.started_at - start_of(run)
    return replace(run, events=tuple(replace(event, at=event.at + shift) for event in run.events))


def start_of(run: Run) -> datetime:
    return min(event.at for event in run.events) - timedelta(seconds=1)


@pytest.mark.parametrize("size", SIZES, ids=["120x36", "80x24"])
@pytest.mark.parametrize("state", STATES)
def test_run(state: str, size: tuple[int, int], tmp_path: Path) -> None:
    pane = pane_at(moved(STATES[state](start())), tmp_path)
    lines = pane.draw(LIVE, size[0], size[1])
    check(f"run-{state}", size, plain(lines) + "\n")


@pytest.mark.parametrize("size", SIZES, ids=["120x36", "80x24"])
def test_run_on_this_machine_only_with_all_of_its_evidence(size: tuple[int, int], tmp_path: Path) -> None:
    pane = pane_at(moved(failed(start())), tmp_path, saved=False)
    pane.do_text("", LIVE)
    check("run-everything", size, plain(pane.draw(LIVE, *size)) + "\n")


@pytest.mark.parametrize("size", [(60, 15), (30, 8), (200, 60), (99, 40), (20, 4), (120, 10)])
@pytest.mark.parametrize("state", STATES)
def test_any_size_is_drawn(state: str, size: tuple[int, int], tmp_path: Path) -> None:
    lines = pane_at(STATES[state](start()), tmp_path).draw(LIVE, *size)
    assert len(lines) == size[1]
    assert all(sum(len(span.text) for span in line) <= size[0] for line in lines)


def test_the_cursor_begins_at_what_is_suggested_and_stays_where_it_was_put(tmp_path: Path) -> None:
    pane = pane_at(decision(start()), tmp_path)
    pane.draw(LIVE, 120, 36)
    assert pane.table.chosen[0].id == "option-1"
    pane.table.move(1)
    pane.draw(LIVE, 120, 36)
    assert pane.table.chosen[0].id == "option-2"


def test_a_run_is_journaled_as_it_is_shown(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    kept = journal.begin(FACTS, BOOK.text)
    journal.add(kept, Event("e1", NOW, "iot_u_anna", "laptop", Kind.NOTED, "look", {"text": "✓ ünïcode"}))
    found = journal.read(FACTS.run_id)
    assert found is not None
    assert (found.facts, found.events) == (FACTS, kept.events)
