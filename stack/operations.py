"""What people and agents do to the local stack with commands, as with systemctl on a server; and a profile of the
console that knows them."""

import asyncio
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stack.broker import DEPLOY
from stack.local import LocalAgent, LocalStack
from stack.process import StackError
from stack.remote import Deed, command
from store.target import parse_target

PROFILE = "demo"
DISTRIBUTIONS_UNIT = Path("/lib/systemd/system/mosquitto.service")


def socket_path(stack: LocalStack) -> Path:
    return stack.state / "remote"


def agent_settings(stack: LocalStack) -> dict[str, object]:
    """So that the agent can do here what it does on a server."""
    path, broker, python = socket_path(stack), stack.broker, stack.program.python
    server = units(stack.state / "units")
    return {
        "actions__restart_command": command(path, "broker-restart", python),
        "actions__status_command": command(path, "broker-status", python),
        "actions__renewal_command": command(path, "certificate-renewal", python),
        "actions__sshd_command": command(path, "ssh-settings", python),
        "actions__sandbox_command": ("systemd-analyze", "security", "--offline=true", f"--root={server}", "--no-pager"),
        "actions__home_directories": (str(stack.state / "homes"),),
        "actions__script_directories": (str(broker.directory), str(stack.state / "scripts")),
        "actions__broker_config": str(broker.directory / "mosquitto.conf"),
        "actions__long_log_command": ("cat", str(broker.directory / "broker.log"), str(stack.state / "agent-1.log")),
        "actions__agent_log_command": ("tail", "-n", "200", str(stack.state / "agent-1.log")),
        "actions__broker_log_command": ("tail", "-n", "200", str(broker.directory / "broker.log")),
        "actions__broker_certificate": str(broker.directory / "server.crt"),
        "actions__broker_key": str(broker.directory / "server.key"),
    }


def units(root: Path) -> Path:
    """The units of a server, for whom there is no systemd here: ours, and the distribution's with our drop-in."""
    place = root / "etc/systemd/system"
    (place / "mosquitto.service.d").mkdir(parents=True, exist_ok=True)
    shutil.copy(DEPLOY / "iot-agent.service", place)
    shutil.copy(DEPLOY / "mosquitto-sandbox.conf", place / "mosquitto.service.d" / "iot.conf")
    shutil.copy(DISTRIBUTIONS_UNIT, place)
    return root


async def _certificate_renewal() -> str:
    return "the local stack makes a new one when certificate-renew is asked for"


async def _ssh_settings() -> str:
    """As `sshd -T` prints them: no SSH server belongs to the local stack, and its VM would have these."""
    lines = (DEPLOY / "sshd.conf").read_text().splitlines()
    return "\n".join(line.lower() for line in lines if line and not line.startswith("#"))


def deeds(stack: LocalStack, agent: LocalAgent) -> Mapping[str, Deed]:
    """By name; see stack.remote."""
    broker, cluster = stack.broker, stack.cluster

    async def broker_restart() -> str:
        await asyncio.to_thread(broker.stop)
        await asyncio.to_thread(broker.start)
        return "active"

    async def broker_status() -> str:
        if not broker.alive:
            raise StackError("inactive")
        return "active"

    async def database_start() -> str:
        if not cluster.alive:
            await cluster.start()
        return "the database answers"

    async def agent_start() -> str:
        await asyncio.to_thread(agent.stop)
        agent.start()
        return "started"

    async def certificate_renew() -> str:
        await asyncio.to_thread(broker.authority.issue, broker.directory, days=59)
        await asyncio.to_thread(broker.write_files)
        return "a certificate of 59 days is in place"

    return {
        "certificate-renewal": _certificate_renewal,
        "ssh-settings": _ssh_settings,
        "broker-restart": broker_restart,
        "broker-status": broker_status,
        "database-start": database_start,
        "agent-start": agent_start,
        "certificate-renew": certificate_renew,
    }


def write_profile(
    stack: LocalStack,
    environment: str,
    more: Mapping[str, tuple[str, ...]] | None = None,
    probe: str = "",
    sections: Mapping[str, Mapping[str, str]] | None = None,
) -> Path:
    """A config file of the console with one profile, the owner's. more: other commands of it. probe: TENANT/DEVICE
    of a device that nobody simulates. sections: more of the profile, such as azure."""
    path, target = socket_path(stack), parse_target(stack.owner_url)
    password = stack.state / "console-password"
    password.touch(mode=0o600)
    password.write_text(unquote(urlsplit(stack.owner_url).password or ""))
    commands: dict[str, tuple[str, ...]] = {
        "database_start": command(path, "database-start"),
        "agent_start": command(path, "agent-start"),
        "certificate_renew": command(path, "certificate-renew"),
        "psql": stack.cluster.psql(stack.database),
        **(more or {}),
    }
    lines = [
        f"[profiles.{PROFILE}]",
        *(f"{key} = {json.dumps(value)}" for key, value in {
            "environment": environment, "host": target.host, "port": target.port, "database": target.database,
            "user": target.user, "password": f"file:{password}",
        }.items()),
        f"[profiles.{PROFILE}.broker]",
        *(f"{key} = {json.dumps(value)}" for key, value in {
            "host": "127.0.0.1", "port": stack.broker.device_port, "tls_name": stack.broker.server_name,
            "ca_file": str(stack.authority.ca_file),
        }.items()),
        f"[profiles.{PROFILE}.commands]",
        *(f"{name} = {json.dumps(words)}" for name, words in commands.items()),
    ]  # fmt: skip
    if probe:
        lines += [f"[profiles.{PROFILE}.probe]", f'device = "{probe}"', f'secret = "{_probe_file(stack, probe)}"']
    for name, values in (sections or {}).items():
        lines += [f"[profiles.{PROFILE}.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    file = stack.state / "console.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def _probe_file(stack: LocalStack, probe: str) -> Path:
    """As `iot-console device create --out` writes it."""
    tenant, _, device = probe.partition("/")
    username = f"{tenant}/devices/{device}"
    path = stack.state / "probe"
    path.touch(mode=0o600)
    path.write_text(f"username: {username}\npassword: {stack.broker.passwords[username]}\n")
    return path
