"""Nobody who follows a runbook needs to know the system: an operator who takes only what is suggested mends real faults.

One stack; each test breaks something of it, and the run has to leave it mended, with the evidence in the database.
"""

import asyncio
import json
import os
import shutil
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from agent.creds.render import ACL_FILE
from probes.actions import ACTIONS
from probes.broker import BrokerLogin
from probes.catalogue import ask
from probes.finding import Outcome
from probes.mqtt import LoginRefused
from probes.mqtt import connect as mqtt_connect
from probes.tls import verifying_context
from stack import operations, remote
from stack.local import AGENT_LOGIN, LocalAgent, LocalStack, fleet, short_directory
from stack.sshd import SshServer
from store import agents, brokers, credentials, dead_letters, requests, runs, series
from store.db import Db, connected
from store.series import Stored
from store.target import parse_target
from tui import library
from tui import profile as profiles
from tui.runbook import timeline
from tui.runbook.conduct import Conductor
from tui.runbook.desk import Desk, made
from tui.runbook.keeping import Cause
from tui.runbook.offer import suggestion
from tui.runbook.presence import watched
from tui.way import Way

LIMIT = "disk_free_percent"
WRONG = "wrong-since-the-rotation"


@dataclass
class Scene:
    stack: LocalStack
    agent: LocalAgent
    desk: Desk
    db: Db

    async def until(self, holds: Callable[[], Awaitable[bool]], what: str, seconds: float = 60) -> None:
        ends_at = time.monotonic() + seconds
        while not await holds():
            assert time.monotonic() < ends_at, what
            await asyncio.sleep(0.1)

    async def well(self) -> None:
        """As before the test."""
        for part in ("broker", "canary", "database"):
            await self.until(lambda part=part: self._part(part), f"{part} is not well again")  # type: ignore[misc]

    async def _part(self, part: str) -> bool:
        found = await ask(self.desk.world(), "agent.part", {"part": part})
        return found.outcome is Outcome.PASS

    async def silent(self) -> bool:
        return (await agents.all_agents(self.db))[0].age_seconds > 21

    async def superuser(self, statement: str) -> None:
        connection = await asyncpg.connect(self.stack.cluster.superuser_url(self.stack.database))
        await connection.execute(statement)
        await connection.close()


@pytest_asyncio.fixture(scope="module")
async def scene() -> AsyncIterator[Scene]:
    directory = short_directory("iot-runbook")
    stack = LocalStack(directory, creds=True)
    await stack.cluster.start()
    await stack.prepare(fleet(2))
    stack.broker.start()
    # an agent that leaves the mending of files to people for a while
    settings = operations.agent_settings(stack) | {
        "creds__poll_seconds": 60, "creds__check_seconds": 3600, "canary__interval_seconds": 1.0,
    }  # fmt: skip
    agent = stack.agent(settings=settings)
    agent.start()
    await agent.ready()
    password = stack.agent_url.split(":")[2].split("@")[0]

    async def agent_password() -> str:
        connection = await asyncpg.connect(stack.cluster.superuser_url(stack.database))
        await connection.execute(f"alter role {AGENT_LOGIN} password '{password}'")
        await connection.close()
        return "the former version of the secret is back"

    async def free_disk() -> str:
        (agent.state_dir / "fill").unlink()
        return "freed"

    path = operations.socket_path(stack)
    deeds = {**operations.deeds(stack, agent), "agent-password": agent_password, "free-disk": free_disk}
    more = {name.replace("-", "_"): remote.command(path, name) for name in ("agent-password", "free-disk")}
    file = profiles.load(operations.write_profile(stack, "DEMO", more))
    profile = file.profiles[operations.PROFILE]
    way = Way(profile.target(profiles.password_file(profile.password.removeprefix("file:"))))
    async with remote.served(path, deeds), connected(way.target, "test", 2) as db, watched(db) as present:
        desk = made(way, directory / "console", "DEMO", profile, ())
        desk.db = present
        found = Scene(stack, agent, desk, db)
        await found.well()
        yield found
    await asyncio.to_thread(stack.stop)
    shutil.rmtree(directory, ignore_errors=True)


