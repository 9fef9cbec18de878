"""The doctor: green on a stack that is well, and red for each thing that is broken, by that thing alone."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import asyncpg
import pytest
import pytest_asyncio

from agent import hardening as seen_by_agent
from agent.root_looks import OF_ROOT
from probes import checks_tenants
from probes.az import Az
from probes.catalogue import World, ask
from probes.finding import Finding, Outcome
from probes.hardening import Item, Verdict, Waiver, chosen, exit_code, judged, ordered
from probes.hardening_items import ITEMS
from probes.report import junit
from stack import azure_saved, operations, remote
from stack.azure import FakeAzure
from stack.broker import free_port, others_ports, password_line
from stack.local import LocalAgent, LocalStack, fleet, short_directory
from store import members
from store.db import connected
from store.members import Role
from tests.consoles import run_cli
from tui import profile as profiles
from tui.examine import examine
from tui.runbook.desk import Desk, made
from tui.runbook.presence import watched
from tui.way import Way

TODAY = date(2026, 11, 26)
NAMES_CLIENTS = ("plugin", "acl_file", "use_username")  # lines that keep clients without a name out, too
PASSED, FAILED, UNKNOWN = (Finding(outcome, "x") for outcome in (Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN))
NOT_HERE = {"HOST-04", "HOST-05", "HOST-07", "MQ-13"}  # of the machine on which the tests run
PROBE = "acme/dev-0001"


class Ward:
    """A stack, and a desk at which it is examined."""

    def __init__(self, stack: LocalStack, agent: LocalAgent, desk: Desk, config: Path, saved: Path) -> None:
        self.stack = stack
        self.agent = agent
        self.desk = desk
        self.config = config
        self.saved = saved  # what az would say

    async def failing(self, *only: str) -> dict[str, str]:
        """Ids of what is not well, and what was found."""
        items = [item for item in ITEMS if item.id in only] if only else [i for i in ITEMS if i.id not in NOT_HERE]
        self.desk.azure = Az(self.saved)
        verdicts = await examine(self.desk, items, [], TODAY, lambda _: None)
        return {verdict.item.id: verdict.finding.found for verdict in verdicts if verdict.state != "pass"}

    async def superuser(self, statement: str) -> None:
        connection = await asyncpg.connect(self.stack.cluster.superuser_url(self.stack.database))
        await connection.execute(statement)
        await connection.close()


@pytest_asyncio.fixture(scope="module")
async def ward() -> AsyncIterator[Ward]:
    """As `make demo` sets it up, but for the fleet; the agent leaves the mending of files to us for a while."""
    directory, others = short_directory("iot-doctor"), others_ports()
    stack = LocalStack(directory, creds=True, confine=True)
    await stack.cluster.start()
    await stack.prepare(fleet(2))
    stack.broker.start()
    azure = FakeAzure(directory / "azure", stack.authority)
    agent = stack.agent(
        settings=operations.agent_settings(stack)
        | azure.agent_settings
        | {"creds__poll_seconds": 60, "creds__check_seconds": 3600}
    )
    agent.environment |= azure.environment
    agent.start()
    await agent.ready()
    saved = azure_saved.write(directory / "saved")
    sections = {
        "azure": {"resource_group": "rg", "vm": "vm1", "function": "func1", "saved": str(saved)},
        "limits": {"open_ports": ",".join(map(str, {22, 8883, *others}))},
    }
    config = operations.write_profile(stack, "TEST", probe=PROBE, sections=sections)
    profile = profiles.load(config).profiles[operations.PROFILE]
    way = Way(profile.target(profiles.password_file(profile.password.removeprefix("file:"))))
    deeds = operations.deeds(stack, agent)
    serving = remote.served(operations.socket_path(stack), deeds, stack.program.user)
    async with serving, connected(way.target, "test", 2) as db, watched(db) as present:
        desk = made(way, directory / "console", "TEST", profile, ())
        desk.db = present
        yield Ward(stack, agent, desk, config, saved)
    await asyncio.to_thread(stack.stop)
    azure.stop()
    shutil.rmtree(directory, ignore_errors=True)


async def test_a_stack_that_is_well_is_green(ward: Ward) -> None:
    """Once its first round is over: an agent that has just started has not reported everything."""
    found = await ward.failing()
    for _ in range(10):
        if not found:
            break
        await asyncio.sleep(1)
        found = await ward.failing(*found)
    assert await ward.failing() == {}, found


@asynccontextmanager
async def with_sql(ward: Ward, breaks: str, mends: str) -> AsyncIterator[None]:
    await ward.superuser(breaks)
    try:
        yield
    finally:
        await ward.superuser(mends)


BREAKS = [
    ("DB-02", "alter role iot_owner bypassrls", "alter role iot_owner nobypassrls"),
    ("DB-03", "alter table iot.devices disable row level security", "alter table iot.devices enable row level security"),
    ("DB-03", "create policy x on iot.devices using (true)", "drop policy x on iot.devices"),
    ("DB-05", "grant usage on schema iot to anon; grant select on iot.devices to anon",
     "revoke all on iot.devices from anon; revoke usage on schema iot from anon"),
    ("DB-06", "grant delete on public.telemetry to iot_agent", "revoke delete on public.telemetry from iot_agent"),
    ("DB-04", "alter policy people on public.telemetry using (true)",
     "alter policy people on public.telemetry using (tenant_id = any ((select iot.my_tenants('viewer'))::int[]))"),
    ("FN-02", "grant insert on public.telemetry to service_role", "revoke insert on public.telemetry from service_role"),
    ("DB-02", "grant pg_read_all_data to iot_u_owner", "revoke pg_read_all_data from iot_u_owner"),
    ("DB-03", "create policy y on iot.devices to iot_viewer using (true)", "drop policy y on iot.devices"),
    ("DB-04", "create policy z on iot.devices to iot_viewer using (tenant_id >= 0)", "drop policy z on iot.devices"),
    ("DB-05", "grant usage on schema iot to service_role; grant select (name) on iot.devices to service_role",
     "revoke all (name) on iot.devices from service_role; revoke usage on schema iot from service_role"),
    ("DB-06", "grant update (topic) on public.telemetry to iot_agent_a", "revoke update (topic) on public.telemetry from iot_agent_a"),
    ("DB-11", "alter role iot_agent_a createdb", "alter role iot_agent_a nocreatedb"),
    ("DB-10", "alter function iot.present() reset search_path", "alter function iot.present() set search_path = pg_catalog, pg_temp"),
]  # fmt: skip


ALSO = {  # what the same change breaks besides
    "grant insert on public.telemetry to service_role": {"DB-05"},
    "create policy y on iot.devices to iot_viewer using (true)": {"DB-04"},
    "create policy x on iot.devices using (true)": {"DB-04"},
    "alter policy people on public.telemetry using (true)": {"DB-03"},
    "alter table iot.devices disable row level security": {"DB-04"},
    "alter role iot_agent_a createdb": {"DB-02"},
}


@pytest.mark.parametrize(("item", "breaks", "mends"), BREAKS)
async def test_what_is_broken_in_the_database_is_red(ward: Ward, item: str, breaks: str, mends: str) -> None:
    around = [one.id for one in ITEMS if one.id.startswith("DB") or one.id == "FN-02"]
    async with with_sql(ward, breaks, mends):
        assert set(await ward.failing(*around)) - ALSO.get(breaks, set()) == {item}
    assert await ward.failing(*around) == {}


async def test_a_way_to_the_database_without_encryption_is_red(ward: Ward) -> None:
    """The stack's database has a Unix socket; what is seen of it would be the same over a network without TLS."""
    target = ward.desk.target
    ward.desk.target = replace(target, host="db.example.net", through=Path(target.host, f".s.PGSQL.{target.port}"))
    try:
        assert await ward.failing("DB-01") == {"DB-01": "it is not encrypted"}
    finally:
        ward.desk.target = target


