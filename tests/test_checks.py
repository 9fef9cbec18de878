"""The catalogue of checks, against real servers: what is well passes, what is not fails, what cannot be asked is unknown."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from probes.catalogue import CHECKS, Argument, Listener, World, ask
from probes.finding import Outcome
from stack.broker import Broker, free_port
from stack.certificates import Authority
from stack.local import short_directory
from stack.sshd import SshServer
from store import agents, credentials, series
from store.agents import Part, PartState
from store.db import connected
from store.series import Stored
from store.target import parse_target
from tests.consoles import person_url
from tests.screens import STATUS
from tests.servers import Database

PASS, FAIL, UNKNOWN = Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN
NOW = datetime.now(UTC)


def at(broker: Broker, name: str | None = None) -> World:
    return World(
        listener=Listener("127.0.0.1", broker.device_port, name or broker.server_name, broker.authority.ca_file)
    )


async def test_a_broker_that_is_well(broker: Broker) -> None:
    world = at(broker)
    for name, arguments in (
        ("mqtt.answers", {"attempts": 3}), ("tls.handshake", {}), ("tls.expiry", {"min_days": 20}), ("tcp.open", {}),
    ):  # fmt: skip
        found = await ask(world, name, arguments)
        assert found.outcome is PASS, (name, found)
    assert (await ask(world, "tls.expiry", {"min_days": 50})).outcome is FAIL
    assert (await ask(world, "tcp.closed", {"host": "127.0.0.1", "port": broker.device_port})).outcome is FAIL
    wrong = await ask(at(broker, "other.example.net"), "tls.handshake", {})
    assert (wrong.outcome, "clients refuse its certificate" in wrong.found) == (FAIL, True)
    assert (await ask(at(broker, "other.example.net"), "mqtt.answers", {})).outcome is FAIL


async def test_a_broker_that_is_gone(broker: Broker) -> None:
    broker.stop()
    for name in ("mqtt.answers", "tcp.open"):
        assert (await ask(at(broker), name, {})).outcome is FAIL
    assert (await ask(at(broker), "tls.handshake", {})).outcome is UNKNOWN  # nobody showed one
    assert (await ask(at(broker), "tcp.closed", {"port": broker.device_port})).outcome is PASS


async def test_a_broker_that_lets_anybody_in(authority: Authority) -> None:
    directory = short_directory("iot-open")
    open_to_all = Broker(directory / "b", authority)
    open_to_all.more_configuration = ""
    open_to_all.write_files()
    config = open_to_all.directory / "mosquitto.conf"
    text = config.read_text().replace("allow_anonymous false", "allow_anonymous true")
    lines = [line for line in text.splitlines() if not line.startswith(("password_file", "plugin", "acl_file"))]
    open_to_all._configuration = lambda: "\n".join(lines) + "\n"  # type: ignore[method-assign]
    open_to_all.start()
    try:
        found = await ask(at(open_to_all), "mqtt.answers", {})
        assert (found.outcome, "lets in a login that does not exist" in found.found) == (FAIL, True)
    finally:
        open_to_all.stop()
        shutil.rmtree(directory, ignore_errors=True)


async def test_what_is_not_known_is_unknown_and_never_raises() -> None:
    for name, check in CHECKS.items():
        arguments: dict[str, Argument] = dict.fromkeys(check.signature.required, "7")
        if name in ("runbooks.sound", "tcp.closed", "dns.resolve", "tool.present", "disk.free", "mem.available"):
            continue
        found = await ask(World(), name, arguments, 5)
        assert found.outcome is UNKNOWN, (name, found)
        assert found.found
    assert (await ask(World(), "no.such", {})).outcome is UNKNOWN
    assert (await ask(World(), "tls.expiry", {})).outcome is UNKNOWN  # its parameter is missing


async def test_this_machine(tmp_path: Path) -> None:
    world = World(state_dir=tmp_path)
    assert (await ask(world, "disk.free", {"min_percent": 0})).outcome is PASS
    assert (await ask(world, "disk.free", {"min_percent": "100.1"})).outcome is FAIL
    assert (await ask(world, "mem.available", {"min_percent": 0.1})).outcome is PASS
    assert (await ask(world, "tool.present", {"name": "sh"})).outcome is PASS
    assert (await ask(world, "tool.present", {"name": "no-such-tool"})).outcome is FAIL
    assert (await ask(world, "dns.resolve", {"host": "localhost"})).outcome is PASS
    assert (await ask(world, "dns.resolve", {"host": "no-such-host.invalid"})).outcome is FAIL


# -- the database and what agents wrote into it


async def outcome(world: World, name: str, **arguments: Argument) -> Outcome:
    return (await ask(world, name, arguments)).outcome


async def test_a_database_with_an_agent_that_is_well(embedded_database: Database) -> None:
    url = await person_url(embedded_database)
    target = parse_target(url)
    async with (
        connected(target, "test", 2) as db,
        connected(parse_target(await embedded_database.agent_url()), "t", 1) as agent,
    ):
        world = World(db, target)
        for name in ("db.port", "db.connect", "db.password", "db.room", "db.schema", "db.locks", "db.connections",
                     "agent.heartbeat", "clock.offset"):  # fmt: skip
            found = await ask(world, name, {})
            assert found.outcome is PASS, (name, found)
        assert await outcome(world, "db.size", max_gb=1) is PASS
        assert await outcome(world, "db.size", max_gb=0.000001) is FAIL
        assert await outcome(world, "db.connections", max_percent=0.1) is FAIL
        assert await outcome(world, "ingest.fresh", max_seconds=60) is PASS
        assert await outcome(world, "ingest.fresh", max_seconds=60, tenant="nobody") is FAIL
        assert await outcome(world, "letters.few", most=5) is PASS
        assert await outcome(world, "letters.few", most=0) is FAIL
        assert await outcome(world, "alert.over", alert="BrokerDown") is PASS
        assert await outcome(world, "device.ready", tenant="acme", device="nothing") is FAIL
        assert await outcome(world, "device.ready", tenant="acme", device="d1") is FAIL  # it has no credential
        await credentials.create(db, "acme", {"d2": credentials.new_secret().stored})
        assert await outcome(world, "device.ready", tenant="acme", device="d2") is PASS
        assert await outcome(world, "agent.part", part="canary") is PASS
        assert await outcome(world, "agent.part", part="disk") is PASS  # a warning
        assert await outcome(world, "agent.part", part="disk", at_least="ok") is FAIL
        assert await outcome(world, "agent.part", part="credentials") is UNKNOWN
        assert await outcome(world, "spool.empty") is PASS
        assert await outcome(world, "vm.load") is PASS
        assert await outcome(world, "vm.load", max_disk=80) is FAIL
        bad = replace(STATUS, spool_rows=7, parts=(Part("canary", PartState.CRIT, "no row within 15 s"),))
        await agents.beat(agent, "vm-weu", "0.1.0", NOW, NOW, bad)
        assert await outcome(world, "agent.part", part="canary") is FAIL
        assert await outcome(world, "spool.empty") is FAIL
        assert await outcome(world, "cost.steady") is UNKNOWN
        bills = [Stored("azure.cost.daily", {}, (NOW - timedelta(days=n)).timestamp(), 3.0) for n in range(2, 9)]
        await series.put_stored(agent, [*bills, Stored("azure.cost.daily", {}, NOW.timestamp(), 9.0)], "vm-weu")
        assert await outcome(world, "cost.steady", factor=1.5) is FAIL
        assert await outcome(world, "cost.steady", factor=4) is PASS
        assert await outcome(world, "drill.recent", runbook="broker-down") is FAIL
        # an agent that has not reported for long tells nothing about now
        await embedded_database.fetch("update iot.agents set seen_at = now() - interval '1 minute' returning 1")
        assert await outcome(world, "agent.heartbeat") is FAIL
        for name in ("spool.empty", "vm.load"):
            assert await outcome(world, name) is UNKNOWN


async def test_a_database_that_refuses_or_is_gone(embedded_database: Database) -> None:
    target = parse_target(await person_url(embedded_database))
    wrong = World(None, replace(target, password="wrong"))
    assert [await outcome(wrong, name) for name in ("db.port", "db.password", "db.room", "db.connect")] == [
        PASS, FAIL, UNKNOWN, FAIL,
    ]  # fmt: skip
    gone = World(None, replace(target, host="/nonexistent"))
    assert [await outcome(gone, name) for name in ("db.port", "db.password", "db.room", "db.connect")] == [
        FAIL, UNKNOWN, UNKNOWN, FAIL,
    ]  # fmt: skip
    closed = World(None, replace(target, host="127.0.0.1", port=free_port()))
    assert await outcome(closed, "db.port") is FAIL


async def test_ones_own_sessions_do_not_make_a_database_full(embedded_database: Database) -> None:
    """A person may have four; a server that says so answers."""
    target = parse_target(await person_url(embedded_database))
    async with connected(target, "a", 4) as db, db.connection(), db.connection(), db.connection(), db.connection():
        found = await ask(World(db, target), "db.room", {})
    assert found.outcome is PASS


# -- SSH and Azure


async def test_the_vm_lets_one_in_by_key(tmp_path: Path) -> None:
    server = SshServer(tmp_path / "ssh")
    server.start()
    try:
        world = World(ssh=("-F", str(server.client_config), "vm"))
        assert await outcome(world, "ssh.login") is PASS
        server.refuse_key()
        found = await ask(world, "ssh.login", {})
        assert (found.outcome, "Permission denied" in found.found) == (FAIL, True)
    finally:
        server.stop()
    assert await outcome(world, "ssh.login") is FAIL


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An az that answers from files, and writes down what it was asked."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "az"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {folder}/asked\ncat "{folder}/$1-$2" 2>/dev/null || {{ echo "ERROR: $1 failed" >&2; exit 3; }}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


async def test_azure_through_az(az: Path) -> None:
    power = {"rg": "iot", "vm": "vm"}
    found = await ask(World(), "azure.vm_power", power)
    assert (found.outcome, found.found) == (UNKNOWN, "az: ERROR: vm failed")
    (az / "vm-get-instance-view").write_text(
        json.dumps({"instanceView": {"statuses": [{"code": "PowerState/deallocated"}]}})
    )
    assert await outcome(World(), "azure.vm_power", **power) is FAIL
    assert await outcome(World(), "azure.vm_power", expect="deallocated", **power) is PASS
    rule = {"name": "allow-ssh", "priority": 100, "access": "Allow", "direction": "Inbound", "protocol": "Tcp",
            "destinationPortRange": "22", "sourceAddressPrefix": "198.51.100.4/32"}  # fmt: skip
    (az / "network-nsg").write_text(json.dumps({"name": "iot-nsg", "securityRules": [rule]}))
    reach: dict[str, Argument] = {"rg": "iot", "nsg_name": "iot-nsg", "port": 22}
    assert await outcome(World(), "azure.nsg_reach", expect="deny", **reach) is PASS
    assert await outcome(World(), "azure.nsg_reach", expect="allow", source="198.51.100.4", **reach) is PASS
    (az / "account-show").write_text("no json")
    assert await outcome(World(), "azure.account") is UNKNOWN
    (az / "account-show").write_text(json.dumps({"user": {"name": "anna"}, "name": "sub"}))
    assert (await ask(World(), "azure.account", {})).found == "anna, subscription sub"
    assert "vm get-instance-view -g iot -n vm -o json --only-show-errors" in (az / "asked").read_text()
    (az / "az").unlink()
    assert (await ask(World(), "azure.account", {})).found == "az is not installed on this machine"
