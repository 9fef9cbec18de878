"""From a change in the database to what a device sees at a real broker."""

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.creds import identity
from agent.creds.files import KEEP, FileStore
from agent.creds.render import Files
from agent.creds.verify import PROBE_A
from probes.broker import BrokerError
from probes.mqtt import DENIED, LoginRefused, connect
from stack.broker import Broker
from stack.certificates import Authority
from stack.local import short_directory
from store import brokers, credentials, directory
from store.db import connected
from store.errors import Conflict
from store.target import parse_target
from tests.servers import Database
from tests.site import Site

WEEK = timedelta(days=7)
ROOT = Path(__file__).parent.parent


@pytest_asyncio.fixture
async def site(embedded_database: Database, authority: Authority) -> AsyncIterator[Site]:
    """acme with d1 and d2, globex with d1, in force at a running broker."""
    place = short_directory("iot-site")
    broker = Broker(place / "b", authority, managed=True)
    state_dir = place / "agent"
    state_dir.mkdir()
    owner_url, agent_url = embedded_database.owner_url, await embedded_database.agent_url()
    async with (
        connected(parse_target(owner_url), "owner", 4) as owner,
        connected(parse_target(agent_url), "agent", 4) as agent,
    ):
        for tenant in ("acme", "globex"):
            await directory.create_tenant(owner, tenant, tenant)
        found = Site(owner, agent, broker, state_dir)
        found.init()
        broker.start()
        await found.create("acme", "d1", "d2")
        generation = await found.create("globex", "d1")
        await found.start()
        await found.until(generation)
        yield found
        await found.stop()
        broker.stop()
    shutil.rmtree(place, ignore_errors=True)


async def test_only_the_agent_can_log_in_before_the_first_set(authority: Authority) -> None:
    place = short_directory("iot-site")
    broker = Broker(place / "b", authority, managed=True)
    site = Site(None, None, broker, place)  # type: ignore[arg-type]
    site.init()
    broker.start()
    assert not await site.lets_in("acme/devices/d1", "x")
    mine = identity.load(place).current
    async with connect(site.access.as_service(mine.control, mine.control_password)):
        pass
    assert (place / identity.FILE).stat().st_mode & 0o777 == 0o600
    broker.stop()
    shutil.rmtree(place)


async def test_a_new_device_logs_in_and_reaches_its_own_topics_only(site: Site) -> None:
    await site.until(await site.create("acme", "d3"))
    async with site.device("acme/devices/d3") as d3, site.device("globex/devices/d1") as other:
        await other.subscribe("tenants/globex/devices/d1/#")
        for topic_filter in ("#", "tenants/globex/#", "tenants/+/devices/+/#"):
            await d3.subscribe(topic_filter)
        assert await d3.publish("tenants/acme/devices/d3/t", b"1") < 0x80
        for topic in ("tenants/globex/devices/d1/t", "tenants/acme/devices/d1/t", "$CONTROL/dynamic-security/v1", "x"):
            assert await d3.publish(topic, b"{}") == DENIED, topic
        assert await other.publish("tenants/globex/devices/d1/t", b"mine") < 0x80
        assert (await other.messages.get())[1] == b"mine"
        await d3.ping()
        assert {d3.messages.get_nowait()[0] for _ in range(d3.messages.qsize())} == {"tenants/acme/devices/d3/t"}
    assert not await site.lets_in("acme/devices/d3", "wrong")
    assert not await site.lets_in("acme/devices/d4", "x")


async def test_a_rotation_has_no_gap_and_ends_with_the_first_new_login(site: Site) -> None:
    secret = credentials.new_secret()
    made = await credentials.rotate(site.owner, "acme", "d1", secret.stored, WEEK, False)
    assert made.username == "acme/devices/d1/b"
    await site.until(made.generation)
    async with site.device("acme/devices/d1") as old:
        assert await old.publish("tenants/acme/devices/d1/t", b"1") < 0x80
        (listed,) = [d for d in await credentials.devices(site.owner) if d.moving]
        assert listed.device == "d1"
        async with site.device(made.username, secret.password) as new:
            assert await new.publish("tenants/acme/devices/d1/t", b"1") < 0x80
            assert await new.publish("tenants/acme/devices/d2/t", b"1") == DENIED
            async with asyncio.timeout(60):
                await old.closed.wait()  # ended by the new login
            await new.ping()
    assert not await site.lets_in("acme/devices/d1")
    assert not [d for d in await credentials.devices(site.owner) if d.moving]
    back = await credentials.rotate(site.owner, "acme", "d1", credentials.new_secret().stored, WEEK, False)
    assert back.username == "acme/devices/d1"