@asynccontextmanager
async def edited(path: Path, text: str, ward: Ward | None = None) -> AsyncIterator[None]:
    """A file with other words in it, for a while; with a ward, its broker reads it."""
    good = path.read_text()
    for words in (text, good):
        path.write_text(words)
        if ward is not None:
            ward.stack.broker.send(signal.SIGHUP)
            await asyncio.sleep(0.3)  # Mosquitto looks at signals ten times a second
        if words is not good:
            try:
                yield
            except BaseException:
                path.write_text(good)
                raise


GRANTS = [("MQ-03", "write #"), ("MQ-04", "read #"), ("MQ-10", "read $SYS/#")]


@pytest.mark.parametrize(("item", "right"), GRANTS)
async def test_an_acl_that_lets_tenants_reach_each_other_is_red(ward: Ward, item: str, right: str) -> None:
    path = ward.stack.broker.files / "acl"
    more = f"user acme/devices/dev-0001\ntopic {right}\n"
    async with edited(path, path.read_text() + more, ward):
        found = await ward.failing("MQ-01", "MQ-03", "MQ-04", "MQ-10", "E2E-01")
        assert set(found) == {item}, found
        assert "MQ-08" in await ward.failing("MQ-08")
    assert await ward.failing("MQ-03", "MQ-04", "MQ-08", "MQ-10") == {}


