"""Runs in the database and on the machine: rights, two people at once, without a database, and what an agent is asked."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from probes.finding import Outcome
from probes.redact import Redactor
from store import agents, directory, requests, runs
from store.db import Db, connected
from store.errors import Conflict, Denied, StoreError
from store.members import Role
from store.target import Target, parse_target
from tests.screens import STATUS
from tests.servers import Database
from tests.test_run import BOOK
from tui.runbook import keeping
from tui.runbook.conduct import Conductor, OfferError
from tui.runbook.desk import Desk
from tui.runbook.journal import Journal
from tui.runbook.keeping import Cause
from tui.runbook.perform import executed
from tui.runbook.run import Event, Kind, folded

NOW = datetime.now(UTC)
AGENT = "vm-weu"


class People:
    """Sessions of people, by name; each has a console on a machine of its own."""

    def __init__(self, database: Database, stack: AsyncExitStack, folder: Path) -> None:
        self._database = database
        self._stack = stack
        self._folder = folder
        self.sessions: dict[str, Db] = {}
        self.targets: dict[str, Target] = {}

    async def add(self, name: str, role: Role = Role.OPERATOR, tenant: str = "platform") -> Db:
        self.targets[name] = parse_target(await self._database.person_url(f"iot_u_{name}", tenant, role))
        db = await self._stack.enter_async_context(connected(self.targets[name], "test", 2))
        self.sessions[name] = db
        return db

    def desk(self, name: str, away: bool = False) -> Desk:
        desk = Desk(self.targets[name], self._folder / name, "TEST")
        desk.db = lambda: None if away else self.sessions[name]
        return desk


@pytest_asyncio.fixture
async def people(database: Database, owner: Db, tmp_path: Path) -> AsyncIterator[People]:
    await directory.create_tenant(owner, "acme", "Acme")
    await directory.create_tenant(owner, "globex", "Globex")
    async with AsyncExitStack() as stack:
        yield People(database, stack, tmp_path)


def facts(run_id: str, tenant: str = "platform", **more: Any) -> dict[str, Any]:
    return {"run_id": run_id, "tenant": tenant, "runbook": "broker-down", "content": BOOK.text, "vars": {},
            "alert_id": None, "mode": "live", "started_at": NOW, **more}  # fmt: skip


def event(kind: str, step: str = "", **body: Any) -> dict[str, Any]:
    return {"event_id": str(uuid.uuid4()), "step_id": step, "at": datetime.now(UTC), "origin": "laptop", "kind": kind,
            "body": body, "supersedes": None}  # fmt: skip


async def test_writing_the_same_twice_is_harmless(people: People) -> None:
    anna, run_id = await people.add("anna"), str(uuid.uuid4())
    written = [event("started"), event("checked", "look", state="fail", expected=0)]
    for _ in range(2):
        recorded = await runs.record(anna, facts(run_id), written)
        assert (recorded.owner, recorded.state, recorded.conflicts) == ("iot_u_anna", "open", ())
    assert [row.kind for row in await runs.events(anna, run_id)] == ["started", "checked"]
    (step,) = await runs.steps(anna, run_id)
    assert (step.state, step.version) == ("fail", 1)


async def test_the_actor_is_who_logged_in_and_not_who_they_say(people: People) -> None:
    anna, run_id = await people.add("anna"), str(uuid.uuid4())
    forged = {**event("noted", text="x"), "actor": "iot_u_ben", "recorded_at": NOW - timedelta(days=9)}
    await runs.record(anna, {**facts(run_id), "owner": "iot_u_ben", "started_by": "iot_u_ben"}, [forged])
    (row,) = await runs.runs(anna)
    assert (row.owner, row.started_by) == ("iot_u_anna", "iot_u_anna")
    assert [one.actor for one in await runs.events(anna, run_id)] == ["iot_u_anna"]


async def test_only_operators_of_the_tenant_write_and_only_its_people_read(people: People) -> None:
    acme = await people.add("carla", Role.OPERATOR, "acme")
    viewer = await people.add("vera", Role.VIEWER, "acme")
    other = await people.add("olaf", Role.OWNER, "globex")
    run_id = str(uuid.uuid4())
    await runs.record(acme, facts(run_id, "acme"), [event("started")])
    assert len(await runs.runs(viewer)) == len(await runs.events(viewer, run_id)) == 1
    for read in (runs.runs, runs.events, runs.steps):
        assert await read(other, run_id) == []
    for db, tenant in ((viewer, "acme"), (other, "acme"), (acme, "globex"), (acme, "platform")):
        with pytest.raises(Denied):
            await runs.record(db, facts(str(uuid.uuid4()), tenant), [])
    with pytest.raises(Denied):  # somebody else's run under one's own tenant
        await runs.record(other, facts(run_id, "globex"), [event("noted", text="mine now")])
    for statement in (
        "insert into iot.runbook_events (event_id, run_id, at, origin, kind, body) values (gen_random_uuid(), $1, now(), 'x', 'noted', '{}')",
        "update iot.runbook_events set body = '{}' where run_id = $1",
        "delete from iot.runbook_events where run_id = $1",
        "update iot.runbook_runs set owner = session_user where run_id = $1",
        "select iot.step_put($1, 'look', 'pass', 0)",
    ):
        with pytest.raises(StoreError):
            await acme.execute(statement, run_id)


async def test_whoever_claims_a_step_first_does_it(people: People) -> None:
    anna, run_id = await people.add("anna"), str(uuid.uuid4())
    ben = await people.add("ben")
    await runs.record(anna, facts(run_id), [event("started")])
    with pytest.raises(Conflict, match="iot_u_anna has this run now"):
        await runs.claim(ben, run_id, "restart", 0, 60)
    assert await runs.claim(anna, run_id, "restart", 0, 60) == 1
    with pytest.raises(Conflict, match="iot_u_anna was faster: restart is running"):
        await runs.claim(anna, run_id, "restart", 0, 60)
    recorded = await runs.record(anna, facts(run_id), [event("did", "restart", state="done", expected=1)])
    assert recorded.conflicts == ()
    assert [(s.state, s.version) for s in await runs.steps(anna, run_id)] == [("done", 2)]


async def test_two_people_never_overwrite_each_other(people: People) -> None:
    """Anna works without a database, Ben takes over; both did the same step. The timeline has both, the step Ben's."""
    anna, ben, run_id = await people.add("anna"), await people.add("ben"), str(uuid.uuid4())
    await runs.record(anna, facts(run_id), [event("started")])
    await runs.record(
        ben, facts(run_id), [event("taken", why="she is away"), event("done", "look", state="done", expected=0)]
    )
    recorded = await runs.record(anna, facts(run_id), [event("checked", "look", state="fail", expected=0)])
    assert recorded.owner == "iot_u_ben"
    (conflict,) = recorded.conflicts
    assert (conflict.step, conflict.state, conflict.actor) == ("look", "done", "iot_u_ben")
    assert [row.kind for row in await runs.events(anna, run_id)] == ["started", "taken", "done", "checked"]


