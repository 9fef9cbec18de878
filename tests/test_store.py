import asyncio
import importlib
import pkgutil
from datetime import UTC, date, datetime, timedelta

import pytest

import store
from store import agents, dead_letters, directory, leases, partitions, rates, telemetry
from store.agents import AgentStatus, Part, PartState, Sample
from store.db import Db, connected
from store.dead_letters import DeadLetter
from store.errors import Misconfigured, NoPartition, Rejected, TooSlow, Unavailable
from store.target import parse_target
from store.telemetry import Reading
from tests.servers import Database

NOW = datetime.now(UTC).replace(hour=14, minute=0, second=0, microsecond=0)
TODAY = NOW.date()


def day(offset: int) -> date:
    return TODAY + timedelta(days=offset)


def part(offset: int) -> str:
    return f"telemetry_{day(offset):%Y%m%d}"


NOT_STATEMENTS = {"BOOTSTRAP", "ADOPT", "LOCK"}  # change what they talk about, tested where they run


def statements() -> list[tuple[str, str]]:
    found = []
    for info in pkgutil.iter_modules(store.__path__):
        module = importlib.import_module(f"store.{info.name}")
        for name, value in vars(module).items():
            looks_like_sql = isinstance(value, str) and value.strip().split(" ")[0] in (
                "select",
                "insert",
                "with",
                "update",
            )
            if name.isupper() and looks_like_sql and name not in NOT_STATEMENTS:
                found.append((f"{info.name}.{name}", value))
    return found


def reading(
    n: int = 1, tenant_id: int = 1, device_id: int = 1, bucket: datetime = NOW, payload: str = '{"t": 1}'
) -> Reading:
    return Reading(
        tenant_id, bucket, n, bucket.timestamp(), device_id, "tenants/acme/devices/d1/t", 1, payload, None, False
    )


@pytest.fixture
async def acme(owner: Db) -> int:
    """A tenant with one device, and partitions for some days."""
    tenant_id = await directory.create_tenant(owner, "acme", "Acme")
    await directory.register(owner, [(tenant_id, "d1")])
    await owner.execute("select iot.ensure_partitions($1, $2)", day(-3), day(2))
    return tenant_id


async def test_every_statement_fits_the_schema(database: Database) -> None:
    assert len(statements()) > 15
    connection = await database.superuser()
    for name, text in statements():
        try:
            await connection.prepare(text)
        except Exception as error:
            pytest.fail(f"{name}: {error}")
    await connection.close()


async def test_a_batch_is_stored_once_however_often_it_is_sent(agent: Db, acme: int, database: Database) -> None:
    batch = [reading(n, acme) for n in range(100)]
    assert await telemetry.insert(agent, batch, "a") == 100
    assert await telemetry.insert(agent, [*batch, reading(500, acme)], "a") == 1
    assert (
        await telemetry.insert(agent, [reading(7, acme), reading(8, acme), reading(600, acme), reading(600, acme)], "b")
        == 1
    )
    counts = await database.fetch("select agent_id, inserted, duplicates from iot.ingest_minute order by 1")
    assert counts == [("a", 101, 100), ("b", 1, 3)]
    assert await database.fetch("select count(*) from public.telemetry") == [(102,)]


async def test_an_earlier_copy_is_found_under_another_bucket(agent: Db, acme: int) -> None:
    await telemetry.insert(agent, [reading(n, acme) for n in range(50)], "a")
    found = await telemetry.stored_between(agent, {(acme, 3), (acme, 99)}, NOW - timedelta(minutes=1), NOW)
    assert found == {(acme, 3)}
    assert not await telemetry.stored_between(agent, {(acme, 3)}, NOW + timedelta(seconds=1), NOW + timedelta(hours=1))
    assert not await telemetry.stored_between(agent, {(acme + 1, 3)}, NOW - timedelta(hours=1), NOW)
    keys = {(acme, NOW, 3), (acme, NOW - timedelta(days=1), 4)}
    assert await telemetry.stored_in_buckets(agent, keys) == {(acme, 3)}


@pytest.mark.parametrize(
    "bad", ['{"t": "\\u0000"}', '{"t": NaN}', '{"t": 1e999999}', '"\\ud800"', "[" * 20_000 + "]" * 20_000]
)
async def test_a_value_the_database_cannot_hold_is_rejected_not_unavailable(agent: Db, acme: int, bad: str) -> None:
    with pytest.raises(Rejected):
        await telemetry.insert(agent, [reading(1, acme), reading(2, acme, payload=bad)], "a")
    assert await agent.value("select count(*) from public.telemetry") == 0