async def test_a_damaged_acl_is_red_on_the_disk_and_in_the_log(ward: Ward) -> None:
    path = ward.stack.broker.files / "acl"
    async with edited(path, path.read_text() + "topic readwrite #\npattern readwrite tenants/#\n", ward):
        assert set(await ward.failing("MQ-05", "MQ-07")) == {"MQ-05"}
    mode = path.stat().st_mode
    path.chmod(0)
    ward.stack.broker.send(signal.SIGHUP)
    await asyncio.sleep(0.3)
    path.chmod(mode)  # well formed, readable again, and not loaded
    found = await ward.failing("MQ-05")
    assert "when it loaded them last" in found["MQ-05"]
    await asyncio.sleep(1)  # the log has whole seconds
    path.write_text(path.read_text())
    ward.stack.broker.send(signal.SIGHUP)
    await _until(lambda: _none(ward, "MQ-05", "MQ-03", "E2E-01"))


async def test_a_usual_password_is_red(ward: Ward) -> None:
    path = ward.stack.broker.files / "passwd"
    async with edited(path, path.read_text() + password_line("admin", "admin") + "\n", ward):
        assert set(await ward.failing("MQ-01", "MQ-02")) == {"MQ-02"}
    assert await ward.failing("MQ-02") == {}


async def test_messages_that_do_not_arrive_are_red(ward: Ward) -> None:
    """The broker takes them, and nobody brings them further: an agent that is frozen."""
    around = {"E2E-01", "OPS-02", "DB-03", "MQ-01", "MQ-03"}
    items = [replace(one, arguments={"max_seconds": 2.0}) if one.id == "E2E-01" else one
             for one in ITEMS if one.id in around]  # fmt: skip
    ward.agent.process.send(signal.SIGSTOP)
    try:
        verdicts = await examine(ward.desk, items, [], TODAY, lambda _: None)
    finally:
        ward.agent.process.send(signal.SIGCONT)
    found = {verdict.item.id: verdict.finding.found for verdict in verdicts if verdict.state != "pass"}
    assert found == {"E2E-01": "the broker took the message, and there is no row after 2 s"}
    await _until(lambda: _none(ward, "E2E-01", "E2E-02"))


async def test_a_listener_that_nobody_reaches_is_red_though_the_vm_reaches_it(ward: Ward) -> None:
    """What the agent says of the way beside it is no proof for devices."""
    place = ward.desk.listener
    assert place is not None
    ward.desk.listener = replace(place, port=free_port())
    try:
        found = await ward.failing("NET-08", "TLS-01", "MQ-01")
        assert set(found) == {"NET-08", "TLS-01", "MQ-01"}
        assert "refuses connections" in found["NET-08"]
        assert "does not answer either" in (await ward.failing("NET-04"))["NET-04"]
        ward.desk.listener = None
        assert await ward.failing("TLS-01", "MQ-01") == {}  # seen from the VM, and said so
    finally:
        ward.desk.listener = place