async def begun(people: People, name: str, away: bool = False) -> Conductor:
    values = {"host": "h", "device": "d1", "rule": "r"}
    return await people.desk(name, away).begin(BOOK, values, Cause())


async def test_without_a_database_a_run_is_kept_here_and_written_there_later(people: People) -> None:
    anna = await people.add("anna")
    conductor = await begun(people, "anna", away=True)
    await conductor.take("skip", ["known from the alert"])
    await conductor.take("note", ["it is dark"])
    assert (conductor.saved, await runs.runs(anna)) == (False, [])
    desk = people.desk("anna")
    (kept,) = desk.journal.all()
    assert (desk.journal._path(kept.facts.run_id).stat().st_mode & 0o777, len(kept.unsynced)) == (0o600, 3)
    await desk.push_waiting()
    run_id = kept.facts.run_id
    assert [row.kind for row in await runs.events(anna, run_id)] == ["started", "skipped", "noted"]
    again = await desk.resume(run_id[:6])
    assert again is not None
    assert again.run == conductor.run
    assert (again.saved, again.notice) == (True, "")


async def test_a_run_goes_on_on_another_machine_and_is_taken_over_with_a_note(people: People) -> None:
    await people.add("anna")
    await people.add("ben")
    first = await begun(people, "anna")
    await first.take("skip", ["known"])
    second = await people.desk("ben").resume(first.run.facts.run_id[:8])
    assert second is not None
    assert (second.run.here, second.run.events) == (first.run.here, first.run.events)
    assert second.notice  # its runbook is none of this machine's
    assert [offer.id for offer in second.offers()] == ["take", "note"]
    with pytest.raises(OfferError, match="does the other know"):
        await second.take("take")
    await second.take("take", ["anna sleeps"])
    await second.take("option-1")
    await first.pull()
    assert (first.run.owner, first.run.here) == ("iot_u_ben", "restart")
    with pytest.raises(OfferError):
        await first.take("do")