async def drilled(
    scene: Scene, runbook: str, by_hand: Callable[[Conductor], Awaitable[str]] | None = None, **values: str
) -> Conductor:
    """Only what is suggested is taken. Where words are asked for, there are some.

    by_hand: does what a step says in words, and returns the id of the offer that is taken then; "" for the suggested.
    """
    book = library.read(library.directory() / f"{runbook}.md")
    filled = scene.desk.needs(book, {}, values)
    assert not filled.asked
    conductor = await scene.desk.begin(book, filled.values, Cause(mode="drill"))
    for _ in range(60):
        if not conductor.run.open:
            break
        found = conductor.offers()
        wanted = await by_hand(conductor) if by_hand is not None else ""
        likely = next((offer for offer in found if offer.id == wanted), None) or suggestion(found)
        assert likely is not None, f"at {conductor.run.here} nothing is suggested"
        await conductor.take(likely.id, ["a drill"] * len(likely.asks))
    story = timeline.markdown(conductor.run, conductor.run.facts.started_at)
    assert (conductor.run.state, conductor.run.outcome) == ("done", "mended"), story
    await scene.until(lambda: _synced(conductor), "the database does not have all of it")
    row = (await runs.runs(scene.db, conductor.run.facts.run_id))[0]
    assert (row.state, row.mode, row.runbook) == ("done", "drill", runbook)
    assert len(await runs.events(scene.db, row.run_id)) == len(conductor.run.events)
    return conductor


async def _synced(conductor: Conductor) -> bool:
    return await conductor.sync()


def went(conductor: Conductor) -> list[str]:
    """The steps that were settled, in order."""
    found: list[str] = []
    for event in conductor.run.events:
        if event.step and event.body.get("state") and (not found or found[-1] != event.step):
            found.append(event.step)
    return found


async def asked(scene: Scene, name: str, **args: object) -> requests.Answer:
    """As a person would, without a runbook."""
    request_id = str(uuid.uuid4())
    await requests.put(scene.db, request_id, scene.agent.name, name, args, None, 30, name in ACTIONS)
    return await requests.answer(scene.db, request_id, 40)


async def test_the_agent_does_only_what_is_in_its_table(scene: Scene) -> None:
    for name, args, word in (
        ("shell.run", {"command": "id"}, "knows no shell.run"),
        ("broker.restart", {"unit": "ssh"}, "does not take these parameters"),
        ("ingest.pause", {}, "does not take these parameters"),
        ("ingest.pause", {"minutes": 600}, "at most 20"),
        ("journal.tail", {"service": "../../etc/shadow"}, "service is one of broker, agent"),
        ("db.connect", {"max_ms": 1, "target": "x"}, "does not take these parameters"),
    ):
        answer = await asked(scene, name, **args)
        assert answer.state == "refused", name
        assert answer.result is not None
        assert word in answer.result["found"]
    events = [event for event in scene.agent.events() if event["event"] == "asked by a person"]
    assert {event["by"] for event in events} == {"iot_u_owner"}


async def test_a_broker_that_could_not_start_is_not_restarted(scene: Scene) -> None:
    """The key does not fit the certificate, as after a renewal that went wrong: the running broker is left alone."""
    broker = scene.stack.broker
    key = broker.directory / "server.key"
    good, pid = key.read_bytes(), broker.pid
    other = broker.directory / "other"
    other.mkdir()
    broker.authority.issue(other)
    key.write_bytes((other / "server.key").read_bytes())
    answer = await asked(scene, "broker.restart")
    assert (answer.state, broker.pid, broker.alive) == ("failed", pid, True)
    assert answer.result is not None
    assert "not restarted" in answer.result["found"]
    key.write_bytes(good)
    shutil.rmtree(other)