async def test_weak_ciphers_are_red(ward: Ward) -> None:
    broker = ward.stack.broker
    original = broker._configuration
    broker._configuration = lambda: original().replace("ciphers ECDHE+AESGCM:ECDHE+CHACHA20", "")  # type: ignore[method-assign]
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(broker.start)
    assert set(await ward.failing("TLS-01", "TLS-04", "TLS-05")) == {"TLS-05"}
    broker._configuration = original  # type: ignore[method-assign]
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(broker.start)
    await _until(lambda: _none(ward, "TLS-05", "E2E-01"))


async def test_a_login_of_a_look_that_was_cut_off_goes(ward: Ward) -> None:
    """Whatever happens in between: the look is too slow, or the person has gone."""
    db = ward.desk.db()
    assert db is not None
    for seconds in (0.0, 0.01, 0.03, 0.06):
        task = asyncio.create_task(ask(ward.desk.world(), "db.isolation", {}, 30))
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await checks_tenants.settled()
    logins = "select count(*) from pg_roles where rolname like 'iot\\_u\\_doctor%' and rolcanlogin"
    await _until(lambda: _nothing(ward, logins))


async def _nothing(ward: Ward, query: str) -> bool:
    connection = await asyncpg.connect(ward.stack.cluster.superuser_url(ward.stack.database))
    found = await connection.fetchval(query)
    await connection.close()
    return not found


async def test_people_of_one_tenant_and_of_the_service_look_for_themselves(ward: Ward) -> None:
    """Who may not make a login does not learn that all is well."""
    db = ward.desk.db()
    assert db is not None
    passwords = {
        role: await members.create(db, tenant, f"iot_u_{role}", role, Role(role))
        for tenant, role in (("acme", "viewer"), ("platform", "operator"))
    }
    for role, outcome in (("viewer", Outcome.PASS), ("operator", Outcome.UNKNOWN)):
        target = replace(ward.desk.target, user=f"iot_u_{role}", password=passwords[role])
        async with connected(target, "test", 1) as own:
            assert (await ask(World(own, target), "db.isolation", {}, 30)).outcome is outcome
    for tenant, role in (("acme", "viewer"), ("platform", "operator")):
        await members.remove(db, tenant, f"iot_u_{role}")


async def test_somebody_else_with_the_same_device_is_no_failure(ward: Ward) -> None:
    """The broker ends the older connection of a user: both try again."""
    found = await asyncio.gather(*(ask(replace(ward.desk.world(), probe=replace(ward.desk.probe, turn=asyncio.Lock())),
                                       "smoke.publish_denied", {}, 30) for _ in range(3) if ward.desk.probe))  # fmt: skip
    assert {one.outcome for one in found} <= {Outcome.PASS, Outcome.UNKNOWN}
    assert Outcome.PASS in {one.outcome for one in found}


async def test_plain_mqtt_that_answers_is_red(ward: Ward) -> None:
    async with await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 1883):
        assert set(await ward.failing("NET-03")) == {"NET-03"}
        assert set(await ward.failing("NET-04")) == {"NET-04"}
    assert await ward.failing("NET-03", "NET-04") == {}


async def test_secrets_where_others_see_them_are_red(ward: Ward) -> None:
    around = ("SEC-01", "SEC-02", "SEC-03", "SEC-04", "TLS-06", "TLS-08")
    secret = unquote(urlsplit(ward.stack.agent_url).password or "")
    script = ward.stack.state / "scripts" / "backup.sh"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"#!/bin/sh\nPGPASSWORD='{secret}' pg_dump iot\n")
    found = await ward.failing(*around)
    assert set(found) == {"SEC-02"}
    assert (str(script) in found["SEC-02"], secret in str(found)) == (True, False)
    script.write_text("curl --insecure https://example.net\n")
    assert set(await ward.failing(*around)) == {"TLS-08"}
    script.unlink()
    process = await asyncio.create_subprocess_exec(f"x{secret}", "60", executable="/bin/sleep")
    try:
        found = await ward.failing(*around)
        assert set(found) == {"SEC-04"}
        assert str(process.pid) in found["SEC-04"]
    finally:
        process.kill()
        await process.wait()
    assert await ward.failing(*around) == {}