async def test_a_handed_over_run_waits_for_whoever_accepts(people: People) -> None:
    await people.add("anna")
    await people.add("ben")
    first = await begun(people, "anna")
    first._write(Kind.HANDED, "look", {"state": "done", "expected": 0, "answers": {"What": "all"}, "next": "prove"})
    await first.sync()
    second = await people.desk("ben").resume(first.run.facts.run_id)
    assert second is not None
    assert [offer.id for offer in second.offers()] == ["accept", "note"]
    await second.take("accept")
    assert (second.run.owner, second.run.here) == ("iot_u_ben", "prove")


async def test_text_from_the_database_does_not_become_a_command(people: People) -> None:
    """An operator of a tenant writes a run whose runbook is called as a shipped one, and has a step of his own."""
    acme = await people.add("carla", Role.OPERATOR, "acme")
    await people.add("anna", Role.OWNER)
    run_id = str(uuid.uuid4())
    await runs.record(acme, facts(run_id, "acme"), [event("started"), event("went", "look", next="restart")])
    desk = people.desk("anna")
    desk.config = {"commands.start": ("touch", str(desk.state_dir / "owned"))}
    found = await desk.resume(run_id)
    assert found is not None
    await found.take("take", ["he is away"])
    assert found.run.here == "restart"
    assert "not a runbook of this machine" in found.notice
    assert not {"do", "undo", "run"} & {offer.id for offer in found.offers()}
    with pytest.raises(OfferError):
        await found.take("do")
    assert not (desk.state_dir / "owned").exists()


async def test_one_run_that_cannot_be_read_hides_no_other(people: People) -> None:
    acme = await people.add("carla", Role.OPERATOR, "acme")
    anna = await people.add("anna", Role.OWNER)
    run_id = str(uuid.uuid4())
    await runs.record(acme, {**facts(run_id, "acme"), "content": "no runbook", "started_at": "9000-01-01"}, [])
    conductor = await begun(people, "anna")
    desk = people.desk("anna")
    assert {one.run_id for one in await desk.runs()} == {run_id, conductor.run.facts.run_id}
    with pytest.raises(ValueError, match="cannot read the runbook"):
        await desk.resume(run_id)
    assert {one.run_id for one in await desk.runs()} == {run_id, conductor.run.facts.run_id}
    with pytest.raises(StoreError):
        await runs.record(acme, facts(run_id, "acme"), [event("zz")])
    assert (await runs.runs(anna))[0].run_id == conductor.run.facts.run_id  # not by the time that somebody says


async def test_a_late_take_over_does_not_take_the_run_from_whoever_has_it(people: People) -> None:
    anna, ben = await people.add("anna"), await people.add("ben")
    run_id, at = str(uuid.uuid4()), datetime.now(UTC)
    await runs.record(anna, facts(run_id), [event("started")])
    await runs.record(ben, facts(run_id), [event("taken", why="now")])
    late = {**event("taken", why="an hour ago"), "at": at - timedelta(hours=1)}
    ended = {**event("ended", state="abandoned", outcome="x"), "at": datetime.now(UTC)}
    recorded = await runs.record(anna, facts(run_id), [late, ended])
    assert (recorded.owner, recorded.state) == ("iot_u_ben", "open")
    assert await runs.claim(ben, run_id, "restart", 0, 60) == 1


async def test_a_claim_whose_beginning_was_lost_can_be_claimed_again(people: People) -> None:
    """Killed between the claim and the journal: nothing has begun, and whoever resumes it is not locked out."""
    anna = await people.add("anna")
    conductor = await begun(people, "anna")
    run_id = conductor.run.facts.run_id
    assert await runs.claim(anna, run_id, "restart", 0, 1) == 1
    await asyncio.sleep(1.1)
    conductor._write(Kind.WENT, "look", {"next": "restart"})
    await conductor.take("do")
    assert [row.state for row in await runs.steps(anna, run_id) if row.step_id == "restart"] == ["unknown"]


