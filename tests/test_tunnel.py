"""Through a real SSH server to a real PostgreSQL with TLS, which is verified by its own name all the way."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

import sql
from stack.broker import free_port
from stack.certificates import Authority
from stack.local import short_directory
from stack.postgres import Cluster, debian_binaries
from stack.sshd import SshServer
from stack.terminal import Terminal
from store import migrate, people
from store.db import connected
from store.errors import Misconfigured, StoreError
from store.target import Target, parse_target
from tests.consoles import until
from tests.screens import NAMES, RUNBOOKS
from tui import tunnel
from tui.app import Console
from tui.options import Options
from tui.way import Way

PERSON = "iot_u_tunnel"


@pytest_asyncio.fixture(scope="module")
async def target(short_dir: Path, authority: Authority) -> AsyncIterator[Target]:
    """A person's way to a migrated database; its certificate is for 127.0.0.1, not for localhost."""
    cluster = Cluster(short_dir / "u", debian_binaries(), {"fsync": "off"}, port=free_port())
    cluster.serve_tls(authority, "127.0.0.1")
    await cluster.start()
    await cluster.create_database("tunnel")
    async with connected(parse_target(cluster.owner_url("tunnel")), "test", 3) as db:
        await migrate.migrate(db, sql.migrations())
        password = await people.put_owner(db, PERSON, "platform")
    yield Target("127.0.0.1", cluster.port, PERSON, "tunnel", password, authority.ca_file)
    await asyncio.to_thread(cluster.stop)


@pytest.fixture
def server() -> Iterator[SshServer]:
    directory = short_directory("iot-ssh")
    made = SshServer(directory / "s")
    made.start()
    yield made
    made.stop()
    shutil.rmtree(directory, ignore_errors=True)


def ssh_children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child.name() == "ssh"]


async def test_tls_goes_through_and_is_verified_by_name(target: Target, server: SshServer) -> None:
    async with tunnel.opened("vm", target, server.client_config) as (through, held):
        await tunnel.until_up(held, 20)
        async with connected(through, "test", 1) as db:
            assert await db.value("select version from pg_stat_ssl where pid = pg_backend_pid()") == "TLSv1.3"
            assert await db.value("select session_user::text") == PERSON
    other_name = Target("localhost", target.port, PERSON, "tunnel", target.password, target.ca_file)
    async with tunnel.opened("vm", other_name, server.client_config) as (through, held):
        await tunnel.until_up(held, 20)
        async with connected(through, "test", 1) as db:
            with pytest.raises(Misconfigured, match="localhost"):
                await db.value("select 1")


async def test_the_near_end_is_closed_to_others_and_goes_away(target: Target, server: SshServer) -> None:
    async with tunnel.opened("vm", target, server.client_config) as (through, held):
        await tunnel.until_up(held, 20)
        assert through.through is not None
        assert held.directory.stat().st_mode & 0o777 == 0o700
        assert through.through.stat().st_mode & 0o777 == 0o600
        (process,) = ssh_children()
        assert [c for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN] == []
    assert not held.directory.exists()
    assert ssh_children() == []


async def problem(target: Target, server: SshServer) -> str:
    async with tunnel.opened("vm", target, server.client_config) as (_, held):
        with pytest.raises(tunnel.TunnelError) as caught:
            await tunnel.until_up(held, 20)
    return str(caught.value)


async def test_a_changed_host_key_is_refused(target: Target, server: SshServer) -> None:
    server.stop()
    server.new_host_key()
    server.start()
    said = await problem(target, server)
    assert "the host key is not the known one" in said
    assert "ssh-keygen -R" in said


async def test_an_unknown_host_and_a_refused_key_are_explained(target: Target, server: SshServer) -> None:
    server.forget_host_key()
    assert "compare its fingerprint" in await problem(target, server)
    server.trust_host_key()
    server.refuse_key()
    assert "no key is accepted: ssh-add" in await problem(target, server)
    server.stop()
    assert "Connection refused" in await problem(target, server)