def _group(found: dict[str, Any], *rules: dict[str, Any]) -> None:
    found["nsgs"][0]["securityRules"] += rules


SSH_OPEN = azure_saved.rule("oops", 90, "22", "*")
AZURE = [  # what is changed of the answers, and what has to be red then
    ({"NET-01", "NET-07"}, lambda found: _group(found, SSH_OPEN)),
    ({"NET-01", "NET-07"}, lambda found: _group(found, SSH_OPEN | {"sourceAddressPrefix": "0.0.0.0/1"})),
    ({"NET-02", "NET-07"}, lambda found: _group(found, azure_saved.rule("plain", 90, "1883-1884", "Internet"))),
    ({"NET-07"}, lambda found: _group(found, azure_saved.rule("web", 90, "8000-9000", "*"))),
    ({"NET-01", "NET-02", "NET-05", "NET-07"}, lambda found: found["vnets"].clear()),
    ({"SEC-05"}, lambda found: found["roles"].append(found["roles"][0] | {"roleDefinitionName": "Contributor"})),
    ({"AZ-02"}, lambda found: found["action-groups"].clear()),
    ({"AZ-03"}, lambda found: found["instance-view"]["instanceView"].clear()),
    (
        {"SEC-05"},
        lambda found: found["roles"].append(found["roles"][0] | {"roleDefinitionName": "Key Vault Secrets Officer"}),
    ),
    ({"AZ-02"}, lambda found: found["metric-alerts"][0]["criteria"]["allOf"][0].update(operator="GreaterThan")),
    ({"AZ-05"}, lambda found: found["snapshots"][0]["creationData"].update(sourceResourceId="/another/disk")),
    ({"AZ-05"}, lambda found: found["locks"].clear()),
    ({"AZ-05"}, lambda found: found["snapshots"][0].update(timeCreated="2026-01-01T00:00:00+00:00")),
    ({"FN-01"}, lambda found: found["function-config"].update(ftpsState="AllAllowed")),
]


@pytest.mark.parametrize(("red", "change"), AZURE)
async def test_what_is_wrong_in_azure_is_red(
    ward: Ward, red: set[str], change: Callable[[dict[str, Any]], None]
) -> None:
    answers = azure_saved.answers(datetime.now(UTC))
    change(answers)
    before, ward.saved = ward.saved, ward.stack.state / "other"
    ward.saved.mkdir(exist_ok=True)
    for name, answer in answers.items():
        (ward.saved / f"{name}.json").write_text(json.dumps(answer))
    try:
        asked = [one.id for one in ITEMS if one.check.startswith("azure") and one.id != "AZ-01"]
        assert set(await ward.failing(*asked)) == red
    finally:
        ward.saved = before


async def test_answers_of_azure_that_are_old_or_missing_are_unknown(ward: Ward, tmp_path: Path) -> None:
    before, ward.saved = ward.saved, tmp_path
    try:
        assert "--azure-commands prints how to save it" in (await ward.failing("NET-01"))["NET-01"]
        azure_saved.write(tmp_path)
        os.utime(tmp_path / "nsgs.json", (0, 0))
        assert "save it again" in (await ward.failing("NET-01"))["NET-01"]
    finally:
        ward.saved = before