async def test_a_lost_secret_is_replaced_while_the_old_one_goes_on(site: Site) -> None:
    lost = await credentials.rotate(site.owner, "acme", "d1", credentials.new_secret().stored, WEEK, False)
    secret = credentials.new_secret()
    again = await credentials.rotate(site.owner, "acme", "d1", secret.stored, WEEK, False)
    assert again.username == lost.username
    await site.until(again.generation)
    assert await site.lets_in("acme/devices/d1")
    assert await site.lets_in(again.username, secret.password)


async def test_keeping_the_user_name_cuts_the_old_session_at_once(site: Site) -> None:
    secret = credentials.new_secret()
    async with site.device("acme/devices/d1") as old:
        made = await credentials.rotate(site.owner, "acme", "d1", secret.stored, WEEK, True)
        await site.until(made.generation)
        async with asyncio.timeout(60):
            await old.closed.wait()
    assert made.username == "acme/devices/d1"
    assert not await site.lets_in("acme/devices/d1")
    assert await site.lets_in("acme/devices/d1", secret.password)


async def test_the_deadline_ends_what_has_not_moved(site: Site) -> None:
    made = await credentials.rotate(site.owner, "acme", "d1", credentials.new_secret().stored, WEEK, False)
    await site.owner.execute("update iot.credentials set ends_at = now() where ends_at is not null")
    await site.until(made.generation + 1)
    assert not await site.lets_in("acme/devices/d1")


async def test_revoking_cuts_the_live_session_and_purges_the_kept_one(site: Site) -> None:
    login = site.access.as_device("acme/devices/d1", site.passwords["acme/devices/d1"])
    async with connect(login) as live, site.device("acme/devices/d2") as unharmed:
        generation = await credentials.revoke(site.owner, "acme", "d1", "stolen", None)
        async with asyncio.timeout(60):
            await live.closed.wait()
        assert not await site.lets_in("acme/devices/d1")
        await site.until(generation)
        assert not await site.lets_in("acme/devices/d1")
        await unharmed.ping()
    dynsec = await dynamic_security(site)
    assert [c["username"] for c in dynsec["clients"]] == ["_control-a"]
    log = (site.broker.directory / "broker.log").read_text()
    assert "as acme/devices/d1 (p5, c1, k30, u'_ingest-a')" in log, "the kept session was replaced by a clean one"


async def test_a_disabled_device_is_out_until_it_is_enabled(site: Site) -> None:
    async with site.device("acme/devices/d1") as live:
        await site.until(await credentials.set_disabled(site.owner, "acme", "d1", True))
        await live.closed.wait()
    assert not await site.lets_in("acme/devices/d1")
    with pytest.raises(Conflict, match="disabled: enable it first"):
        await credentials.rotate(site.owner, "acme", "d1", credentials.new_secret().stored, WEEK, False)
    await site.until(await credentials.set_disabled(site.owner, "acme", "d1", False))
    assert await site.lets_in("acme/devices/d1")


async def test_a_rollback_brings_back_what_was_but_nothing_revoked(site: Site) -> None:
    before = await brokers.head(site.owner)
    rotated = credentials.new_secret()
    await credentials.rotate(site.owner, "acme", "d1", rotated.stored, timedelta(0), False)
    await site.until(await credentials.revoke(site.owner, "acme", "d2", "stolen", None))
    assert not await site.lets_in("acme/devices/d1")
    done = await credentials.rollback(site.owner, "acme", before)
    assert (done.restored, done.ended, done.left_out) == (1, 1, 1)
    await site.until(done.generation)
    assert await site.lets_in("acme/devices/d1")
    assert not await site.lets_in("acme/devices/d1/b", rotated.password)
    assert not await site.lets_in("acme/devices/d2"), "revoked stays revoked"
    assert await site.lets_in("globex/devices/d1"), "other tenants are not touched"