async def test_ingest_pauses_for_a_time_and_loses_nothing(scene: Scene) -> None:
    assert (await asked(scene, "ingest.pause", minutes=5)).state == "done"
    await scene.until(lambda: _paused(scene), "it does not pause")
    before = scene.agent.metrics()["iot_ingest_received_total"]
    fleet_of = scene.stack.simulator(scene.stack.state / "fleet.log", "--rate", "20", "--seconds", "2")
    assert await asyncio.to_thread(fleet_of.wait, 30) == 0
    assert scene.agent.metrics()["iot_ingest_received_total"] == before
    assert (await asked(scene, "ingest.resume")).state == "done"
    good = fleet_of.report()["good"]
    query = "select count(*) from public.telemetry where tenant_id > 0"

    async def arrived() -> bool:
        return int(str(await scene.db.value(query))) >= good

    await scene.until(arrived, "what the broker kept did not arrive")
    await scene.well()


async def _paused(scene: Scene) -> bool:
    found = await ask(scene.desk.world(), "agent.part", {"part": "broker"})
    return "paused by a person" in found.found


async def test_a_step_back_takes_out_what_was_added_and_brings_nothing_back(scene: Scene) -> None:
    """Of the set before, neither a revoked device nor a replaced password; what is new waits for a newer set."""
    old, rotated, new = (credentials.new_secret() for _ in range(3))
    made = await credentials.create(scene.db, "acme", {"stolen-1": old.stored, "turned-1": old.stored})
    await scene.until(lambda: _in_force(scene, made), "the first set is not in force")
    await credentials.revoke(scene.db, "acme", "stolen-1", "stolen", None)
    await credentials.rotate(scene.db, "acme", "turned-1", rotated.stored, timedelta(0), True)
    made = await credentials.create(scene.db, "acme", {"late-1": new.stored})
    await scene.until(lambda: _in_force(scene, made), "the new set is not in force")
    assert await _lets_in(scene, "acme/devices/late-1", new.password)
    answer = await asked(scene, "creds.restore")
    assert answer.result is not None
    assert (answer.state, answer.result["outcome"]) == ("done", "pass"), answer
    assert "without what was added since set" in answer.result["found"]
    for name, password in (("stolen-1", old), ("turned-1", old), ("late-1", new)):
        assert not await _lets_in(scene, f"acme/devices/{name}", password.password), name
    again = await asked(scene, "creds.apply")
    assert again.result is not None
    assert again.result["outcome"] == "pass", again
    assert await _lets_in(scene, "acme/devices/late-1", new.password)
    await scene.well()


async def test_nothing_is_restored_while_the_broker_is_away(scene: Scene) -> None:
    await asyncio.to_thread(scene.stack.broker.stop)
    await scene.until(lambda: _down(scene), "the agent does not notice")
    answer = await asked(scene, "creds.restore")
    await asyncio.to_thread(scene.stack.broker.start)
    assert answer.result is not None
    assert (answer.state, answer.result["outcome"]) == ("failed", "fail")
    assert "does not answer its administrator" in answer.result["found"]
    await scene.well()


async def _down(scene: Scene) -> bool:
    found = await ask(scene.desk.world(), "agent.part", {"part": "broker"})
    return found.outcome is Outcome.FAIL


async def _lets_in(scene: Scene, user: str, password: str) -> bool:
    place = scene.desk.listener
    assert place is not None
    login = BrokerLogin(place.host, place.port, verifying_context(place.ca_file, place.name), user, password)
    try:
        async with mqtt_connect(login):
            return True
    except LoginRefused:
        return False


async def _in_force(scene: Scene, generation: int) -> bool:
    (row,) = await brokers.all_brokers(scene.db)
    return row.broker.generation >= generation and row.broker.state == "applied"


async def test_the_broker_is_killed(scene: Scene) -> None:
    await asyncio.to_thread(scene.stack.broker.kill)
    conductor = await drilled(scene, "broker-down")
    assert went(conductor) == [
        "outside", "inside", "vm", "which", "restart", "wait", "agent", "prove", "through", "close",
    ]  # fmt: skip
    assert conductor.run.results["inside.service"] is Outcome.FAIL
    evidence = timeline.markdown(conductor.run, conductor.run.facts.started_at)
    assert "restarted; devices are answered after" in evidence
    assert "New client connected" in evidence  # the broker's log was captured
    await scene.well()


async def test_the_broker_hangs(scene: Scene) -> None:
    scene.stack.broker.send(signal.SIGSTOP)
    conductor = await drilled(scene, "broker-down")
    assert conductor.run.results["outside.answers"] is Outcome.FAIL
    assert "restart" in went(conductor)
    await scene.well()