async def test_an_open_broker_is_red(ward: Ward) -> None:
    """Anonymous clients, and an old protocol version: as after somebody's edit of the configuration."""
    broker = ward.stack.broker
    original = broker._configuration

    def edited() -> str:
        text = original().replace("allow_anonymous false", "allow_anonymous true")
        return "\n".join(line for line in text.splitlines() if not line.startswith(NAMES_CLIENTS)) + "\n"

    broker._configuration = edited  # type: ignore[method-assign]
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(broker.start)
    found = await ward.failing("MQ-01", "TLS-01")
    assert set(found) == {"MQ-01"}
    broker._configuration = original  # type: ignore[method-assign]
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(broker.start)
    await _until(lambda: _none(ward, "MQ-01", "E2E-01"))


async def test_a_certificate_that_ended_and_one_that_is_not_served_are_red(ward: Ward) -> None:
    broker = ward.stack.broker
    broker.authority.issue(broker.directory, days=3)
    broker.write_files()
    assert set(await ward.failing("TLS-01", "TLS-02", "TLS-03")) == {"TLS-03"}
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(broker.start)
    assert set(await ward.failing("TLS-01", "TLS-02", "TLS-03")) == {"TLS-02"}
    broker.authority.issue(broker.directory, days=-1)
    broker.write_files()
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(broker.start)
    assert "TLS-01" in await ward.failing("TLS-01", "TLS-02", "TLS-03")
    broker.authority.issue(broker.directory, days=50)
    broker.write_files()
    await asyncio.to_thread(broker.stop)
    await asyncio.to_thread(broker.start)
    await _until(lambda: _none(ward, "TLS-01", "TLS-02", "TLS-03", "E2E-01"))


async def test_files_that_others_read_are_red(ward: Ward) -> None:
    key = ward.stack.broker.directory / "server.key"
    for path, mode, item in ((key, 0o644, "TLS-06"), (ward.agent.state_dir, 0o755, "SEC-01")):
        before = path.stat().st_mode & 0o777
        path.chmod(mode)
        assert set(await ward.failing("TLS-06", "SEC-01")) == {item}
        path.chmod(before)
    assert await ward.failing("TLS-06", "SEC-01") == {}


async def _none(ward: Ward, *items: str) -> bool:
    return not await ward.failing(*items)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():
            await asyncio.sleep(0.2)


async def test_the_command_in_a_shell(ward: Ward, tmp_path: Path) -> None:
    file = tmp_path / "doctor.xml"
    base = ("--config", str(ward.config), "doctor")
    done = await asyncio.to_thread(run_cli, *base, "--only", "DB,TLS-01", "--junit", str(file), "--json")
    assert done.returncode == 0, done
    found = json.loads(done.stdout)
    assert {row["state"] for row in found["hardening"]} == {"pass"}
    assert 'failures="0" errors="0"' in file.read_text()
    none = await asyncio.to_thread(run_cli, *base, "--only", "NET-01")
    assert none.returncode == 0, none
    bare = tmp_path / "bare.toml"
    bare.write_text(ward.config.read_text().replace("resource_group", "other"))
    unsaid = await asyncio.to_thread(run_cli, "--config", str(bare), "doctor", "--only", "NET-01")
    assert (unsaid.returncode, "[profiles.NAME.azure] resource_group" in unsaid.stdout) == (2, True), unsaid
    printed = await asyncio.to_thread(run_cli, *base, "--azure-commands")
    assert "az vm show -g rg -n vm1 -o json --only-show-errors > " in printed.stdout
    async with with_sql(ward, "alter role iot_owner bypassrls", "alter role iot_owner nobypassrls"):
        bad = await asyncio.to_thread(run_cli, *base, "--only", "DB", "--problems")
        assert bad.returncode == 1
        assert bad.stdout.splitlines()[0].startswith("FAIL     DB-02    critical")
        assert "To do: alter role LOGIN nosuperuser" in bad.stdout
        until = (datetime.now(UTC).date() + timedelta(days=1)).isoformat()
        text = (
            f'[[profiles.demo.waivers]]\ncheck = "DB-02"\nreason = "until the migration on Monday"\nuntil = {until}\n'
        )
        waived = tmp_path / "waived.toml"
        waived.write_text(ward.config.read_text() + text)
        good = await asyncio.to_thread(run_cli, "--config", str(waived), "doctor", "--only", "DB")
        assert (good.returncode, "waived   DB-02" in good.stdout) == (0, True), good
    wrong = await asyncio.to_thread(run_cli, *base, "--only", "ZZ")
    assert (wrong.returncode, "there is no check ZZ" in wrong.stderr) == (2, True)


