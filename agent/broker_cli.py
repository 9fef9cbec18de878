"""`iot-agent creds` and `iot-agent certs`: the broker's files, logins and certificates, on its machine."""

import asyncio
import json
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from agent import build, config
from agent.config import ConfigError, Settings
from agent.creds import bootstrap, identity
from agent.usage import FAILED, USAGE, fail
from probes.certificates import CertificateError, Served, file_fingerprint, from_files, served
from store import brokers
from store.brokers import BrokerRow
from store.db import connected
from store.errors import StoreError

SOON_DAYS = 21.0
TAKES_SECONDS = 60.0

creds = typer.Typer(
    help="The agent's logins at the broker, and the broker's files.", no_args_is_help=True, rich_markup_mode=None
)
certs = typer.Typer(help="The broker's certificate.", no_args_is_help=True, rich_markup_mode=None)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help=f"Settings; without it {config.DEFAULT_FILE}, if it exists.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@creds.command("init")
def init(
    directory: Annotated[Path, typer.Option(help="creds.directory.")] = Path("/etc/mosquitto/iot/managed"),
    state_dir: Annotated[Path, typer.Option(help="agent.state_dir.")] = Path("/var/lib/iot-agent"),
    force: Annotated[bool, typer.Option("--force", help="Replace what is there; then restart the broker.")] = False,
) -> None:
    """Make the agent's logins and the first files of a broker that is not running yet.

    Example: iot-agent creds init && systemctl restart mosquitto
    """
    try:
        made = bootstrap.init(directory, state_dir, force)
    except (bootstrap.AlreadyThere, OSError) as error:
        fail(str(error), FAILED)
    typer.echo("\n".join(f"written: {path}" for path in made))


@creds.command("status")
def status(config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """Which set this agent's broker has, and how old the agent's own logins are. Exit code 1 unless it is in force.

    Example: iot-agent creds status --json
    """
    settings = _settings(config_file)
    try:
        row = asyncio.run(_row(settings))
    except StoreError as error:
        fail(str(error), FAILED)
    if row is None:
        fail(f"agent {settings.agent.id} has reported no broker yet; is creds.enabled set, and does it run?", FAILED)
    broker = row.broker
    if as_json:
        body = asdict(broker) | {"desired": row.desired, "age_seconds": row.age_seconds}
        typer.echo(json.dumps(body, default=lambda when: when.isoformat()))
    else:
        typer.echo(f"{broker.broker_id}: {broker.state}, set {broker.generation} of {row.desired}, {broker.detail}")
    sys.exit(0 if broker.state == "applied" and broker.generation == row.desired else FAILED)


@creds.command("rotate-identity")
def rotate_identity(config_file: ConfigFile = None) -> None:
    """Have the running agent change its own logins, without a gap, and wait until it has.

    Example: iot-agent creds rotate-identity
    """
    settings = _settings(config_file)
    state_dir = settings.agent.state_dir
    try:
        before = identity.load(state_dir).current.slot
        (state_dir / identity.REQUEST).touch()
    except (identity.IdentityError, OSError) as error:
        fail(str(error), FAILED)
    ends_at = time.monotonic() + TAKES_SECONDS
    while identity.requested(state_dir):
        if time.monotonic() > ends_at:
            fail("not done within a minute; does the agent run, and does it reach the broker? It will go on", FAILED)
        time.sleep(0.1)
    typer.echo(f"slot {before} -> slot {identity.load(state_dir).current.slot}")


@certs.command("status")
def certs_status(
    certificate: Annotated[Path | None, typer.Option(help="The file that the broker should serve.")] = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """What the broker serves, verified as a device would: until when, and whether it is what the file holds.

    Exit code 1 when it is refused, ends within three weeks, or differs from the file.
    Example: iot-agent certs status --certificate /etc/mosquitto/iot/server.crt
    """
    login = build.device_login(_settings(config_file))
    try:
        seen = asyncio.run(served(login.host, login.port, login.tls))
        same = None if certificate is None else file_fingerprint(certificate) == seen.fingerprint
    except (OSError, TimeoutError, ValueError) as error:
        fail(str(error) or "the broker does not answer", FAILED)
    _print_served(seen, as_json, same)
    sys.exit(FAILED if same is False or seen.days_left() < SOON_DAYS else 0)


@certs.command("rotate-check")
def rotate_check(certificate: Path, key: Path, config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """Whether devices would accept a new certificate, before it is put in place: chain, name, key, dates.

    Afterwards copy both files and reload the broker; clients stay connected.
    Example: iot-agent certs rotate-check new.crt new.key && systemctl reload mosquitto
    """
    settings = _settings(config_file)
    login = build.device_login(settings)
    try:
        seen = from_files(certificate, key, login.tls, settings.mqtt.tls_name or settings.mqtt.host)
    except CertificateError as error:
        fail(str(error), FAILED)
    _print_served(seen, as_json, None)


def _print_served(seen: Served, as_json: bool, same: bool | None) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(seen) | {"days_left": round(seen.days_left(), 1), "same_as_file": same}))
        return
    until = datetime.fromtimestamp(seen.until, UTC)
    typer.echo(f"accepted for {', '.join(seen.names)}")
    typer.echo(f"until {until:%Y-%m-%d %H:%MZ}, {seen.days_left():.0f} days left")
    typer.echo(f"SHA-256 {seen.fingerprint}")
    if same is not None:
        typer.echo("the file holds the same" if same else "THE FILE HOLDS ANOTHER ONE: reload the broker")


async def _row(settings: Settings) -> BrokerRow | None:
    async with connected(settings.target, "iot-agent creds", 2) as db:
        return next((row for row in await brokers.all_brokers(db) if row.broker.broker_id == settings.agent.id), None)


def _settings(file: Path | None) -> Settings:
    try:
        return config.from_process(file)
    except ConfigError as error:
        fail(str(error), USAGE)