async def test_grants_come_go_and_roll_back(site: Site) -> None:
    status = "tenants/acme/devices/+/status"
    before = await credentials.grant(site.owner, "acme", "d1", "read", status)
    await site.until(before)
    async with site.device("acme/devices/d1") as d1, site.device("acme/devices/d2") as d2:
        await d1.subscribe(status)
        await d2.publish("tenants/acme/devices/d2/status", b"up")
        assert (await d1.messages.get()) == ("tenants/acme/devices/d2/status", b"up")
        assert await d1.publish("tenants/acme/devices/d2/status", b"up") == DENIED
        await site.until(await credentials.withdraw(site.owner, "acme", "d1", status))
        await d2.publish("tenants/acme/devices/d2/status", b"up")
        await d1.ping()
        assert d1.messages.empty()
        await site.until((await credentials.rollback(site.owner, "acme", before)).generation)
        await d2.publish("tenants/acme/devices/d2/status", b"again")
        assert (await d1.messages.get())[1] == b"again"
    for wrong in ("tenants/globex/devices/d1/#", "#", "tenants/acme/#/x", "tenants/acme/a+", "$SYS/#"):
        with pytest.raises(Conflict):
            await credentials.grant(site.owner, "acme", "d1", "read", wrong)


async def test_a_client_id_of_another_tenant_throws_nobody_out(site: Site) -> None:
    async with site.device("globex/devices/d1") as victim:
        login = site.access.as_device("acme/devices/d1", site.passwords["acme/devices/d1"])
        thief = type(login)(login.host, login.port, login.tls, login.username, login.password, "globex/devices/d1")
        async with connect(thief) as client:
            await client.ping()
            await victim.ping()


@pytest.mark.parametrize("change", ["passwd", "acl"])
async def test_a_change_by_hand_is_undone(site: Site, change: str) -> None:
    path = site.broker.files / change
    before = path.read_text()
    addition = f"evil/devices/d1{before.partition(':')[2].splitlines()[0]}" if change == "passwd" else "user x\ntopic #"
    path.write_text(f"{before}{addition}\n")
    site.broker.send(signal.SIGHUP)
    async with asyncio.timeout(60):
        while await site.outcomes() != ["applied", "drift", "repaired"]:
            await asyncio.sleep(0.05)
    assert addition not in path.read_text()
    assert await site.lets_in("acme/devices/d1")


async def test_a_foreign_administrator_is_removed_and_reported(site: Site) -> None:
    mine = identity.load(site.state_dir).current
    async with connect(site.access.as_service(mine.control, mine.control_password)) as client:
        command = {
            "command": "createClient",
            "username": "admin",
            "password": "admin",
            "roles": [{"rolename": "admin"}],
        }
        await client.publish("$CONTROL/dynamic-security/v1", json.dumps({"commands": [command]}).encode())
    assert await site.lets_in("admin", "admin")
    await site.stop()
    await site.start(check=0.2)
    async with asyncio.timeout(60):
        while "drift" not in await site.outcomes():
            await asyncio.sleep(0.05)
    assert not await site.lets_in("admin", "admin")
    (entry,) = await site.owner.rows("select detail from iot.broker_log where outcome = 'drift'")
    assert entry["detail"] == "removed from the dynamic-security plugin: admin"


@pytest.mark.parametrize("damage", ["topic readwrite\nnonsense\n", None])
@pytest.mark.parametrize("plugin", [True, False])
async def test_a_damaged_acl_stays_closed_because_of_the_plugin(site: Site, plugin: bool, damage: str | None) -> None:
    """Without the plugin Mosquitto 2.0 opens up: the second half shows that the first one could fail."""
    await site.stop()
    if not plugin:
        site.broker.stop()
        conf = site.broker.directory / "mosquitto.conf"
        lines = [line for line in conf.read_text().splitlines() if not line.startswith("plugin")]
        original, site.broker._configuration = site.broker._configuration, lambda: "\n".join(lines) + "\n"  # type: ignore[method-assign]
        site.broker.start()
        site.broker._configuration = original  # type: ignore[method-assign]
    acl = site.broker.files / "acl"
    if damage is None:
        acl.unlink()
    else:
        acl.write_text(damage)
        acl.chmod(0o644)
    async with site.device("acme/devices/d1") as d1:
        site.broker.send(signal.SIGHUP)
        async with asyncio.timeout(60):
            while "Error opening acl file" not in (site.broker.directory / "broker.log").read_text():
                await d1.ping()
        await d1.ping()
        denied = await d1.publish("tenants/globex/devices/d1/t", b"1") == DENIED
    assert denied == plugin