async def test_a_value_the_driver_cannot_encode_is_rejected(agent: Db, acme: int) -> None:
    with pytest.raises(Rejected):
        await telemetry.insert(agent, [reading(1, acme)._replace(device_id=2**70)], "a")


async def test_a_missing_partition_is_told_apart_from_bad_data(agent: Db, acme: int) -> None:
    with pytest.raises(NoPartition):
        await telemetry.insert(agent, [reading(1, acme, bucket=NOW + timedelta(days=30))], "a")


async def test_partitions_are_made_and_dropped_by_the_agent(agent: Db, acme: int) -> None:
    assert await partitions.ensure(agent, day(-12), day(4)) == 11
    assert await partitions.ensure(agent, day(-12), day(4)) == 0
    await telemetry.insert(agent, [reading(1, acme, bucket=NOW - timedelta(days=11)), reading(2, acme)], "a")
    assert await partitions.drop_older(agent, 10) == [part(-12), part(-11)]
    assert await agent.value("select count(*) from public.telemetry") == 1


async def test_no_agent_can_drop_the_last_days_or_make_partitions_anywhere(agent: Db, acme: int) -> None:
    await telemetry.insert(agent, [reading(1, acme)], "a")
    for days in (-1000, 0, 1):
        assert await partitions.drop_older(agent, days) == []
        await partitions.prune(agent, days)
    assert await rates.today(agent) == rates.Totals(1, 0, 0)
    for first, last in ((day(-500), day(0)), (day(0), day(120))):
        with pytest.raises(Unavailable, match="are refused: today is"):
            await partitions.ensure(agent, first, last)


async def test_making_partitions_does_not_wait_for_a_reader(agent: Db, acme: int, database: Database) -> None:
    await partitions.ensure(agent, day(-12), day(-12))
    reader = await database.superuser()
    async with reader.transaction():
        await reader.fetch("select * from public.telemetry")
        async with asyncio.timeout(60):  # the lock timeout of 2 s is what would end a wait
            assert await partitions.ensure(agent, day(3), day(3)) == 1
            await telemetry.insert(agent, [reading(1, acme)], "a")
        with pytest.raises(Unavailable):
            await partitions.drop_older(agent, 10)
    assert await partitions.drop_older(agent, 10) == [part(-12)]
    await reader.close()


async def test_a_refused_batch_is_stored_row_by_row_in_one_round_trip(agent: Db, acme: int, database: Database) -> None:
    batch = [reading(n, acme, payload='{"t": NaN}' if n % 5 == 0 else "{}") for n in range(50)]
    inserted, refused = await telemetry.insert_each(agent, [*batch, reading(1, acme)], "a")
    assert (inserted, [r.index for r in refused]) == (40, list(range(0, 50, 5)))
    assert {r.sqlstate for r in refused} == {"22P02"}
    assert await database.fetch("select inserted, duplicates from iot.ingest_minute") == [(40, 1)]
    with pytest.raises(NoPartition):
        await telemetry.insert_each(agent, [reading(1, acme, bucket=NOW + timedelta(days=30))], "a")


async def test_a_dead_letter_that_comes_again_is_counted(agent: Db, acme: int, database: Database) -> None:
    letter = DeadLetter(acme, 5, NOW, "tenants/acme/devices/d1/t", 1, b"{\x00", "not-json", "line 1")
    await dead_letters.put(agent, [letter, letter], "a")
    await dead_letters.put(agent, [letter], "a")
    assert await database.fetch("select times, payload, reason from iot.dead_letters") == [(3, b"{\x00", "not-json")]
    assert await database.fetch("select dead_letters from iot.ingest_minute") == [(3,)]


async def test_names_are_found_and_registered(agent: Db, acme: int) -> None:
    names = [("acme", "d1"), ("acme", "d2"), ("globex", "d1")]
    found = await directory.find(agent, names)
    assert found[("acme", "d1")].device_id is not None
    assert found[("acme", "d2")] == directory.Place(acme, None, False)
    assert ("globex", "d1") not in found
    await directory.register(agent, [(acme, "d2"), (acme, "d1")])
    assert (await directory.find(agent, names))[("acme", "d2")].device_id is not None
    with pytest.raises(Rejected):
        await directory.register(agent, [(acme, "D2/../x")])


