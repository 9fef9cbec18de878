"""What people and agents do to the local stack with commands, as with systemctl on a server; and a profile of the
console that knows them."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stack.local import LocalAgent, LocalStack
from stack.process import StackError
from stack.remote import Deed, command
from store.target import parse_target

PROFILE = "demo"


def socket_path(stack: LocalStack) -> Path:
    return stack.state / "remote"


def agent_settings(stack: LocalStack) -> dict[str, object]:
    """So that the agent can do here what it does on a server."""
    path, broker = socket_path(stack), stack.broker
    return {
        "actions__restart_command": command(path, "broker-restart"),
        "actions__status_command": command(path, "broker-status"),
        "actions__broker_log_command": ("tail", "-n", "200", str(broker.directory / "broker.log")),
        "actions__broker_certificate": str(broker.directory / "server.crt"),
        "actions__broker_key": str(broker.directory / "server.key"),
    }


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
        "broker-restart": broker_restart,
        "broker-status": broker_status,
        "database-start": database_start,
        "agent-start": agent_start,
        "certificate-renew": certificate_renew,
    }


def write_profile(stack: LocalStack, environment: str, more: Mapping[str, tuple[str, ...]] | None = None) -> Path:
    """A config file of the console with one profile, the owner's. more: other commands of it."""
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
    file = stack.state / "console.toml"
    file.write_text("\n".join(lines) + "\n")
    return file