async def test_without_the_plugin_nothing_is_reloaded(site: Site) -> None:
    await site.stop()
    site.broker.stop()
    (site.broker.files / "dynamic-security.json").write_text('{"clients": [], "roles": [], "groups": []}')
    site.broker.start()
    site.steps.clear()
    await site.start()
    row = await site.until_state(lambda b: b.state == "failed")
    assert "dynamic-security plugin must be loaded" in row.detail
    assert site.steps == []


async def test_a_set_that_opens_the_broker_is_taken_back(site: Site) -> None:
    def tamper(step: str) -> None:
        if step == "published" and site.steps.count("published") == tampered_from:
            _open_up(site)

    tampered_from = site.steps.count("published") + 1
    site.on_step = tamper
    generation = await site.create("acme", "d3")
    row = await site.until_state(lambda b: b.state == "failed")
    assert "may publish to tenants/_probe/b/x" in row.detail
    assert row.detail.endswith("set 2 is back")
    assert not await site.lets_in("acme/devices/d3")
    assert await site.lets_in("acme/devices/d1")
    assert (await site.outcomes())[-1] == "restored"
    await site.stop()  # a new process tries the set again, and now it holds
    await site.start()
    await site.until(generation)
    assert await site.lets_in("acme/devices/d3")


async def test_a_broker_that_cannot_be_closed_is_stopped(site: Site) -> None:
    site.on_step = lambda step: _open_up(site) if step == "published" else None
    await site.create("acme", "d3")
    row = await site.until_state(lambda b: b.state == "stopped")
    assert row.detail.endswith("the broker was stopped")
    with pytest.raises(BrokerError):
        await site.lets_in("acme/devices/d1")


def _open_up(site: Site) -> None:
    acl = site.broker.files / "acl"
    acl.write_text(acl.read_text() + f"user {PROBE_A}\ntopic readwrite #\n")


async def test_a_set_that_takes_most_devices_away_waits_for_a_word(site: Site) -> None:
    await site.until(await site.create("acme", *(f"x{n}" for n in range(40))))
    await site.owner.execute("update iot.credential_members set to_generation = null")
    async with site.owner.transaction() as db:
        generation = await db.value("select iot.begin_set(1, 'a mistake')")
        await db.execute("update iot.credential_members set to_generation = $1 where tenant_id = 1", generation)
    row = await site.until_state(lambda b: b.state == "refused")
    assert "would take away 42 of 43 devices; if this is meant: iot-console credentials confirm" in row.detail
    assert await site.lets_in("acme/devices/x7")
    assert isinstance(generation, int)
    await credentials.confirm(site.owner, generation)
    await site.until(generation)
    assert not await site.lets_in("acme/devices/x7")


async def test_many_quick_changes_end_in_the_newest_set_with_few_reloads(site: Site) -> None:
    before = site.steps.count("reloaded")
    generation = 0
    for number in range(200):
        generation = await site.create("acme", f"q{number}")
    await site.until(generation)
    assert site.steps.count("reloaded") - before < 60
    for name in ("q0", "q99", "q199"):
        assert await site.lets_in(f"acme/devices/{name}")
    (row,) = await brokers.all_brokers(site.owner)
    assert row.broker.entries == 203


async def test_a_broker_that_is_away_gets_the_set_when_it_comes(site: Site) -> None:
    site.broker.kill()
    generation = await site.create("acme", "d3")
    await site.until_state(lambda b: b.state != "applied")
    site.broker.start()
    await site.until(generation)
    assert await site.lets_in("acme/devices/d3")


async def test_without_the_database_the_last_set_is_kept_and_mended(embedded_database: Database, site: Site) -> None:
    name = embedded_database.name
    await embedded_database.superuser_execute(f"alter database {name} allow_connections false")
    await embedded_database.superuser_execute(
        f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
    )
    passwd = site.broker.files / "passwd"
    before = passwd.read_text()
    site.steps.clear()
    passwd.write_text("")
    site.broker.send(signal.SIGHUP)
    async with asyncio.timeout(60):
        while "verified" not in site.steps:
            await asyncio.sleep(0.05)
    assert await site.lets_in("acme/devices/d1")
    assert len(passwd.read_text()) == len(before)
    await embedded_database.superuser_execute(f"alter database {name} allow_connections true")
    await site.until(await site.create("acme", "d3"))
    assert await site.lets_in("acme/devices/d3")