async def test_the_acl_is_broken(scene: Scene) -> None:
    """Somebody has edited the file by hand, and the broker has read it: nobody may do anything."""
    path = scene.stack.broker.files / ACL_FILE
    path.write_text("user nobody\ntopic read nothing\n")
    scene.stack.broker.send(signal.SIGHUP)
    conductor = await drilled(scene, "device-cannot-connect", tenant="acme", device="dev-0001")
    assert "apply" in went(conductor)
    assert conductor.run.results["prove"] is Outcome.PASS
    assert "nothing" not in path.read_text()
    await scene.well()


async def test_the_agents_password_is_wrong(scene: Scene) -> None:
    await scene.superuser(f"alter role {AGENT_LOGIN} password '{WRONG}'")
    await scene.superuser(f"select pg_terminate_backend(pid) from pg_stat_activity where usename = '{AGENT_LOGIN}'")
    await scene.until(scene.silent, "the agent still reports")
    conductor = await drilled(scene, "ingest-fails-after-rotation")
    assert "agent-password" in went(conductor)
    assert WRONG not in timeline.markdown(conductor.run, conductor.run.facts.started_at)
    await scene.well()


async def test_the_certificate_has_ended(scene: Scene) -> None:
    broker = scene.stack.broker
    broker.authority.issue(broker.directory, days=-1)
    broker.write_files()
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(broker.start)
    conductor = await drilled(scene, "tls-cert")
    assert went(conductor) == ["served", "renew", "files", "serve", "prove", "close"]
    assert conductor.run.results["served.trusted"] is Outcome.FAIL
    await scene.well()


async def test_the_database_is_blocked(scene: Scene) -> None:
    """Somebody's open transaction holds what every batch needs."""
    connection = await asyncpg.connect(scene.stack.cluster.superuser_url(scene.stack.database))
    await connection.execute("begin; lock table iot.ingest_minute in access exclusive mode")
    await scene.until(lambda: _waits(scene), "nobody waits for the lock")
    conductor = await drilled(scene, "db-timeout")
    assert "unblock" in went(conductor)
    assert connection.is_closed()
    await scene.well()


async def _waits(scene: Scene) -> bool:
    return (await ask(scene.desk.world(), "db.locks", {})).outcome is Outcome.FAIL


async def test_the_database_is_stopped(scene: Scene) -> None:
    """The run is kept on this machine until the database is back."""
    await asyncio.to_thread(scene.stack.cluster.stop)
    await scene.until(lambda: _away(scene), "the database is still there")
    conductor = await drilled(scene, "db-timeout")
    assert went(conductor)[:3] == ["reach", "which", "start"]
    assert conductor.run.results["reach.port"] is Outcome.FAIL
    await scene.well()


async def _away(scene: Scene) -> bool:
    return scene.desk.db() is None


async def test_the_disk_is_full(scene: Scene, tmp_path: Path) -> None:
    """As far as it may be filled here: the profile says what counts as full."""
    usage = shutil.disk_usage(scene.agent.state_dir)
    size = min(int(usage.total * 0.006), 4 * 2**30)
    scene.desk.config = {**scene.desk.config, f"limits.{LIMIT}": f"{100 * (usage.free - size / 2) / usage.total:.3f}"}
    with (scene.agent.state_dir / "fill").open("wb") as stream:
        await asyncio.to_thread(_allocate, stream.fileno(), size)
    conductor = await drilled(scene, "vm-pressure")
    assert went(conductor)[:4] == ["what", "cpu", "which", "disk"]
    assert not (scene.agent.state_dir / "fill").exists()


def _allocate(file: int, size: int) -> None:
    os.posix_fallocate(file, 0, size)


async def test_the_agent_is_gone(scene: Scene) -> None:
    scene.agent.process.kill()
    await scene.until(scene.silent, "the agent still reports")
    conductor = await drilled(scene, "agent-silent")
    assert went(conductor)[:4] == ["known", "vm", "which", "start"]
    await scene.well()