async def test_smoke_from_here_and_from_the_vm(ward: Ward) -> None:
    base = ("--config", str(ward.config), "smoke")
    for place, who in (("console", "acme/dev-0001: a row after"), ("agent", "platform/canary: a row after")):
        done = await asyncio.to_thread(run_cli, *base, "--from", place)
        assert done.returncode == 0, done
        assert [line.split()[1] for line in done.stdout.splitlines()] == ["E2E-01", "MQ-03", "MQ-04", "E2E-02"]
        assert who in done.stdout
    some = await asyncio.to_thread(run_cli, *base, "--only", "malformed", "--json")
    [row] = json.loads(some.stdout)["smoke"]
    assert (row["id"], row["state"], "not-json" in row["found"]) == ("E2E-02", "pass", True)
    wrong = await asyncio.to_thread(run_cli, *base, "--only", "fast")
    assert (wrong.returncode, "plain, malformed, crossing" in wrong.stderr) == (2, True)
    secret = ward.config.parent / "probe"
    secret.chmod(0o644)
    open_to_all = await asyncio.to_thread(run_cli, *base)
    secret.chmod(0o600)
    assert (open_to_all.returncode, f"chmod 600 {secret}" in open_to_all.stderr) == (2, True)


async def test_the_doctor_of_the_agent_sees_what_root_sees(ward: Ward) -> None:
    """And leaves it for the agent, which tells it to people who ask from elsewhere."""
    environment = os.environ | ward.agent.environment

    async def doctor(*arguments: str) -> tuple[int, str]:
        argv = (sys.executable, "-m", "agent", "doctor", "--config", str(ward.agent.config_file), *arguments)
        process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=-1, stderr=-1)
        out, err = await process.communicate()
        return process.returncode or 0, (out or err).decode()

    skipped = NOT_HERE | {"MQ-04", "NET-06"}  # no other device publishes here; the profile knows the ports
    wanted = [item.id for item in ITEMS if item.where in ("agent", "either") and item.id not in skipped]
    code, said = await doctor("--only", ",".join(wanted), "--save")
    assert code == 0, said
    assert len(said.splitlines()) == len(wanted)
    kept = json.loads((ward.agent.state_dir / "doctor.json").read_text())
    assert set(kept) <= OF_ROOT
    assert {one["outcome"] for one in kept.values()} == {"pass"}
    key = ward.stack.broker.directory / "server.key"
    key.chmod(0o644)
    code, said = await doctor("--only", "TLS-06", "--json")
    assert (code, json.loads(said)["hardening"][0]["state"]) == (1, "fail")
    text = ward.agent.config_file.read_text()
    waiver = '[[doctor.waivers]]\ncheck = "TLS-06"\nreason = "moved on Monday"\nuntil = 2099-01-01\n'
    ward.agent.config_file.write_text(f"{text}\n{waiver}")
    code, said = await doctor("--only", "TLS-06", "--problems")
    assert (code, "waived: moved on Monday, until 2099-01-01" in said) == (0, True)
    ward.agent.config_file.write_text(text)
    key.chmod(0o600)


# -- pure


def test_waivers_cover_failures_until_their_day_and_nothing_else() -> None:
    item = ITEMS[0]
    waivers = [Waiver(item.id, "known", TODAY)]
    assert judged(item, FAILED, waivers, TODAY).state == "waived"
    assert judged(item, FAILED, waivers, TODAY + timedelta(days=1)).state == "fail"
    assert judged(item, UNKNOWN, waivers, TODAY).state == "unknown"
    assert judged(ITEMS[1], FAILED, waivers, TODAY).state == "fail"