async def test_the_agent_changes_its_own_logins_without_a_gap(site: Site) -> None:
    for slot, gone in (("b", "a"), ("a", "b")):
        before = identity.load(site.state_dir).current
        (site.state_dir / identity.REQUEST).touch()
        async with asyncio.timeout(60):
            while identity.requested(site.state_dir):
                await asyncio.sleep(0.02)
                now = identity.load(site.state_dir).current
                async with connect(site.access.as_service(now.ingest, now.ingest_password)):
                    pass
        await site.until_state(lambda b: b.state == "applied")
        now = identity.load(site.state_dir).current
        assert (now.slot, before.slot) == (slot, gone)
        assert site.identity == now
        async with asyncio.timeout(60):
            while f"_ingest-{gone}:" in (site.broker.files / "passwd").read_text():
                await asyncio.sleep(0.02)
        for user, password in ((before.ingest, before.ingest_password), (before.control, before.control_password)):
            with pytest.raises(LoginRefused):
                async with connect(site.access.as_service(user, password)):
                    pass
    assert await site.lets_in("acme/devices/d1")


async def test_a_start_hurts_nobody_and_no_secret_is_anywhere(site: Site, embedded_database: Database) -> None:
    async with site.device("acme/devices/d1") as live:
        await site.stop()
        await site.start()
        published = site.steps.count("verified")
        async with asyncio.timeout(60):
            while site.steps.count("verified") == published:
                await live.ping()
                await asyncio.sleep(0.02)
        await live.ping()
    haystack = [str(row) for table in ("credentials", "audit_log", "credential_sets", "broker_log", "brokers")
                for row in await embedded_database.fetch(f"select t::text from iot.{table} t")]  # fmt: skip
    haystack += [
        p.read_text() for p in site.broker.directory.rglob("*") if p.is_file() and p.suffix not in (".db", ".key")
    ]
    secrets = [*site.passwords.values()]
    assert secrets
    assert not [secret for secret in secrets if any(secret in straw for straw in haystack)]
    audit = await embedded_database.fetch("select detail::text from iot.audit_log where subject like 'acme/devices/%'")
    assert audit
    assert not [row for row in audit if "$7$" in str(row)]


STEPS = ["cut off", "rendered", "published", "reloaded", "verified", "kept", "tidied", "identity 1", "identity 2",
         "identity 3"]  # fmt: skip


async def dynamic_security(site: Site) -> Any:
    """The broker writes this file in place: what one reads may be half of it."""
    async with asyncio.timeout(20):
        while True:
            with suppress(json.JSONDecodeError):
                return json.loads((site.broker.files / "dynamic-security.json").read_text())
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_the_next_start_converges(site: Site, embedded_database: Database, step: str) -> None:
    """Never open, never locked out, and the newest set in the end."""
    await site.stop()
    if step.startswith("identity"):
        (site.state_dir / identity.REQUEST).touch()
    agent_url = await embedded_database.agent_url("iot_agent_killed")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.killed", json.dumps(_for_another_process(site, agent_url, step)), cwd=ROOT
    )
    await site.create("acme", "d3")
    generation = await credentials.revoke(site.owner, "acme", "d2", "stolen", None)
    async with asyncio.timeout(60):
        assert await process.wait() == -signal.SIGKILL
    async with site.device("globex/devices/d1") as d1:
        assert await d1.publish("tenants/globex/devices/d1/t", b"1") < 0x80
        assert await d1.publish("tenants/acme/devices/d1/t", b"1") == DENIED
    await site.start()
    await site.until(generation)
    await site.until_state(lambda b: b.state == "applied")
    assert [await site.lets_in(f"acme/devices/{name}") for name in ("d1", "d2", "d3")] == [True, False, True]
    dynsec = await dynamic_security(site)
    assert len(dynsec["clients"]) <= 2, "nothing but our own logins is left"


def _for_another_process(site: Site, url: str, step: str) -> dict[str, object]:
    broker = site.broker
    return {
        "url": url, "step": step, "files": str(broker.files), "pid_file": str(broker.pid_file),
        "state_dir": str(site.state_dir), "ca_file": str(broker.authority.ca_file), "server_name": broker.server_name,
        "service_port": broker.service_port, "device_port": broker.device_port,
    }  # fmt: skip


def test_a_set_is_kept_for_a_rollback_without_the_database(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    assert store.kept() is None
    for number in range(KEEP + 3):
        store.keep(Files(f"p{number}\n", "a\n"), number)
    assert store.kept() == (KEEP + 2, Files(f"p{KEEP + 2}\n", "a\n"))
    assert len(list((tmp_path / "history").iterdir())) == KEEP
