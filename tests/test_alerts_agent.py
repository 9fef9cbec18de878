"""Alerts as an on-call engineer meets them: real agents, broker and database, a webhook that counts."""

import asyncio
import hashlib
import hmac
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest_asyncio

from agent.alerts.book import FILE
from stack.local import LocalAgent, LocalStack, Tenant, short_directory
from stack.sink import Sink
from store import agents
from store.db import Db, connected
from store.target import parse_target

ROOT = Path(__file__).parent.parent
HOLD, INTERVAL, COLLECT = 2.0, 1.0, 1.0
RULES = """
version: 1
defaults: {interval: 1s}
routes:
  - {channels: [hook], group_by: [alertname, agent], group_wait: 0s, repeat: 2s}
inhibit:
  - {when: {alertname: DatabaseUnavailable}, mute: {alertname: Muted}}
groups:
  - name: all
    rules:
      - {id: mqtt, alert: MqttDown, expr: last(agent.mqtt.connected) == 0, for: 2s, keep_firing_for: 1s, runbook: x,
         labels: {severity: critical}, annotations: {summary: "no session since {{ active_for }}"}}
      - {id: database, alert: DatabaseUnavailable, expr: last(agent.db.up) == 0, for: 2s, runbook: x,
         labels: {severity: critical}}
      - {id: silent, alert: AgentSilent, expr: age(agents.last_seen) > 4s, runbook: x}
"""


class Scene:
    """A stack with agents whose alerts go to a sink."""

    def __init__(self, stack: LocalStack, sink: Sink, owner: Db) -> None:
        self.stack = stack
        self.sink = sink
        self.owner = owner
        self.rules = stack.state / "alerts.yaml"
        self.rules.write_text(RULES)

    def agent(self, name: str, **settings: object) -> LocalAgent:
        found = self.stack.agent(name, {
            "alerts__file": str(self.rules), "alerts__sample_seconds": 0.5, "alerts__tick_seconds": 0.2,
            "alerts__direct_after_seconds": 1.0, **settings,
        })  # fmt: skip
        text = f'[alerts.channels.hook]\nkind = "webhook"\nurl = "{self.sink.url}/hook"\nsecret = "s3cret"\n'
        found.config_file.write_text(found.config_file.read_text() + text)
        return found

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 30.0) -> float:
        """Wait; returns when it came true."""
        ends_at = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < ends_at, f"{what}: {[r.raw for r in self.sink.received][-5:]}"
            await asyncio.sleep(0.05)
        return time.time()

    async def events(self, alert: str) -> list[tuple[str, int]]:
        """(kind, how many) in the database."""
        rows = await self.owner.rows(
            "select kind, count(*) from iot.alert_events where labels ->> 'alertname' = $1 group by 1 order by 1", alert
        )
        return [(row["kind"], row["count"]) for row in rows]

    def console(self, *argv: str) -> "subprocess.CompletedProcess[str]":
        file = self.stack.state / "owner.url"
        file.write_text(self.stack.owner_url)
        command = [sys.executable, "-m", "tui", "--url-file", str(file), *argv]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    directory = short_directory("iot-alerts")
    stack = LocalStack(directory)
    sink = Sink()
    await stack.cluster.start()
    await stack.prepare([Tenant("acme", ("d1",))])
    stack.broker.start()
    async with connected(parse_target(stack.owner_url), "test", 2) as owner:
        yield Scene(stack, sink, owner)
    await asyncio.to_thread(stack.stop)
    sink.stop()
    shutil.rmtree(directory, ignore_errors=True)


