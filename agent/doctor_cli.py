"""`iot-agent doctor`: whether the hardening of this machine holds, tried from here. As root it sees everything."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from agent import build, root_looks, service
from agent.config import ConfigError, Settings
from agent.creds import identity
from agent.creds.identity import Identity, IdentityError
from agent.looks import ArgumentError, Looks
from agent.root_looks import OF_ROOT
from agent.usage import FAILED, USAGE, fail, show_progress
from probes import hardening, report
from probes.broker import BrokerError, BrokerLogin
from probes.finding import Finding, passed, unknown
from probes.hardening import Item, Verdict, Waiver
from probes.hardening_items import ITEMS
from probes.mqtt import connect
from probes.redact import Redactor
from store import session
from store.db import connected
from store.deadline import within
from store.errors import StoreError

SCHEMA = "iot-agent-doctor/1"
CHECK_SECONDS = 60.0
ANSWER_SECONDS = 5.0
PROVOKE_SECONDS = 20.0


def doctor(
    config_file: Annotated[Path | None, typer.Option("--config", "-c", help="Settings of the agent.")] = None,
    problems: Annotated[bool, typer.Option("--problems", help="Only what is not ok.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="The most important checks.")] = False,
    only: Annotated[str, typer.Option(help="Ids or their beginnings, as in TLS,HOST-01.")] = "",
    junit: Annotated[Path | None, typer.Option(help="Write a JUnit file.")] = None,
    save: Annotated[
        bool, typer.Option("--save", help="Look at what only root may see, and keep it for the agent to tell.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Whether the hardening holds, tried from this machine. What only shows from outside is for iot-console doctor.

    Exit code 0: all well or waived; 1: something fails; 2: nothing fails, and something is unknown; with --save: 0.
    Known failures are waived in the settings: [[doctor.waivers]] check, reason, until.

    Example: sudo iot-agent doctor --problems
    Example: sudo iot-agent doctor --only TLS,SEC --json
    """
    settings = _settings(config_file)
    try:
        items = hardening.chosen(ITEMS, only, quick, "agent")
        if save and not only:
            items = [item for item in items if item.check in OF_ROOT]
    except ValueError as error:
        fail(f"--only: {error}", USAGE)
    began = time.monotonic()
    verdicts = hardening.ordered(asyncio.run(_examined(settings, items, _progress(len(items), as_json))))
    try:
        if save:
            found = {verdict.item.check: verdict.finding for verdict in verdicts}
            root_looks.save(settings.agent.state_dir, found, time.time())
        if junit is not None:
            junit.write_text(report.junit(verdicts, time.monotonic() - began))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", FAILED)
    shown = [verdict for verdict in verdicts if not problems or verdict.state != "pass"]
    if as_json:
        typer.echo(json.dumps({"schema": SCHEMA, "hardening": [report.row(verdict) for verdict in shown]}))
    for verdict in shown if not as_json else ():
        typer.echo("\n".join(report.lines(verdict)))
    sys.exit(0 if save else hardening.exit_code(verdicts))


def _settings(file: Path | None) -> Settings:
    """As the service has them: for root, with the secrets that its unit is given."""
    try:
        return service.settings(file)
    except ConfigError as error:
        fail(str(error), USAGE)


def _progress(total: int, quiet: bool) -> Callable[[int], None]:
    def tell(done: int) -> None:
        if not quiet:
            show_progress(f"{done} of {total} examined" if done < total else "")

    return tell


async def _examined(settings: Settings, items: list[Item], tell: Callable[[int], None]) -> list[Verdict]:
    today = datetime.now(UTC).date()
    waivers = [Waiver(one.check, one.reason, one.until) for one in settings.doctor.waivers]
    verdicts = []
    async with _looks(settings) as looks:
        for item in items:  # one after the other: this machine is small
            try:
                found = await within(CHECK_SECONDS, looks.ask(item.check, item.arguments))
            except (StoreError, ArgumentError) as error:
                found = unknown(str(error))
            verdicts.append(hardening.judged(item, looks.clean(found), waivers, today))
            tell(len(verdicts))
    return verdicts


@asynccontextmanager
async def _looks(settings: Settings) -> AsyncIterator[Looks]:
    own, redact = _identity(settings), Redactor(build.secrets_of(settings))
    if own is not None:
        redact.know(own.ingest_password, own.canary_password, own.control_password)
    async with connected(settings.target, "iot-agent doctor", 2) as db:
        canary = build.canary(settings, db, own)
        try:
            await within(ANSWER_SECONDS, session.who(db))
            present = db
        except StoreError:
            present = None
        sight = build.sight(settings, present, redact, canary, None, _provoke(settings, own))
        yield Looks(sight)


def _identity(settings: Settings) -> Identity | None:
    """The agent's own logins, when we may read them."""
    if not settings.creds.enabled:
        return None
    try:
        return identity.load(settings.agent.state_dir).current
    except (IdentityError, OSError):
        return None


def _provoke(settings: Settings, own: Identity | None) -> Callable[[], Awaitable[Finding]] | None:
    """Waits until the agent's login, which may read everything, sees a message of a device."""
    if own is None:
        return None

    async def seen() -> Finding:
        device = build.device_login(settings)
        login = BrokerLogin(settings.mqtt.host, settings.mqtt.port, device.tls, own.ingest, own.ingest_password)
        try:
            async with asyncio.timeout(PROVOKE_SECONDS), connect(login) as client:
                await client.subscribe("tenants/#")
                while True:
                    topic, _ = await client.messages.get()
                    if "/devices/canary/" not in topic:
                        return passed(f"{topic} was published meanwhile")
        except TimeoutError:
            return unknown(f"no device has published within {PROVOKE_SECONDS:.0f} s")
        except BrokerError as error:
            return unknown(str(error))

    return seen