async def test_messages_cannot_be_stored(scene: Scene) -> None:
    """The operator reads the reason, chooses the case that names it, and does what its step says."""
    await _no_letters(scene)
    bad = scene.stack.simulator(scene.stack.state / "bad.log", "--rate", "40", "--seconds", "2", "--bad", "0.9")
    assert await asyncio.to_thread(bad.wait, 30) == 0

    async def by_hand(conductor: Conductor) -> str:
        step = conductor.run.step
        if step is not None and step.id == "which":
            reasons = conductor.run.marks["why"].evidence
            names = {"unknown-device": "unknown-device", "not-json": "not-json", "too": "too-large"}
            word = next(name for word, name in names.items() if word in reasons)
            return next(offer.id for offer in conductor.offers() if word in offer.words)
        if step is not None and step.id == "again":
            await _no_letters(scene)
        return ""

    conductor = await drilled(scene, "dead-letters", by_hand)
    assert conductor.run.results["why.letters"] is Outcome.FAIL
    assert went(conductor)[-3:] == ["again", "prove", "close"]


async def _no_letters(scene: Scene) -> None:
    rows = await scene.db.rows("select dead_letter_id from iot.dead_letters where state = 'open' and tenant_id > 0")
    if rows:
        await dead_letters.handle(scene.db, [row["dead_letter_id"] for row in rows], "discard")


async def test_the_bill_is_three_times_as_high(scene: Scene) -> None:
    day = 86_400.0
    today = time.time() // day * day
    bills = [Stored("azure.cost.daily", {}, today - n * day, 3.0 if n > 1 else 9.0) for n in range(1, 12)]
    async with connected(parse_target(scene.stack.agent_url), "test", 1) as agent:
        await series.put_stored(agent, bills, "agent-1")

    async def by_hand(conductor: Conductor) -> str:
        return "option-1" if conductor.run.here == "which" else ""

    conductor = await drilled(scene, "cost-spike", by_hand)
    assert conductor.run.results["how.cost"] is Outcome.FAIL
    assert went(conductor)[-3:] == ["logs", "tomorrow", "close"]


AZ = """#!/bin/sh
case "$1 $2 $3" in
  "network nsg show") cat {here}/nsg ;;
  "network nsg rule") sed -i s/198.51.100.1/203.0.113.7/ {here}/nsg; {open} ;;
  "vm get-instance-view"*) echo '{{"instanceView": {{"statuses": [{{"code": "PowerState/running"}}]}}}}' ;;
  *) exit 3 ;;
esac
"""
RULE = {
    "name": "allow-ssh", "priority": 100, "access": "Allow", "direction": "Inbound", "protocol": "Tcp",
    "destinationPortRange": "22", "sourceAddressPrefix": "198.51.100.1/32",
}  # fmt: skip


async def test_nobody_gets_in_by_ssh(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network group that knows another address: an az that keeps its rule in a file, and an sshd that is reached
    once the rule is right."""
    server = SshServer(tmp_path / "ssh")
    path = tmp_path / "open"

    async def reachable() -> str:
        await asyncio.to_thread(server.start)
        return "reachable"

    (tmp_path / "nsg").write_text(json.dumps({"name": "iot-nsg", "securityRules": [RULE]}))
    program = tmp_path / "az"
    program.write_text(AZ.format(here=tmp_path, open=" ".join(remote.command(path, "reachable"))))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    before = scene.desk.config, scene.desk.ssh
    azure = {"resource_group": "iot", "vm": "vm", "nsg": "iot-nsg", "my_ip": "203.0.113.7"}
    scene.desk.config = {**scene.desk.config, **{f"azure.{name}": value for name, value in azure.items()}}
    scene.desk.ssh = ("-F", str(server.client_config), "vm")
    try:
        async with remote.served(path, {"reachable": reachable}):
            conductor = await drilled(scene, "ssh-lockout")
    finally:
        await asyncio.to_thread(server.stop)
        scene.desk.config, scene.desk.ssh = before
    assert went(conductor) == ["what", "which", "my-address", "prove", "close"]
    assert [conductor.run.results[key] for key in ("what.ssh", "what.reach", "what.power")] == [
        Outcome.FAIL, Outcome.FAIL, Outcome.PASS,
    ]  # fmt: skip