async def test_what_an_agent_is_asked_as_no_action_it_does_not_do(people: People, agent: Db) -> None:
    from agent.duties import Duties
    from agent.requests import Requests

    anna = await people.add("anna")
    await agents.beat(agent, AGENT, "0.1.0", NOW, NOW, STATUS)
    request_id = await put(anna, changes=False)
    asker = Requests(agent, AGENT, cast("Duties", None))
    assert await asker.tick()
    answer = await requests.answer(anna, request_id, 1)
    assert answer.state == "refused"


async def test_notes_with_strange_characters_come_back(people: People) -> None:
    await people.add("anna")
    conductor = await begun(people, "anna")
    await conductor.take("note", ["one\u2028two\x85three\x00four\x1b[31m"])
    kept = people.desk("anna").journal.read(conductor.run.facts.run_id)
    assert kept is not None
    assert kept.events[-1].body["text"] == "one\u2028two\x85threefour\x1b[31m"
    assert conductor.saved


async def test_a_command_that_does_not_end_is_stopped_with_what_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    mark = tmp_path / "mark"
    found = await executed(["sh", "-c", f"(sleep 3; touch {mark}); true"], 0.3, Redactor())
    assert found.outcome is Outcome.UNKNOWN
    assert time.monotonic() - began < 2
    assert not mark.exists()


async def test_much_evidence_is_cut_to_what_the_database_takes(people: People) -> None:
    await people.add("anna")
    conductor = await begun(people, "anna")
    many = {f"probe-{n}": {"outcome": "fail", "found": "ü" * 300, "evidence": "ü" * 8000} for n in range(9)}
    conductor._write(Kind.CHECKED, "look", {"state": "fail", "outcome": "fail", "results": many, "expected": 0})
    assert await conductor.sync(), conductor.sync_error
    assert conductor.run.results["look"] is Outcome.FAIL


async def test_two_works_at_once_are_one(people: People) -> None:
    await people.add("anna")
    conductor = await begun(people, "anna")
    offer = next(one for one in conductor.offers() if one.id == "run")
    first, second = await asyncio.gather(conductor.take(offer), conductor.take(offer), return_exceptions=True)
    assert isinstance(first, str)
    assert isinstance(second, OfferError)
    with pytest.raises(OfferError, match="has moved meanwhile"):
        await conductor.take(offer)


async def test_a_secret_never_reaches_disk_or_database(people: People) -> None:
    anna = await people.add("anna")
    password = people.targets["anna"].password
    assert password is not None
    conductor = await begun(people, "anna")
    await conductor.take("note", [f"I tried {password} and postgresql://x:{password}@h/db"])
    await conductor.take("skip", [password])
    conductor.correct(conductor.run.events[-1].event_id, f"with {password}")
    await conductor.sync()
    stored = json.dumps([row.body for row in await runs.events(anna, conductor.run.facts.run_id)])
    on_disk = "".join(path.read_text() for path in (people.desk("anna").state_dir / "runs").iterdir())
    assert password not in stored + on_disk
    assert stored.count("[hidden]") >= 3


def test_a_journal_that_was_cut_off_by_a_crash_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    kept = keeping.begin(journal, BOOK, {}, "anna", Cause(), NOW)
    path = tmp_path / "runs" / f"{kept.facts.run_id}.jsonl"
    with path.open("a") as stream:
        stream.write('{"event": {"event_id": "half')
    found = journal.read(kept.facts.run_id)
    assert found is not None
    assert found.events == []
    journal.add(found, Event("e1", NOW, "anna", "laptop", Kind.NOTED, "", {"text": "on"}))
    again = journal.read(kept.facts.run_id)
    assert again is not None
    assert [one.event_id for one in again.events] == ["e1"]
    assert folded(again.facts, BOOK, again.events).here == "look"


async def test_a_journal_that_cannot_be_written_stops_the_step(people: People, tmp_path: Path) -> None:
    """Nothing happens that is not written down first."""
    await people.add("anna")
    conductor = await begun(people, "anna", away=True)
    path = people.desk("anna").state_dir / "runs"
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="No such file"):
        await conductor.take("skip", ["x"])
    assert conductor.run.here == "look"