async def test_an_alert_that_really_fires(scene: Scene) -> None:
    """(a) healthy: nothing. (b) the broker dies: one row, one message, in time. (c) the agent is killed meanwhile: the
    same episode. (d) acknowledged: reminders stop. (e) mended: one end with the new value. (g) a second agent all along."""
    sink, stack = scene.sink, scene.stack
    first, second = scene.agent("agent-1"), scene.agent("agent-2")
    for agent in (first, second):
        agent.start()
    for agent in (first, second):
        await agent.ready()
    await asyncio.sleep(8)
    assert sink.received == []  # (a)
    assert await scene.events("MqttDown") == []

    broken_at = time.time()
    stack.broker.kill()
    told = await scene.until(lambda: len(sink.said("MqttDown", "firing")) == 2, "both agents say it once")
    assert told - broken_at < HOLD + INTERVAL + COLLECT + 3  # (b)
    assert await scene.events("MqttDown") == [("firing", 2)]

    first.process.kill()  # (c)
    first.start()
    await scene.until(lambda: len(sink.said("MqttDown", "repeat")) >= 4, "reminders of both go on")
    assert len(sink.said("MqttDown", "firing")) == 2
    assert await scene.events("MqttDown") == [("firing", 2)]

    listed = await asyncio.to_thread(scene.console, "alerts", "list")
    assert listed.returncode == 1
    ids = [line.split()[0] for line in listed.stdout.splitlines() if "MqttDown" in line]
    assert len(ids) == 2
    for event_id in ids:  # (d)
        assert (await asyncio.to_thread(scene.console, "alerts", "ack", event_id, "--note", "on it")).returncode == 0
    assert (await asyncio.to_thread(scene.console, "alerts", "list")).returncode == 0
    reminders = len(sink.said("MqttDown", "repeat"))
    await asyncio.sleep(5)
    assert len(sink.said("MqttDown", "repeat")) <= reminders + 1  # one may have been on its way

    await asyncio.to_thread(stack.broker.start)
    await scene.until(lambda: len(sink.said("MqttDown", "resolved")) == 2, "both ends are told")  # (e)
    assert sink.said("MqttDown", "resolved")[0].body["alerts"][0]["value"] == 1.0
    await asyncio.sleep(3)
    assert len(sink.said("MqttDown", "resolved")) == 2
    assert await scene.events("MqttDown") == [("acked", 2), ("firing", 2), ("resolved", 2)]  # (g)
    assert "s3cret" not in first.log.read_text() + second.log.read_text()


async def test_a_receiver_that_fails_is_tried_again_under_the_same_name(scene: Scene) -> None:
    """(f) 500 three times: delivered later, at the fourth try, signed."""
    sink = scene.sink
    agent = scene.agent("agent-1")
    agent.start()
    await agent.ready()
    sink.answers.extend([500, 500, 500])
    scene.stack.broker.kill()
    await scene.until(lambda: bool(sink.said("MqttDown", "firing")), "delivered in the end", 60)
    tries = [
        r
        for r in sink.received
        if r.headers["Idempotency-Key"] == sink.said("MqttDown", "firing")[0].headers["Idempotency-Key"]
    ]
    assert [r.status for r in tries] == [500, 500, 500, 200]
    row = await scene.owner.row(
        "select attempts, status from iot.alert_outbox where message_id = $1", tries[0].headers["Idempotency-Key"]
    )
    assert row is not None
    assert row["attempts"] == 4
    stamp, _, mac = (
        tries[-1]
        .headers["X-Iot-Signature" if "X-Iot-Signature" in tries[-1].headers else "X-IoT-Signature"]
        .partition(",v1=")
    )
    expected = hmac.new(b"s3cret", f"{stamp.removeprefix('t=')}.".encode() + tries[-1].raw, hashlib.sha256).hexdigest()
    assert mac == expected


async def test_the_database_is_what_fails(scene: Scene) -> None:
    """Told without it, once; written down when it is back, once; and its end too. A restart meanwhile changes nothing."""
    sink, stack = scene.sink, scene.stack
    agent = scene.agent("agent-1")
    agent.start()
    await agent.ready()
    await asyncio.sleep(3)
    await asyncio.to_thread(stack.cluster.stop)
    await scene.until(lambda: bool(sink.said("DatabaseUnavailable", "firing")), "told directly")
    book = agent.state_dir / FILE  # a crash before it is written down there would tell it again
    await scene.until(lambda: bool(json.loads(book.read_text())["sent"]), "that it was told is kept")
    agent.process.kill()
    agent.start()
    await scene.until(
        lambda: len(sink.said("DatabaseUnavailable", "repeat")) >= 2, "reminders without the database", 40
    )
    await stack.cluster.start()
    await scene.until(lambda: bool(sink.said("DatabaseUnavailable", "resolved")), "the end is told", 60)
    await asyncio.sleep(3)
    assert len(sink.said("DatabaseUnavailable", "firing")) == 1
    assert len(sink.said("DatabaseUnavailable", "resolved")) == 1
    assert await scene.events("DatabaseUnavailable") == [("firing", 1), ("resolved", 1)]
    rows = await scene.owner.rows(
        "select settled, ended_at is not null as ended from iot.alert_episodes where alert = 'DatabaseUnavailable'"
    )
    assert [(r["settled"], r["ended"]) for r in rows] == [(True, True)]
    assert await scene.owner.value("select count(*) from iot.alert_outbox where status <> 'sent'") == 0


