"""public.telemetry without partitions of ours, as deploy/timescale.sql makes it: agents and people do not notice."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from probes.catalogue import World, ask
from probes.finding import Outcome
from store import directory, partitions, telemetry
from store.db import Db, connected
from store.target import parse_target
from store.telemetry import Reading
from tests.servers import Database

FILE = Path(__file__).parent.parent / "deploy" / "timescale.sql"
NOW = datetime.now(UTC)


def readings(tenant_id: int, device_id: int) -> list[Reading]:
    """Of yesterday, today and in two months, for which no partition was made."""
    days = (timedelta(days=-1), timedelta(), timedelta(days=60))
    return [
        Reading(tenant_id, at, n, at.timestamp(), device_id, "tenants/acme/devices/d1/t", 1, '{"a": 1}', None, False)
        for n, at in enumerate(NOW + day for day in days)
    ]


async def plain(database: Database) -> None:
    """As its owner runs the file, without the extension that is not here."""
    ours = FILE.read_text().partition("create extension")[0]
    async with connected(parse_target(database.owner_url), "test", 1) as db:
        await db.execute(ours)


async def test_rows_are_stored_once_and_tenants_see_their_own(database: Database, owner: Db, agent: Db) -> None:
    await plain(database)
    tenant_id = await directory.create_tenant(owner, "acme", "Acme")
    await directory.create_tenant(owner, "globex", "Globex")
    await directory.register(owner, [(tenant_id, "d1")])
    device = (await directory.find(agent, [("acme", "d1")]))["acme", "d1"].device_id
    assert device is not None
    rows = readings(tenant_id, device)
    assert await telemetry.insert(agent, rows, "a") == 3
    assert await telemetry.insert(agent, rows, "a") == 0
    assert await partitions.ensure(agent, NOW.date(), NOW.date() + timedelta(days=3)) == 0
    assert await partitions.drop_older(agent, 90) == []
    for tenant, seen in (("acme", 1), ("globex", 0)):
        target = parse_target(await database.person_url(f"iot_u_{tenant}", tenant))
        async with connected(target, "test", 1) as db:
            assert len(await telemetry.newest(db, 10)) == seen
            assert await db.value("select count(*) from iot.telemetry_v") == 3 * seen
    target = parse_target(await database.person_url("iot_u_platform", "platform"))
    async with connected(target, "test", 2) as db:
        for check in ("db.rls", "db.exposed", "db.append_only", "db.pinned", "db.one_writer"):
            found = await ask(World(db, target), check, {})
            assert found.outcome is Outcome.PASS, (check, found)


async def test_a_table_with_rows_is_left_alone(database: Database, owner: Db, agent: Db) -> None:
    tenant_id = await directory.create_tenant(owner, "acme", "Acme")
    await partitions.ensure(agent, NOW.date(), NOW.date())
    await telemetry.insert(agent, readings(tenant_id, 1)[1:2], "a")
    with pytest.raises(Exception, match="has rows: this is for a new database"):
        await plain(database)
    assert await owner.value("select count(*) from public.telemetry") == 1
