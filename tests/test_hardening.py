"""The doctor: green on a stack that is well, and red for each thing that is broken, by that thing alone."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from agent import hardening as seen_by_agent
from probes.finding import Finding, Outcome
from stack import operations, remote
from stack.local import LocalAgent, LocalStack, fleet, short_directory
from store.db import connected
from tests.consoles import run_cli
from tui import profile as profiles
from tui.examine import examine, junit
from tui.hardening import Item, Verdict, Waiver, chosen, exit_code, judged, ordered
from tui.hardening_items import ITEMS
from tui.runbook.desk import Desk, made
from tui.runbook.presence import watched
from tui.way import Way

TODAY = date(2026, 11, 26)
NAMES_CLIENTS = ("plugin", "acl_file", "use_username")  # lines that keep clients without a name out, too
PASSED, FAILED, UNKNOWN = (Finding(outcome, "x") for outcome in (Outcome.PASS, Outcome.FAIL, Outcome.UNKNOWN))
NOT_HERE = {
    "NET-01", "NET-02",  # no Azure
    "NET-04", "NET-06", "NET-03",  # this machine's own ports are none of the stack's
    "HOST-02", "HOST-05", "HOST-07", "AZ-04",  # how tests are run, and on which machine
}  # fmt: skip


class Ward:
    """A stack, and a desk at which it is examined."""

    def __init__(self, stack: LocalStack, agent: LocalAgent, desk: Desk, config: Path) -> None:
        self.stack = stack
        self.agent = agent
        self.desk = desk
        self.config = config

    async def failing(self, *only: str) -> dict[str, str]:
        """Ids of what is not well, and what was found."""
        items = [item for item in ITEMS if item.id in only] if only else [i for i in ITEMS if i.id not in NOT_HERE]
        verdicts = await examine(self.desk, items, [], TODAY, lambda _: None)
        return {verdict.item.id: verdict.finding.found for verdict in verdicts if verdict.state != "pass"}

    async def superuser(self, statement: str) -> None:
        connection = await asyncpg.connect(self.stack.cluster.superuser_url(self.stack.database))
        await connection.execute(statement)
        await connection.close()


@pytest_asyncio.fixture(scope="module")
async def ward() -> AsyncIterator[Ward]:
    directory = short_directory("iot-doctor")
    stack = LocalStack(directory, creds=True)
    await stack.cluster.start()
    await stack.prepare(fleet(2))
    stack.broker.start()
    agent = stack.agent(
        settings=operations.agent_settings(stack) | {"creds__poll_seconds": 60, "creds__check_seconds": 3600}
    )
    agent.start()
    await agent.ready()
    config = operations.write_profile(stack, "TEST")
    profile = profiles.load(config).profiles[operations.PROFILE]
    way = Way(profile.target(profiles.password_file(profile.password.removeprefix("file:"))))
    deeds = operations.deeds(stack, agent)
    serving = remote.served(operations.socket_path(stack), deeds)
    async with serving, connected(way.target, "test", 2) as db, watched(db) as present:
        desk = made(way, directory / "console", "TEST", profile, ())
        desk.db = present
        yield Ward(stack, agent, desk, config)
    await asyncio.to_thread(stack.stop)
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
    ("DB-10", "alter function iot.present() reset search_path", "alter function iot.present() set search_path = pg_catalog, pg_temp"),
]  # fmt: skip


@pytest.mark.parametrize(("item", "breaks", "mends"), BREAKS)
async def test_what_is_broken_in_the_database_is_red(ward: Ward, item: str, breaks: str, mends: str) -> None:
    async with with_sql(ward, breaks, mends):
        assert set(await ward.failing("DB-02", "DB-03", "DB-05", "DB-06", "DB-10", "DB-01", "DB-07")) == {item}
    assert await ward.failing("DB-02", "DB-03", "DB-05", "DB-06", "DB-10") == {}


async def test_an_acl_that_lets_tenants_reach_each_other_is_red(ward: Ward) -> None:
    import signal

    path = ward.stack.broker.files / "acl"
    good = path.read_text()
    path.write_text(good + "topic readwrite #\npattern readwrite tenants/#\n")
    ward.stack.broker.send(signal.SIGHUP)
    found = await ward.failing("MQ-05")
    assert set(found) == {"MQ-05"}
    path.write_text(good)
    ward.stack.broker.send(signal.SIGHUP)
    assert await ward.failing("MQ-05") == {}


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
    assert (none.returncode, "[profiles.NAME.azure] resource_group" in none.stdout) == (2, True), none
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
        given = {*item.arguments, *item.needs}
        assert signature.required <= given <= signature.required | signature.optional, item.id
        assert item.runbook in ("", *runbook_names()), item.id
        assert item.why.endswith("."), item.id
        assert item.fix, item.id
    assert 8 <= len(chosen(ITEMS, "", True)) < len(ITEMS)
    assert {item.id for item in chosen(ITEMS, "net,tls-0", False)} >= {"NET-01", "TLS-04"}


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


def test_a_process_without_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert seen_by_agent.unprivileged(status).outcome is Outcome.PASS
    status.write_text("Name:\tx\nCapEff:\t000001ffffffffff\nNoNewPrivs:\t0\n")
    found = seen_by_agent.unprivileged(status)
    assert (found.outcome, "capabilities" in found.found, "NoNewPrivileges" in found.found) == (
        Outcome.FAIL,
        True,
        True,
    )


def test_the_page_about_the_doctor_names_every_check() -> None:
    page = (Path(__file__).parent.parent / "docs" / "doctor.md").read_text()
    for item in ITEMS:
        assert f"| {item.id} | {item.severity} | {item.where} | {item.what} |" in page