def test_exit_codes_and_order() -> None:
    low, critical = Item("A-01", "low", "a", "x", "", ""), Item("B-01", "critical", "b", "x", "", "")
    verdicts = [Verdict(low, FAILED), Verdict(critical, UNKNOWN), Verdict(critical, FAILED), Verdict(low, PASSED)]
    assert [(v.item.id, v.state) for v in ordered(verdicts)] == [
        ("B-01", "fail"), ("A-01", "fail"), ("B-01", "unknown"), ("A-01", "pass"),
    ]  # fmt: skip
    assert [exit_code(found) for found in ([], verdicts[3:], verdicts[1:2], verdicts)] == [0, 0, 2, 1]
    assert 'failures="2" errors="1" skipped="0"' in junit(verdicts, 1.0)


def test_the_table_is_whole() -> None:
    from probes.catalogue import CHECKS
    from probes.shipped import runbook_names

    assert len({item.id for item in ITEMS}) == len(ITEMS)
    for item in ITEMS:
        signature = CHECKS[item.check].signature
        given = {*item.arguments, *item.needs, *item.wants}
        assert signature.required <= given <= signature.required | signature.optional, item.id
        assert item.runbook in ("", *runbook_names()), item.id
        assert item.why.endswith("."), item.id
        assert item.fix, item.id
    assert 8 <= len(chosen(ITEMS, "", True)) < len(ITEMS)
    assert {item.id for item in chosen(ITEMS, "net,tls-0", False)} >= {"NET-01", "TLS-04"}
    for only, quick, place in (("NET-01", False, "agent"), ("DB-04", False, "agent"), ("HOST", True, "")):
        with pytest.raises(ValueError, match="none of"):  # what examines nothing proves nothing
            chosen(ITEMS, only, quick, place)


def test_a_report_is_xml_whatever_was_found() -> None:
    wild = Finding(Outcome.FAIL, "a\x1b[31m\0b & <c>", "\x07")
    ElementTree.fromstring(junit([Verdict(ITEMS[0], wild)], 0.1))


def test_listening_sockets_are_read_as_the_kernel_writes_them(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    head = "  sl  local_address rem_address   st tx_queue rx_queue\n"
    (folder / "tcp").write_text(
        head
        + "   0: 0100007F:22B4 00000000:0000 0A\n   1: 00000000:22B3 00000000:0000 0A\n   2: 00000000:0050 00000000:0000 01\n"
    )
    (folder / "tcp6").write_text(
        head
        + "   0: 00000000000000000000000001000000:1F90 0:0 0A\n   1: 00000000000000000000000000000000:0016 0:0 0A\n"
        "   2: 0000000000000000FFFF00000100007F:1F91 0:0 0A\n"
    )
    assert seen_by_agent.listening({22, 8883}, tmp_path) == Finding(Outcome.PASS, "open: 22, 8883")
    assert seen_by_agent.listening({8883}, tmp_path) == Finding(Outcome.FAIL, "also open: 22")


def test_a_process_without_rights(tmp_path: Path) -> None:
    (tmp_path / "agent.pid").write_text("7")
    (tmp_path / "7").mkdir()
    status = tmp_path / "7" / "status"
    status.write_text("Name:\tx\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n")
    assert seen_by_agent.unprivileged(tmp_path, tmp_path).outcome is Outcome.PASS
    status.write_text("Name:\tx\nUid:\t1000\t0\t0\t0\nCapEff:\t000001ffffffffff\nNoNewPrivs:\t0\n")
    found = seen_by_agent.unprivileged(tmp_path, tmp_path)
    assert "root" in found.found
    assert seen_by_agent.unprivileged(tmp_path / "7", tmp_path).outcome is Outcome.UNKNOWN
    assert (found.outcome, "capabilities" in found.found, "NoNewPrivileges" in found.found) == (
        Outcome.FAIL,
        True,
        True,
    )


def test_the_page_about_the_doctor_names_every_check() -> None:
    page = (Path(__file__).parent.parent / "docs" / "doctor.md").read_text()
    for item in ITEMS:
        assert f"| {item.id} | {item.severity} | {item.where} | {item.what} |" in page
