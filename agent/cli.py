"""The command line of the agent. Exit codes: 0 done, 1 it failed or differs, 2 wrong usage or configuration."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

import sql
from agent import config, log, reference
from agent.config import ConfigError
from agent.usage import FAILED, USAGE, fail, show_progress
from store import directory, migrate, people
from store.db import Db, connected
from store.errors import StoreError
from store.target import parse_target

ADMIN_URL = "IOT_ADMIN_DATABASE_URL"

app = typer.Typer(
    name="iot-agent",
    help="MQTT to PostgreSQL without loss, for one small VM.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
provision = typer.Typer(
    help="Create tenants and logins, as the owner of the database.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(provision, name="provision")

ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help=f"Settings; without it {config.DEFAULT_FILE}, if it exists.")
]
AdminUrlFile = Annotated[
    Path | None,
    typer.Option(
        help=f"File that holds the URL of the database's owner. Without it: ${ADMIN_URL}, then $DATABASE_URL."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def main() -> None:
    if sys.argv[1:2] != ["run"]:  # the service needs none of it, and keeps what it imports in memory for months
        _add_commands()
    app()


def _add_commands() -> None:
    """Commands from other modules, last, so that help lists them last."""
    from agent import (
        broker_cli,
        cloud_cli,
        doctor_cli,
        drill_cli,
        rules_cli,
        rules_edit,
        setup_cli,
        simulate_cli,
        upgrade_cli,
    )

    rules_cli.app.command("edit")(rules_edit.edit)
    rules_cli.app.command("remove")(rules_edit.remove)
    app.add_typer(broker_cli.creds, name="creds")
    app.add_typer(broker_cli.certs, name="certs")
    app.add_typer(rules_cli.app, name="rules")
    app.command("doctor")(doctor_cli.doctor)
    app.command("install")(setup_cli.install)
    app.command("upgrade")(upgrade_cli.upgrade)
    app.command("rollback")(upgrade_cli.rollback)
    app.command("uninstall")(setup_cli.uninstall)
    app.command("cloud")(cloud_cli.cloud)
    app.command("drill")(drill_cli.drill)
    app.command("simulate")(simulate_cli.simulate)


@app.command()
def run(config_file: ConfigFile = None) -> None:
    """Run the agent until SIGTERM.

    Example: iot-agent run --config /etc/iot-agent/agent.toml
    """
    from agent import daemon  # the other commands start faster without it

    settings = _settings(config_file)
    log.configure(settings.agent.log_level, settings.agent.id)
    try:
        asyncio.run(daemon.serve(settings, config_file=config_file))
    except ConfigError as error:
        fail(str(error), USAGE)


@app.command("retire")
def retire_command(
    config_file: ConfigFile = None,
    seconds: Annotated[float, typer.Option(help="The longest it may take.")] = 3600.0,
) -> None:
    """Take this agent out of service for good: what the broker and the spool still hold for it goes to the database,
    then the broker forgets it. Stop the service first. Exit code 1 when something still waits; nothing is lost then.

    Example: systemctl stop iot-agent && iot-agent retire
    """
    from agent import retire
    from agent.hardening import running
    from agent.ingest.spool import SpoolError

    settings = _settings(config_file)
    if running(settings.agent.state_dir):
        fail(f"agent {settings.agent.id} is running: systemctl stop iot-agent", USAGE)
    log.configure("warning", settings.agent.id)
    try:
        count = asyncio.run(retire.retire(settings, seconds, _retiring))
    except ConfigError as error:
        fail(str(error), USAGE)
    except (retire.NotRetired, SpoolError, StoreError) as error:
        fail(str(error), FAILED)
    show_progress("")
    typer.echo(f"agent {settings.agent.id} is retired: {count.received} messages of the broker are stored")
    if count.drained:
        typer.echo(f"and {count.drained} of the spool")


def _retiring(received: int, left: int) -> None:
    show_progress(f"{received} messages came, {left} are not stored yet")


@app.command("check-config")
def check_config(config_file: ConfigFile = None, as_json: AsJson = False) -> None:
    """Read all settings and report every mistake at once. Secrets are never printed.

    Example: iot-agent check-config --config agent.toml
    """
    settings = _settings(config_file)
    if as_json:
        typer.echo(settings.model_dump_json(indent=2))
    else:
        broker = f"{settings.mqtt.host}:{settings.mqtt.port}"
        typer.echo(f"ok: agent {settings.agent.id}, broker {broker}, database {settings.target}")


@app.command("settings")
def settings_reference() -> None:
    """Print every setting with its default and meaning, as Markdown.

    Example: iot-agent settings > docs/configuration.md
    """
    typer.echo(reference.markdown(), nl=False)


@app.command("migrate")
def migrate_command(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 when migrations are pending.")] = False,
    adopt_existing: Annotated[
        bool, typer.Option("--adopt-existing", help="Rename a public.telemetry that is not ours to telemetry_legacy.")
    ] = False,
    admin_url_file: AdminUrlFile = None,
    as_json: AsJson = False,
) -> None:
    """Bring the database to the schema of this version.

    Example: IOT_ADMIN_DATABASE_URL=... iot-agent migrate --check
    """
    files = sql.migrations()

    async def work(db: Db) -> None:
        if check:
            waiting = await migrate.pending(db, files)
            _report(as_json, "pending", [f"{m.number:04} {m.name}" for m in waiting], "up to date")
            if waiting:
                raise typer.Exit(FAILED)
            return
        done = await migrate.migrate(db, files, adopt_existing=adopt_existing, report=_progress)
        _report(as_json, "applied", [f"{m.number:04} {m.name}" for m in done], "up to date")

    _with_admin(admin_url_file, work)


@provision.command("tenant")
def provision_tenant(slug: str, name: str, admin_url_file: AdminUrlFile = None) -> None:
    """Create a tenant, or change its name.

    Example: iot-agent provision tenant acme "Acme Ltd"
    """

    async def work(db: Db) -> None:
        typer.echo(f"tenant {slug} has id {await directory.create_tenant(db, slug, name)}")

    _with_admin(admin_url_file, work)


@provision.command("agent")
def provision_agent(
    login: str,
    out: Annotated[Path, typer.Option(help="File for the agent's database URL; mode 0600, must not exist.")],
    admin_url_file: AdminUrlFile = None,
) -> None:
    """Create an agent's database login, or give it a new password.

    Example: iot-agent provision agent iot_agent_a --out /etc/iot-agent/database-url
    """
    _with_admin(admin_url_file, lambda db: _write_login(db, out, login, admin_url_file, people.put_agent(db, login)))


@provision.command("owner")
def provision_owner(
    login: str,
    out: Annotated[Path, typer.Option(help="File for the person's database URL; mode 0600, must not exist.")],
    tenant: Annotated[str, typer.Option(help='Slug of the tenant; "platform" sees all tenants.')] = "platform",
    admin_url_file: AdminUrlFile = None,
) -> None:
    """Create an owner's login for iot-console, or give it a new password.

    Example: iot-agent provision owner iot_u_anna --out anna.url
    """
    _with_admin(
        admin_url_file, lambda db: _write_login(db, out, login, admin_url_file, people.put_owner(db, login, tenant))
    )


async def _write_login(db: Db, out: Path, login: str, admin_url_file: Path | None, password: Awaitable[str]) -> None:
    """The secret goes to a file that only its owner can read, never to the screen."""
    try:
        file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ValueError(f"--out {out}: {error.strerror}") from error
    try:
        with os.fdopen(file, "w") as stream:
            stream.write(people.login_url(_admin_url(admin_url_file), login, await password) + "\n")
    except BaseException:
        out.unlink()
        raise
    typer.echo(f"{login}: URL written to {out}")


def _with_admin(url_file: Path | None, work: Callable[[Db], Awaitable[None]]) -> None:
    """Run work as the owner of the database; errors become one line and an exit code."""

    async def session() -> None:
        async with connected(parse_target(_admin_url(url_file)), "iot-agent admin", 3) as db:
            await work(db)

    try:
        asyncio.run(session())
    except ValueError as error:
        fail(str(error), USAGE)
    except StoreError as error:
        fail(str(error), FAILED)


def _admin_url(url_file: Path | None) -> str:
    if url_file is not None:
        try:
            return url_file.read_text().strip()
        except OSError as error:
            raise ValueError(f"--admin-url-file {url_file}: {error.strerror}") from error
    url = os.environ.get(ADMIN_URL) or os.environ.get("DATABASE_URL")
    if not url:
        raise ValueError(f"no database URL: set ${ADMIN_URL}, or give --admin-url-file")
    return url


def _settings(file: Path | None) -> config.Settings:
    try:
        return config.from_process(file)
    except ConfigError as error:
        fail(str(error), USAGE)


def _report(as_json: bool, word: str, items: list[str], nothing: str) -> None:
    if as_json:
        typer.echo(json.dumps({word: items}))
    else:
        typer.echo("\n".join(f"{word}: {item}" for item in items) or nothing)


def _progress(line: str) -> None:
    typer.echo(line, err=True)
