"""Dead letters taken again: a real database, and the writer that the agent uses."""

import time

from agent.ingest.decode import Limits
from agent.ingest.delivery import Delivery
from agent.ingest.places import Places, UnknownDevices
from agent.ingest.replay import Replay
from agent.ingest.topics import TopicTemplate
from agent.ingest.writer import Names, Writer
from store import dead_letters, directory
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
    replay = Replay(agent, writer(agent))
    assert await replay.tick() == 0, "nobody asked"
    async with connected(parse_target(await database.person_url("iot_u_opa", "acme", Role.OPERATOR)), "t", 1) as opa:
        await owner.execute("update iot.dead_letters set tenant_id = $1", tenant_id)
        ids = [letter.dead_letter_id for letter in await dead_letters.newest(opa, 10)]
        assert await dead_letters.handle(opa, ids, "replay") == 2
        assert await replay.tick() == 2
        assert {(x.state, x.replaying) for x in await dead_letters.newest(opa, 10)} == {("open", False)}
        await directory.register(owner, [(tenant_id, "late")])
        assert await dead_letters.handle(opa, ids, "replay") == 2
        assert await replay.tick() == 2
        states = {x.reason: (x.state, x.replaying) for x in await dead_letters.newest(opa, 10)}
        assert states == {"unknown-device": ("replayed", False), "not-json": ("open", False)}
        assert await dead_letters.handle(opa, ids, "discard") == 1
    assert await replay.tick() == 0
    rows = await database.fetch("select payload::text, extract(epoch from ts)::float8 from public.telemetry")
    assert rows == [('{"n": 1}', rows[0][1])]
    assert abs(float(str(rows[0][1])) - sent_at) < 1, "the time it came first, not the time of the replay"
