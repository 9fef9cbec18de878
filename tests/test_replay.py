"""Dead letters taken again: a real database, and the writer that the agent uses."""

import asyncio
import time

import asyncpg
import pytest

from agent.ingest.decode import Limits
from agent.ingest.delivery import Delivery
from agent.ingest.places import Places, UnknownDevices
from agent.ingest.replay import Replay
from agent.ingest.topics import TopicTemplate
from agent.ingest.writer import Names, Writer
from store import dead_letters, directory, members
from store.db import Db, connected
from store.members import Role
from store.target import parse_target
from tests.servers import Database

TOPIC = "tenants/acme/devices/late/t"
TEMPLATE = TopicTemplate("tenants/{tenant}/devices/{device}/{channel...}")


def writer(db: Db) -> Writer:
    places = Places(db, UnknownDevices.REJECT, ttl=0.0, missing_ttl=0.0)
    return Writer(db, Names("a", "1"), TEMPLATE, (), Limits(), places)


async def test_a_message_of_a_device_that_was_unknown_is_stored_once_it_is_known(
    database: Database, owner: Db, agent: Db
) -> None:
    tenant_id = await directory.create_tenant(owner, "acme", "Acme")
    await owner.execute("select iot.ensure_partitions(current_date - 1, current_date)")
    sent_at = time.time() - 60
    good, bad = (Delivery(TOPIC, payload, 1, 1, 1, sent_at, None) for payload in (b'{"n": 1}', b"{"))
    assert (await writer(agent).write([good, bad])).dead_letters == 2
    replay = Replay(agent, writer(agent), 30)
    assert await replay.tick(time.time()) == 0, "nobody asked"
    async with connected(parse_target(await database.person_url("iot_u_opa", "acme", Role.OPERATOR)), "t", 1) as opa:
        await owner.execute("update iot.dead_letters set tenant_id = $1", tenant_id)
        ids = [letter.dead_letter_id for letter in await dead_letters.newest(opa, 10)]
        assert await dead_letters.handle(opa, ids, "replay") == 2
        assert await replay.tick(time.time()) == 2
        assert {(x.state, x.replaying) for x in await dead_letters.newest(opa, 10)} == {("open", False)}
        await directory.register(owner, [(tenant_id, "late")])
        assert await dead_letters.handle(opa, ids, "replay") == 2
        assert await replay.tick(time.time()) == 2
        states = {x.reason: (x.state, x.replaying) for x in await dead_letters.newest(opa, 10)}
        assert states == {"unknown-device": ("replayed", False), "not-json": ("open", False)}
        assert await dead_letters.handle(opa, ids, "discard") == 1
    assert await replay.tick(time.time()) == 0
    rows = await database.fetch("select payload::text, extract(epoch from ts)::float8 from public.telemetry")
    assert rows == [('{"n": 1}', rows[0][1])]
    assert abs(float(str(rows[0][1])) - sent_at) < 1, "the time it came first, not the time of the replay"


LETTER = """
insert into iot.dead_letters (tenant_id, msg_hash, first_at, last_at, agent_id, topic, qos, payload, reason, detail, replay_at)
values (1, $1, now() - make_interval(days => $2), now(), 'a', $3, 1, $4, 'not-json', 'old', now())"""


async def known_device(owner: Db) -> None:
    tenant_id = await directory.create_tenant(owner, "acme", "Acme")
    await directory.register(owner, [(tenant_id, "late")])
    await owner.execute("select iot.ensure_partitions(current_date - 8, current_date)")


async def test_what_is_older_than_retention_is_not_stored_to_be_dropped(
    database: Database, owner: Db, agent: Db
) -> None:
    await known_device(owner)
    await owner.execute(LETTER, 1, 40, TOPIC, b"{}")
    await owner.execute(LETTER, 2, 410, TOPIC, b"{}")
    await owner.execute(LETTER, 3, 1, TOPIC, b"{}")
    replay = Replay(agent, writer(agent), 30)
    assert await replay.tick(time.time()) == 3
    states = await database.fetch("select reason, state::text from iot.dead_letters order by msg_hash")
    assert states == [("too-old", "open"), ("too-old", "open"), ("not-json", "replayed")]
    assert await replay.tick(time.time()) == 0


async def test_one_that_the_database_refuses_holds_up_nobody(database: Database, owner: Db, agent: Db) -> None:
    """Beyond the range of partitions, with a retention that would allow it."""
    await known_device(owner)
    await owner.execute(LETTER, 1, 410, TOPIC, b"{}")
    await owner.execute(LETTER, 2, 1, TOPIC, b"{}")
    assert await Replay(agent, writer(agent), 1000).tick(time.time()) == 2
    states = await database.fetch("select reason, state::text from iot.dead_letters order by msg_hash")
    assert states == [("refused-by-database", "open"), ("not-json", "replayed")]


async def test_a_refused_replay_changes_neither_its_times_nor_its_age(database: Database, owner: Db, agent: Db) -> None:
    await known_device(owner)
    await owner.execute(LETTER, 1, 20, TOPIC, b"{")
    assert await Replay(agent, writer(agent), 30).tick(time.time()) == 1
    rows = await database.fetch(
        "select times, last_at > now() - interval '1 hour', detail <> 'old', replay_at is null from iot.dead_letters"
    )
    assert rows == [(1, True, True, True)]
    assert await database.fetch("select coalesce(sum(dead_letters), 0)::int from iot.ingest_minute") == [(0,)]


async def test_the_same_again_after_a_replay_is_a_new_one(database: Database, owner: Db, agent: Db) -> None:
    await known_device(owner)
    bad = Delivery(TOPIC, b"{", 1, 1, 1, time.time() - 500_000, None)
    assert (await writer(agent).write([bad])).dead_letters == 1
    await owner.execute("update iot.dead_letters set state = 'replayed', closed_by = 'x'")
    assert (await writer(agent).write([bad._replace(received_at=time.time())])).dead_letters == 1
    rows = await database.fetch(
        "select state::text, times, closed_by, first_at > now() - interval '1 hour' from iot.dead_letters"
    )
    assert rows == [("open", 1, None, True)]


async def test_an_open_transaction_of_a_person_is_ended(database: Database, owner: Db, agent: Db) -> None:
    await known_device(owner)
    await owner.execute(LETTER, 1, 1, TOPIC, b"{")
    connection = await asyncpg.connect(await database.person_url("iot_u_opa", "acme", Role.OPERATOR))
    await connection.execute("set idle_in_transaction_session_timeout = 0")
    await connection.execute("begin")
    await connection.execute("select iot.dead_letters_handle('{1}', 'reopen')")
    assert await members.cut_stuck(agent) == 0, "it may still be at work"
    async with asyncio.timeout(30):
        while not await members.cut_stuck(agent):
            await asyncio.sleep(0.2)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
        await connection.execute("commit")