async def test_another_agent_says_when_one_is_gone(scene: Scene) -> None:
    first, second = scene.agent("agent-1"), scene.agent("agent-2")
    for agent in (first, second):
        agent.start()
    for agent in (first, second):
        await agent.ready()
    async with asyncio.timeout(30):  # nobody is missed who never reported
        while len(await agents.all_agents(scene.owner)) < 2:
            await asyncio.sleep(0.05)
    second.process.send(signal.SIGSTOP)
    await scene.until(lambda: bool(scene.sink.said("AgentSilent", "firing")), "agent-2 is missed", 90)
    [message] = scene.sink.said("AgentSilent", "firing")
    assert message.body["alerts"][0]["labels"]["agent"] == "agent-2"
    second.process.send(signal.SIGCONT)
    await scene.until(lambda: bool(scene.sink.said("AgentSilent", "resolved")), "agent-2 is back")
    assert await scene.events("AgentSilent") == [("firing", 1), ("resolved", 1)]


async def test_rules_change_while_it_runs(scene: Scene) -> None:
    """An invalid file changes nothing and is said; a good one is taken over; an outside watcher is called all along."""
    agent = scene.agent("agent-1", alerts__ping_url=f"{scene.sink.url}/ping", alerts__ping_seconds=1.0)
    agent.start()
    await agent.ready()
    await scene.until(lambda: any(r.path == "/ping" for r in scene.sink.received), "the outside watcher is called")
    scene.rules.write_text(RULES.replace("== 0", "== "))
    await scene.until(
        lambda: any(e.get("event", "").startswith("the rules' file cannot") for e in _texts(agent)), "said"
    )
    read = next(event["path"] for event in _texts(agent) if event["event"] == "rules loaded")
    assert read == str(scene.rules)
    assert await asyncio.to_thread(_part, agent) == 0.0
    scene.rules.write_text(RULES.replace("== 0, for: 2s, keep", ">= 0, keep"))  # always true
    await scene.until(lambda: bool(scene.sink.said("MqttDown", "firing")), "the new rule fires")
    scene.rules.write_text(RULES.replace("alert: MqttDown", "alert: Other"))
    await scene.until(lambda: bool(scene.sink.said("MqttDown", "resolved")), "the old one ends")
    row = await scene.owner.row("select end_reason from iot.alert_episodes where alert = 'MqttDown'")
    assert row is not None
    assert row["end_reason"] == "rule_changed"


async def test_people_change_rules_and_try_them(scene: Scene) -> None:
    agent = scene.agent("agent-1")
    agent.start()
    await agent.ready()
    file = scene.stack.state / "rule.yaml"
    file.write_text(
        "id: quiet\nalert: Quiet\nexpr: age(telemetry.last_seen) >= 0\nrunbook: x\nlabels: {severity: info}\n"
    )
    done = await asyncio.to_thread(scene.console, "rules", "put", "acme", str(file))
    assert (done.returncode, "acme/quiet is stored" in done.stdout) == (0, True)
    await scene.until(lambda: bool(scene.sink.said("Quiet", "firing")), "a tenant's rule fires")
    [message] = scene.sink.said("Quiet", "firing")
    assert message.body["alerts"][0]["labels"] == {
        "alertname": "Quiet", "device": "d1", "severity": "info", "tenant": "acme",
    }  # fmt: skip
    tried = await asyncio.to_thread(scene.console, "rules", "eval", "mqtt")
    assert (tried.returncode, "inactive" in tried.stdout) == (0, True), tried.stderr
    tried = await asyncio.to_thread(scene.console, "rules", "eval", "nothing")
    assert (tried.returncode, "there is no rule nothing" in tried.stderr) == (1, True)
    shown = await asyncio.to_thread(scene.console, "rules", "list")
    assert (shown.returncode, "acme/quiet" in shown.stdout) == (0, True)
    silenced = await asyncio.to_thread(
        scene.console, "alerts", "silence", "alertname=Quiet", "--for", "1h", "--reason", "known"
    )
    assert silenced.returncode == 0
    file.write_text("id: quiet\nalert: Quiet\nexpr: last(vm.cpu_percent) > 1\nrunbook: x\n")
    refused = await asyncio.to_thread(scene.console, "rules", "put", "acme", str(file), "--revision", "1")
    assert (refused.returncode, "belongs to no tenant" in refused.stderr) == (2, True)


def _texts(agent: LocalAgent) -> list[dict[str, str]]:
    return [{k: str(v) for k, v in event.items()} for event in agent.events()]


def _part(agent: LocalAgent) -> float:
    return agent.metrics().get('iot_part_ok{part="alerts"}', -1.0)