async def test_a_lease_has_one_holder_and_its_epoch_grows(agent: Db) -> None:
    assert await leases.take(agent, "duty", "a", 30) == 1
    assert await leases.take(agent, "duty", "a", 30) == 1
    assert await leases.take(agent, "duty", "b", 30) is None
    assert await leases.take(agent, "duty", "a", -1) == 1
    assert await leases.take(agent, "duty", "b", 30) == 2


def status() -> AgentStatus:
    zeros = dict.fromkeys(AgentStatus.__dataclass_fields__, 0)
    parts = (Part("broker", PartState.CRIT, "gone"),)
    return AgentStatus(
        **zeros | {"host": "vm", "write_p95_ms": None, "canary_ms": 4.5, "last_message_at": NOW,
                   "last_commit_at": None, "last_error": None, "parts": parts}  # type: ignore[arg-type]
    )  # fmt: skip


async def test_a_heartbeat_comes_back_as_it_was_sent(agent: Db) -> None:
    await agents.beat(agent, "a", "1.0", NOW, NOW, status())
    (row,) = await agents.all_agents(agent)
    assert row.status == status()
    assert row.agent_id == "a"
    assert 0 <= row.age_seconds < 5


async def test_a_status_of_another_version_is_read_as_far_as_possible(agent: Db) -> None:
    await agents.beat(agent, "a", "1.0", NOW, NOW, status())
    await agent.execute("""update iot.agents set status = '{"host": "vm", "news": 1}'""")
    (row,) = await agents.all_agents(agent)
    assert (row.status.host, row.status.parts, row.status.last_error) == ("vm", (), None)


async def test_samples_are_kept_with_their_own_time_and_once(agent: Db) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    sample = Sample(now - timedelta(seconds=30), 12.5, 50.0, 40.0, 0.25, 0, 0, None, 7.5)
    await agents.put_samples(agent, "a", [sample])
    await agents.put_samples(agent, "a", [sample])
    assert await agents.recent_samples(agent, "a", 60) == [sample]
    assert await agents.recent_samples(agent, "a", 10) == []


async def test_rates_are_those_of_the_tenants_one_may_see(agent: Db, acme: int, database: Database) -> None:
    await telemetry.insert(agent, [reading(n, acme) for n in range(5)], "a")
    for login, tenant, expected in (("iot_u_all", "platform", 5), ("iot_u_acme", "acme", 5)):
        async with connected(parse_target(await database.person_url(login, tenant)), "test") as person:
            assert sum(m.inserted for m in await rates.by_minute(person, 5)) == expected
            assert (await rates.today(person)).inserted == expected


async def test_a_former_process_cannot_commit_behind_our_back(database: Database, agent: Db) -> None:
    url = parse_target(await database.agent_url("iot_agent_twice"))
    async with connected(url, "iot-agent a 1") as former, connected(url, "iot-agent a 2") as current:
        sleeping = asyncio.create_task(former.execute("select pg_sleep(60)"))
        while not await current.value("select count(*) from pg_stat_activity where query like 'select pg_sleep%'"):
            await asyncio.sleep(0.01)
        async with asyncio.timeout(10):  # less than the statement timeout, which would end it too
            await telemetry.end_former_sessions(current, "iot-agent a ", "iot-agent a 2")
            with pytest.raises(Unavailable):
                await sleeping


async def test_errors_say_who_must_react(database: Database) -> None:
    target = parse_target(database.owner_url)
    async with connected(parse_target(database.cluster.url("postgres", "wrong", database.name)), "test") as db:
        with pytest.raises(Misconfigured, match="check the user and password"):
            await db.value("select 1")
    async with connected(
        parse_target(database.cluster.url("postgres", "x", database.name, database.cluster.directory)), "test"
    ) as db:
        with pytest.raises(Unavailable, match="no connection"):
            await db.value("select 1")
    async with connected(target, "test") as db:
        with pytest.raises(Misconfigured, match="iot-agent migrate"):
            await db.value("select * from iot.no_such_table")
        with pytest.raises(TooSlow):
            await db.execute("set statement_timeout = '50ms'; select pg_sleep(5)")


async def test_a_killed_connection_is_replaced(database: Database, owner: Db) -> None:
    pid = await owner.value("select pg_backend_pid()")
    await database.fetch("select pg_terminate_backend($1)", pid)
    async with asyncio.timeout(60):
        while True:
            try:
                assert await owner.value("select 1") == 1
                break
            except Unavailable:
                continue