# -- what an agent is asked


async def put(db: Db, name: str = "broker.restart", seconds: int = 30, changes: bool = True) -> str:
    request_id = str(uuid.uuid4())
    await requests.put(db, request_id, AGENT, name, {}, None, seconds, changes)
    return request_id


async def test_a_request_is_taken_once_and_answered(people: People, agent: Db, database: Database) -> None:
    anna = await people.add("anna")
    await agents.beat(agent, AGENT, "0.1.0", NOW, NOW, STATUS)
    request_id = await put(anna)
    await requests.put(anna, request_id, AGENT, "broker.restart", {}, None, 30, True)  # the same again is one
    taken = await requests.take(agent, AGENT)
    assert taken is not None
    assert (taken.request_id, taken.name, taken.requested_by) == (request_id, "broker.restart", "iot_u_anna")
    assert await requests.take(agent, AGENT) is None
    await requests.finish(agent, request_id, "done", {"outcome": "pass", "found": "restarted", "evidence": ""})
    answer = await requests.answer(anna, request_id, 1)
    assert (answer.state, answer.result and answer.result["found"]) == ("done", "restarted")
    actions = await database.fetch("select subject, actor from iot.audit_log where action = 'request action'")
    assert actions == [("broker.restart", "iot_u_anna")]


async def test_an_agent_that_comes_back_later_does_not_do_it(people: People, agent: Db, owner: Db) -> None:
    anna = await people.add("anna")
    await agents.beat(agent, AGENT, "0.1.0", NOW, NOW, STATUS)
    request_id = await put(anna)
    answer = await requests.answer(anna, request_id, 0.2)
    assert (answer.state, answer.result) == ("expired", None)
    assert await requests.take(agent, AGENT) is None
    late = await put(anna)
    await owner.execute("set role iot_admin")
    await owner.execute(
        "update iot.agent_requests set expires_at = now() - interval '1 second' where request_id = $1", late
    )
    assert await requests.take(agent, AGENT) is None
    assert (await requests.answer(anna, late, 1)).state == "expired"


async def test_what_was_running_when_an_agent_died_is_not_known(people: People, agent: Db) -> None:
    anna = await people.add("anna")
    await agents.beat(agent, AGENT, "0.1.0", NOW, NOW, STATUS)
    request_id = await put(anna)
    assert await requests.take(agent, AGENT) is not None
    await requests.begin(agent, AGENT)
    answer = await requests.answer(anna, request_id, 1)
    assert answer.result is not None
    assert answer.result["outcome"] == "unknown"


async def test_who_may_ask_an_agent(people: People, agent: Db) -> None:
    await agents.beat(agent, AGENT, "0.1.0", NOW, NOW, STATUS)
    viewer = await people.add("vera", Role.VIEWER)
    tenant = await people.add("carla", Role.OWNER, "acme")
    for db in (viewer, tenant):
        with pytest.raises(Denied):
            await put(db)
        with pytest.raises(StoreError):
            await db.execute("update iot.agent_requests set state = 'done'")
    anna = await people.add("anna")
    request_id = await put(anna)
    assert await tenant.rows("select 1 from iot.agent_requests") == []
    assert len(await viewer.rows("select 1 from iot.agent_requests")) == 1
    assert not await requests.withdraw(tenant, request_id)
    with pytest.raises(Conflict, match="there is no agent"):
        await requests.put(anna, str(uuid.uuid4()), "nobody", "broker.restart", {}, None, 30, True)
    with pytest.raises(Conflict, match="between 1 and 120"):
        await put(anna, seconds=9000)


async def test_a_process_that_is_killed_between_two_events_loses_none(people: People) -> None:
    """The journal is on the disk before the next thing happens: a copy of it at any time is a whole run."""
    await people.add("anna")
    conductor = await begun(people, "anna", away=True)
    folder = people.desk("anna").state_dir / "runs"
    before = list(folder.iterdir())
    await asyncio.gather(*(conductor.take("note", [f"note {n}"]) for n in range(5)))
    assert list(folder.iterdir()) == before
    kept = people.desk("anna").journal.all()[0]
    assert [one.body.get("text") for one in kept.events[1:]] == [f"note {n}" for n in range(5)]