async def test_the_console_says_why_and_comes_back_by_itself(target: Target, server: SshServer, tmp_path: Path) -> None:
    options = Options(
        "TEST", state_dir=tmp_path, files_dir=tmp_path, runbooks=lambda: list(RUNBOOKS), runbook_names=NAMES
    )
    app = Console(Way(target, "vm", "t", server.client_config), options)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, app, "● LIVE", "tunnel through ssh vm")
        (process,) = ssh_children()
        process.send_signal(signal.SIGKILL)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            await pilot.pause(0.05)
        server.stop()
        for child in ssh_children():
            child.kill()
        await until(pilot, app, "DB LOST", "ssh vm ended")
        server.start()
        await pilot.press("r")
        await until(pilot, app, "● LIVE")
    async with asyncio.timeout(20):
        while ssh_children():
            await asyncio.sleep(0.05)


async def test_a_command_goes_by_a_profile(target: Target, server: SshServer, tmp_path: Path) -> None:
    assert target.password is not None
    secret = tmp_path / "secret"
    secret.write_text(target.password)
    config = tmp_path / "config.toml"
    config.write_text(f"""
[profiles.t]
environment = "TEST"
host = "127.0.0.1"
port = {target.port}
database = "tunnel"
user = "{PERSON}"
ca_file = "{target.ca_file}"
password = "file:{secret}"
ssh = "vm"
ssh_config = "{server.client_config}"
""")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        env = {k: v for k, v in os.environ.items() if k != "IOT_CONSOLE_DATABASE_URL"}
        argv = [sys.executable, "-m", "tui", "--config", str(config), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, env=env, timeout=60)

    secret.chmod(0o644)
    open_to_all = await asyncio.to_thread(run, "status", "--json")
    assert (open_to_all.returncode, "chmod 600" in open_to_all.stderr) == (2, True)
    secret.chmod(0o600)
    done = await asyncio.to_thread(run, "status", "--json")
    assert json.loads(done.stdout)["login"] == PERSON, done.stderr
    server.stop()
    lost = await asyncio.to_thread(run, "users", "list")
    assert (lost.returncode, "ssh vm ended" in lost.stderr) == (1, True), lost.stderr
    assert target.password not in lost.stderr + open_to_all.stderr


async def test_a_password_is_asked_for_without_an_echo(target: Target, server: SshServer, tmp_path: Path) -> None:
    assert target.password is not None
    config = tmp_path / "config.toml"
    config.write_text(f"""
[profiles.t]
host = "127.0.0.1"
port = {target.port}
database = "tunnel"
user = "{PERSON}"
ca_file = "{target.ca_file}"
ssh = "vm"
ssh_config = "{server.client_config}"
""")

    def status(password: str) -> tuple[str, int]:
        terminal = Terminal(None, argv=[sys.executable, "-m", "tui", "--config", str(config), "status"])
        try:
            terminal.until(f"Password of {PERSON} at t:")
            terminal.press(f"{password}\n")
            while terminal.process.poll() is None:
                terminal.read(0.1)
            terminal.quiet()
            return terminal.output.decode(), terminal.process.wait(20)
        finally:
            terminal.close()

    shown, _ = await asyncio.to_thread(status, target.password)
    assert f"logged in as {PERSON}" in shown
    assert target.password not in shown
    wrong, code = await asyncio.to_thread(status, "not-the-password")
    assert (code, "check the user and password" in wrong) == (1, True)
    assert "not-the-password" not in wrong


async def test_a_tunnel_that_is_not_up_is_an_unreachable_database(target: Target, server: SshServer) -> None:
    server.stop()
    async with tunnel.opened("vm", target, server.client_config) as (through, _), connected(through, "t", 1) as db:
        with pytest.raises(StoreError):
            await db.value("select 1")
