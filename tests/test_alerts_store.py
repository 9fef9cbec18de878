"""Evaluations in the database: once each, whoever does them, and only by those who may."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from agent.alerts import backtest
from agent.alerts.book import Book
from agent.alerts.evaluator import Evaluator
from agent.alerts.history import History
from agent.alerts.sources import Limits, Sources
from alerting import rules
from alerting.evaluation import Asked
from alerting.machine import Labels
from alerting.rules import Rule
from store import alert_rules, alert_views, alerts, directory, series, telemetry
from store.db import Db, connected
from store.errors import Conflict, Denied
from store.members import Role
from store.series import Stored
from store.target import parse_target
from store.telemetry import Reading
from tests.servers import Database

NOW = datetime.now(UTC).replace(microsecond=0)
RULES = """
version: 1
defaults: {{interval: 15s}}
groups:
  - name: all
    rules:
      - {{id: silent, alert: Silent, expr: 'age(telemetry.last_seen) by (tenant, device) > 15m', for: {hold}, runbook: x,
         labels: {{severity: critical}}, annotations: {{summary: "{{{{ labels.device }}}} is silent"}}}}
"""


def rule(hold: str = "0s") -> Rule:
    return rules.load(RULES.format(hold=hold)).rules[0]


def asked(values: Mapping[str, float], found: Rule) -> Asked:
    """Values by device of tenant acme."""
    own: dict[str, str] = {"alertname": found.alert, "severity": "critical", "tenant": "acme"}
    rows: list[tuple[Labels, float]] = [
        (tuple(sorted({**own, "device": device}.items())), value) for device, value in values.items()
    ]
    return Asked(tuple(rows))


@pytest_asyncio.fixture
async def acme(owner: Db) -> int:
    tenant_id = await directory.create_tenant(owner, "acme", "Acme")
    await directory.create_tenant(owner, "globex", "Globex")
    await directory.register(owner, [(tenant_id, "d1"), (tenant_id, "d2")])
    await owner.execute("select iot.ensure_partitions($1, $2)", NOW.date() - timedelta(days=3), NOW.date())
    return tenant_id


def evaluator(db: Db, name: str, directory: Path) -> Evaluator:
    place = directory / name
    place.mkdir(exist_ok=True)
    return Evaluator(db, name, Book(place))


async def test_an_episode_from_beginning_to_end(agent: Db, owner: Db, acme: int, tmp_path: Path) -> None:
    by, found = evaluator(agent, "a", tmp_path), rule("30s")
    for slot, value in [(0.0, 1000.0), (15.0, 1000.0), (30.0, 1200.0), (45.0, 10.0)]:
        await by.one(found, asked({"d1": value}, found), slot)
        if slot == 15.0:
            assert await alert_views.pending(owner) == 1
    [row] = await owner.rows("select * from iot.alert_episodes")
    assert (row["tenant_id"], row["value"], row["end_value"]) == (acme, 1200.0, 10.0)
    assert (row["fired_at"].timestamp(), row["ended_at"].timestamp(), row["summary"]) == (30.0, 45.0, "d1 is silent")
    kinds = [r["kind"] for r in await owner.rows("select kind from iot.alert_events order by at")]
    assert kinds == ["firing", "resolved"]
    assert await owner.value("select count(*) from iot.alert_instances") == 0


async def test_nan_and_infinity_are_kept(agent: Db, owner: Db, acme: int, tmp_path: Path) -> None:
    by, found = evaluator(agent, "a", tmp_path), rule()
    await by.one(found, asked({"d1": float("inf")}, found), 15.0)
    assert await owner.value("select value from iot.alert_instances") == float("inf")


async def test_many_agents_without_a_leader_write_each_thing_once(
    database: Database, owner: Db, acme: int, tmp_path: Path
) -> None:
    """Four sessions evaluate every slot in their own order and speed; one of them is cut off again and again."""
    found = rule("30s")
    chance = random.Random(7)
    data = [{f"d{n}": chance.choice([10.0, 1000.0]) for n in range(6)} for _ in range(40)]
    url = await database.agent_url()

    async def evaluate(name: str, cut_off: bool) -> None:
        async with connected(parse_target(url), name, 2) as db:
            by = evaluator(db, name, tmp_path)
            for number, values in enumerate(data):
                try:
                    async with asyncio.timeout(0.004 if cut_off and number % 3 == 0 else 30):
                        await by.one(found, asked(values, found), 15.0 * (number + 1))
                except TimeoutError:  # in the middle of it; a slot that nobody evaluates would be another story
                    await by.one(found, asked(values, found), 15.0 * (number + 1))
                await asyncio.sleep(chance.random() * 0.01)

    await asyncio.gather(*(evaluate(f"a{n}", n == 3) for n in range(4)))
    many = await owner.rows("select fingerprint, episode, kind from iot.alert_events order by 1, 2, 3")
    await owner.execute("truncate iot.alert_events, iot.alert_episodes, iot.alert_instances, iot.alert_runtime")
    await evaluate("alone", False)
    alone = await owner.rows("select fingerprint, episode, kind from iot.alert_events order by 1, 2, 3")
    assert len(alone) > 20
    assert [tuple(row) for row in many] == [tuple(row) for row in alone]


async def test_quiet_rules_cost_one_statement_and_refuse_what_is_not_quiet(
    agent: Db, owner: Db, acme: int, tmp_path: Path
) -> None:
    by, found = evaluator(agent, "a", tmp_path), rule()
    sources = Sources(agent, History("a", {}), Limits(1e9), NOW.timestamp())
    await by.shared([found], sources)  # devices are new: nobody is silent
    assert await owner.value("select open from iot.alert_runtime") == 0
    assert await alerts.note_quiet(agent, "", "a", [alerts.Quiet("silent", NOW.timestamp() + 15, 2, 1.0)]) == {"silent"}
    assert await alerts.note_quiet(agent, "", "a", [alerts.Quiet("silent", NOW.timestamp() + 15, 2, 1.0)]) == set()
    await by.one(found, asked({"d1": 1000.0}, found), NOW.timestamp() + 30)
    assert await alerts.note_quiet(agent, "", "a", [alerts.Quiet("silent", NOW.timestamp() + 45, 2, 1.0)]) == set()


async def test_a_rule_that_is_renamed_or_gone_ends_what_it_has_open(
    agent: Db, owner: Db, acme: int, tmp_path: Path
) -> None:
    by, found = evaluator(agent, "a", tmp_path), rule()
    await by.one(found, asked({"d1": 1000.0, "d2": 1000.0}, found), 15.0)
    renamed = replace(found, alert="Quiet")
    await by.one(renamed, Asked(()), 30.0)
    reasons = await owner.rows("select alert, end_reason, ended_at is null as open from iot.alert_episodes")
    assert {tuple(row) for row in reasons} == {("Silent", "rule_changed", False)}
    await by.one(found, asked({"d1": 1000.0}, found), 45.0)
    await by.close_shared("silent", 60.0)
    assert await owner.value("select count(*) from iot.alert_episodes where ended_at is null") == 0


async def store_rows(agent: Db, tenant_id: int, device: str, payloads: list[str], ago: timedelta) -> None:
    found = (await directory.find(agent, [("acme", device)]))[("acme", device)]
    assert found.device_id is not None
    at = NOW - ago
    rows = [
        Reading(tenant_id, at, hash((device, n, ago)), at.timestamp() + n, found.device_id, "t", 1, text, None, False)
        for n, text in enumerate(payloads)
    ]
    await telemetry.insert(agent, rows, "a")


async def test_numbers_in_payloads_by_path(agent: Db, acme: int) -> None:
    texts = [
        '{"t": 1.5, "E": {"P w": 7}}',
        '{"t": 3}',
        '{"t": "hot"}',
        '{"t": 1e400}',
        '{"t": null}',
        "[]",
        '{"t": 2.5}',
    ]
    await store_rows(agent, acme, "d1", texts, timedelta(minutes=2))
    now = NOW.timestamp()
    [window] = await series.telemetry(agent, ["t"], now - 300, now, None, True)
    assert (window.labels, window.count, window.total) == ({"tenant": "acme", "device": "d1"}, 3, 7.0)
    assert (window.low, window.high, window.newest, sorted(window.numbers)) == (1.5, 3.0, 2.5, [1.5, 2.5, 3.0])
    assert [w.total for w in await series.telemetry(agent, ["E", "P w"], now - 300, now, "acme", False)] == [7.0]
    assert await series.telemetry(agent, ["t"], now - 300, now, "globex", False) == []
    assert await series.telemetry(agent, ["t"], now - 60, now, None, False) == []


async def test_silence_of_devices(agent: Db, acme: int) -> None:
    await store_rows(agent, acme, "d1", ["{}"], timedelta(minutes=20))
    now = NOW.timestamp()
    seen = {labels["device"]: now - at for labels, at in await series.last_seen(agent, now, 2, None, 0)}
    assert seen["d1"] == pytest.approx(1200, abs=1)
    assert seen["d2"] < 60  # new: counts from its creation


async def test_a_rule_over_the_past(agent: Db, owner: Db, acme: int) -> None:
    """d1 was silent for a while and talks again; d2 is new. Nothing later than a slot is seen at it."""
    await owner.execute("update iot.devices set created_at = now() - interval '1 day' where name = 'd1'")
    for ago in (110, 100, 90, 30, 20, 10, 0):  # minutes: silent from 90 to 30
        await store_rows(agent, acme, "d1", ["{}"], timedelta(minutes=ago))
    found = replace(rule(), interval=60.0)
    [span] = [s for s in await backtest.run(found, agent, 7200.0, 1e9) if s.fired_at > NOW.timestamp() - 6600]
    assert span.labels["device"] == "d1"
    assert span.fired_at - (NOW.timestamp() - 75 * 60) == pytest.approx(0, abs=61)
    assert span.ended_at is not None
    assert span.ended_at - (NOW.timestamp() - 30 * 60) == pytest.approx(0, abs=61)
    assert "d1" in span.line()
    with pytest.raises(ValueError, match="more than 50000 evaluations"):
        await backtest.run(replace(found, interval=1.0), agent, 86_400.0, 1e9)


async def test_no_question_scans_telemetry(database: Database, agent: Db, owner: Db, acme: int) -> None:
    """Whatever the size of the table: every partition is reached through an index."""
    await store_rows(agent, acme, "d1", ['{"t": 1}'] * 3, timedelta(minutes=2))
    await owner.execute("analyze public.telemetry")
    connection = await database.superuser()
    await connection.execute("set enable_seqscan = off")  # tables are small here; what has no index would still scan
    now = NOW.timestamp()
    for text, args in [
        (series.TELEMETRY, (now - 300, now, ["t"], None, False)),
        (series.LAST_SEEN, (now, 2, None, 0.0)),
    ]:
        plan = "\n".join(row[0] for row in await connection.fetch(f"explain {text}", *args))
        assert "Seq Scan on telemetry" not in plan
        assert plan.count("telemetry_") <= 3 * 5, "partitions far from the window are touched"
    await connection.close()


async def test_measurements_from_outside_are_replaced_when_corrected(agent: Db, owner: Db) -> None:
    await series.put_stored(agent, [Stored("azure.cost.daily", {"scope": "s"}, 100.0, 1.0)], "a")
    await series.put_stored(agent, [Stored("azure.cost.daily", {"scope": "s"}, 100.0, 2.0)], "a")
    [window] = await series.stored(agent, "azure.cost.daily", 0, 200)
    assert (window.newest, window.count, window.labels) == (2.0, 1, {"scope": "s"})


# -- people


@pytest_asyncio.fixture
async def firing(agent: Db, acme: int, tmp_path: Path) -> str:
    """The id of an alert of acme that fires, critical."""
    by, found = evaluator(agent, "a", tmp_path), rule()
    await by.one(found, asked({"d1": 1000.0}, found), 15.0)
    return (await alert_views.find(agent, "Silent"))[0]


async def test_operators_acknowledge_and_silence_and_viewers_look(database: Database, owner: Db, firing: str) -> None:
    url = await database.person_url("iot_u_op", "acme", Role.OPERATOR)
    async with connected(parse_target(url), "test") as db:
        await alert_views.ack(db, firing, "on it", None)
        [row] = await alert_views.episodes(db, timedelta(0))
        assert (row.acked, row.acked_by, row.ack_note) == (True, "iot_u_op", "on it")
        await alert_views.unack(db, firing)
        with pytest.raises(Conflict, match="is not acknowledged"):
            await alert_views.unack(db, firing)
        number = await alert_views.silence(db, "acme", {"alertname": "Silent"}, timedelta(hours=1), "known")
        assert (await alert_views.episodes(db, timedelta(0)))[0].silenced
        await alert_views.end_silence(db, number)
        assert await alert_views.silences(db) == []
        with pytest.raises(Conflict, match="would mute everything"):
            await alert_views.silence(db, "acme", {}, timedelta(hours=1), "x")
        with pytest.raises(Denied, match="you are no operator of tenant globex"):
            await alert_views.silence(db, "globex", {"a": "b"}, timedelta(hours=1), "x")
        with pytest.raises(Denied):
            await alert_rules.put(db, "acme", "r", {}, 0)
    url = await database.person_url("iot_u_view", "acme", Role.VIEWER)
    async with connected(parse_target(url), "test") as db:
        assert len(await alert_views.episodes(db, timedelta(0))) == 1
        for attempt in (alert_views.ack(db, firing, "", None), alert_views.unack(db, firing),
                        alert_views.silence(db, "acme", {"a": "b"}, timedelta(hours=1), "x"),
                        alert_rules.request(db, "acme/r")):  # fmt: skip
            with pytest.raises(Denied):
                await attempt
    assert [tuple(r) for r in await owner.rows("select kind, actor from iot.alert_events where kind like '%ack%' order by at")] == [
        ("acked", "iot_u_op"), ("unacked", "iot_u_op"),
    ]  # fmt: skip


async def test_another_tenant_sees_and_touches_nothing(database: Database, owner: Db, firing: str) -> None:
    async with connected(parse_target(await database.person_url("iot_u_g", "globex")), "test") as db:
        assert await alert_views.episodes(db, timedelta(0)) == []
        assert await alert_views.find(db, "Silent") == []
        for attempt in (alert_views.ack(db, firing, "", None), alert_views.unack(db, firing),
                        alert_rules.put(db, "acme", "r", {}, 0), alert_rules.put_numbers(db, "acme", "t", {}, True),
                        alert_rules.delete(db, "acme", "r", 1), alert_rules.request(db, "acme/r"),
                        alert_rules.request(db, "silent")):  # fmt: skip
            with pytest.raises(Denied):
                await attempt


TABLES = ["alert_rules", "alert_params", "alert_runtime", "alert_instances", "alert_episodes", "alert_events", "alert_silences",
          "alert_outbox", "alert_mentions", "alert_dispatch", "metric_samples", "rule_requests"]  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
async def test_nobody_writes_past_the_functions(database: Database, firing: str, table: str) -> None:
    person = await asyncpg.connect(await database.person_url("iot_u_a", "acme"))
    superuser = await database.superuser()
    column = await superuser.fetchval(
        "select column_name from information_schema.columns where table_schema = 'iot' and table_name = $1 and is_identity = 'NO' limit 1",
        table,
    )
    for statement in (f"delete from iot.{table}", f"insert into iot.{table} default values",
                      f"update iot.{table} set {column} = {column}"):  # fmt: skip
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await person.execute(statement)
    await superuser.execute("set role anon")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await superuser.fetch(f"select * from iot.{table}")
    await person.close()
    await superuser.close()


async def test_an_agent_cannot_write_a_tenants_rule(agent: Db, owner: Db, acme: int) -> None:
    await alert_rules.put(owner, "acme", "r", {"id": "r"}, 0)
    for statement in (
        "insert into iot.alert_rules (rule_key, tenant_id, name, origin, body) values ('acme/x', 1, 'x', 'tenant', '{}')",
        "update iot.alert_rules set body = '{}'",
    ):
        with pytest.raises(Denied):
            await agent.execute(statement)
    await agent.execute("delete from iot.alert_rules")
    assert await owner.value("select count(*) from iot.alert_rules") == 1


async def test_a_rule_that_somebody_else_changed_is_not_overwritten(owner: Db, acme: int) -> None:
    first = await alert_rules.put(owner, "acme", "r", {"v": 1}, 0)
    second = await alert_rules.put(owner, "acme", "r", {"v": 2}, first)
    with pytest.raises(Conflict, match="was changed by somebody else"):
        await alert_rules.put(owner, "acme", "r", {"v": 3}, first)
    with pytest.raises(Conflict, match="exists already"):
        await alert_rules.put(owner, "acme", "r", {"v": 3}, 0)
    with pytest.raises(Conflict, match="was changed by somebody else"):
        await alert_rules.delete(owner, "acme", "r", first)
    await alert_rules.delete(owner, "acme", "r", second)
    assert await alert_rules.put(owner, "acme", "r", {"v": 1}, 0) > second  # not mistaken for the old one


async def test_history_goes_and_what_is_open_stays(agent: Db, owner: Db, firing: str) -> None:
    await owner.execute("""update iot.alert_episodes set fired_at = now() - interval '1 year'""")
    await owner.execute("update iot.alert_events set at = now() - interval '1 year'")
    await agent.value("select iot.prune_alert_history(8)")
    assert await owner.value("select count(*) from iot.alert_episodes") == 1
    assert await owner.value("select count(*) from iot.alert_events") == 0
    await owner.execute("update iot.alert_episodes set ended_at = now() - interval '300 days', settled = true")
    await agent.value("select iot.prune_alert_history(8)")
    assert await owner.value("select count(*) from iot.alert_episodes") == 0
