"""`iot-console devices` and `iot-console device`: credentials of devices, for owners."""

import csv
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, TextIO

import typer

from store import credentials, directory
from store.credentials import Device
from store.db import Db
from tui import bulk
from tui.command import (
    FAILED,
    USAGE,
    AsJson,
    NoWait,
    Out,
    UrlFile,
    Yes,
    confirmed,
    duration,
    fail,
    place,
    print_json,
    run,
    say_in_force,
    secret_file,
    until_in_force,
)

app = typer.Typer(
    help="Create a device, change or end its credentials. For owners of its tenant.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
TIME = "%Y-%m-%d %H:%MZ"
Where = Annotated[str, typer.Argument(metavar="TENANT/DEVICE")]


def devices(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    not_moved: Annotated[
        bool, typer.Option("--not-moved", help="Only those that have not logged in with their new credential.")
    ] = False,
    url_file: UrlFile = None,
    as_json: AsJson = False,
) -> None:
    """List devices with their credentials and last logins.

    Example: iot-console devices --tenant acme --not-moved
    """
    found = run(context, url_file, lambda db: credentials.devices(db, tenant))
    if not_moved:
        found = [device for device in found if device.moving]
    if as_json:
        print_json([asdict(device) | {"moving": device.moving} for device in found])
        return
    for device in found:
        typer.echo(_line(device))


def _line(device: Device) -> str:
    name = f"{device.tenant}/{device.device}"
    words = []
    for found in device.credentials:
        login = f"last login {found.last_login_at:{TIME}}" if found.last_login_at else "never logged in"
        ends = f", ends {found.ends_at:{TIME}}" if found.ends_at else ""
        words.append(f"{found.slot}: since {found.issued_at:%Y-%m-%d}, {login}{ends}")
    state = "disabled  " if device.disabled else "MOVING    " if device.moving else "          "
    return f"{name:<40} {state}{' | '.join(words) or 'no credential'}"


@app.command("create")
def create(
    context: typer.Context, where: Where, out: Out = None, no_wait: NoWait = False, url_file: UrlFile = None
) -> None:
    """Create a device. Its password is made here, and shown or written once; only its hash is stored.

    Example: iot-console device create acme/pump-7 --out pump-7.secret
    """
    tenant, device = place(where)
    secret = credentials.new_secret()
    with secret_file(out) as stream:

        async def work(db: Db) -> tuple[int, str | None]:
            async with db.transaction() as same:  # a secret that cannot be written is not made
                generation = await credentials.create(same, tenant, {device: secret.stored})
                stream.write(_shown(f"{tenant}/devices/{device}", secret.password))
                stream.flush()
            return generation, await until_in_force(db, generation, not no_wait)

        generation, said = run(context, url_file, work)
    say_in_force(said, generation)


@app.command("rotate")
def rotate(
    context: typer.Context,
    where: Where,
    overlap: Annotated[str, typer.Option(help="How long the old one stays valid at most; 0 ends it now.")] = "7d",
    keep_username: Annotated[
        bool, typer.Option("--keep-username", help="Same user name, no overlap: the device is cut off at once.")
    ] = False,
    out: Out = None,
    no_wait: NoWait = False,
    url_file: UrlFile = None,
) -> None:
    """Give a device a new credential. The old one ends when the device has logged in with the new one.

    The new one has another user name (with or without /b at its end) and the same rights.
    Example: iot-console device rotate acme/pump-7 --overlap 14d --out pump-7.secret
    """
    tenant, device = place(where)
    limit, secret = duration(overlap), credentials.new_secret()
    with secret_file(out) as stream:

        async def work(db: Db) -> tuple[int, str | None]:
            async with db.transaction() as same:
                made = await credentials.rotate(same, tenant, device, secret.stored, limit, keep_username)
                stream.write(_shown(made.username, secret.password))
                stream.flush()
            if made.old_ends_at is not None:
                typer.echo(f"the old credential ends {made.old_ends_at:{TIME}} at the latest", err=True)
            return made.generation, await until_in_force(db, made.generation, not no_wait)

        generation, said = run(context, url_file, work)
    say_in_force(said, generation)


@app.command("revoke")
def revoke(
    context: typer.Context,
    where: Where,
    reason: Annotated[str, typer.Option(help="Goes into the audit log.")],
    slot: Annotated[str | None, typer.Option(help="a or b; without it, everything the device ever had.")] = None,
    yes: Yes = False,
    url_file: UrlFile = None,
) -> None:
    """End a device's credentials now and for ever: it is cut off at once, and no rollback brings them back.

    Example: iot-console device revoke acme/pump-7 --reason "stolen" --yes
    """
    tenant, device = place(where)
    if slot not in (None, "a", "b"):
        fail("--slot: a or b", USAGE)
    confirmed(f"Cut {tenant}/{device} off for ever?", yes)
    _change(context, url_file, lambda db: credentials.revoke(db, tenant, device, reason, slot))


@app.command("disable")
def disable(context: typer.Context, where: Where, yes: Yes = False, url_file: UrlFile = None) -> None:
    """Cut a device off until it is enabled again; its messages become dead letters.

    Example: iot-console device disable acme/pump-7 --yes
    """
    tenant, device = place(where)
    confirmed(f"Cut {tenant}/{device} off until it is enabled?", yes)
    _change(context, url_file, lambda db: credentials.set_disabled(db, tenant, device, True))


@app.command("enable")
def enable(context: typer.Context, where: Where, url_file: UrlFile = None) -> None:
    """Let a disabled device in again, with the credentials it had.

    Example: iot-console device enable acme/pump-7
    """
    tenant, device = place(where)
    _change(context, url_file, lambda db: credentials.set_disabled(db, tenant, device, False))


@app.command("grant")
def grant(
    context: typer.Context,
    where: Where,
    access: Annotated[str, typer.Argument(help="read, write or readwrite")],
    topic_filter: str,
    url_file: UrlFile = None,
) -> None:
    """Let a device do more than its own subtree, inside its tenant's topics.

    Example: iot-console device grant acme/gateway-1 read 'tenants/acme/devices/+/status'
    """
    tenant, device = place(where)
    if access not in ("read", "write", "readwrite"):
        fail("ACCESS: read, write or readwrite", USAGE)
    _change(context, url_file, lambda db: credentials.grant(db, tenant, device, access, topic_filter))


@app.command("withdraw")
def withdraw(context: typer.Context, where: Where, topic_filter: str, url_file: UrlFile = None) -> None:
    """Take a grant back.

    Example: iot-console device withdraw acme/gateway-1 'tenants/acme/devices/+/status'
    """
    tenant, device = place(where)
    _change(context, url_file, lambda db: credentials.withdraw(db, tenant, device, topic_filter))


@app.command("import")
def import_devices(
    context: typer.Context,
    file: Path,
    out: Annotated[Path | None, typer.Option("--out", help="CSV file for the secrets, mode 0600.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is wrong and what would be made.")] = False,
    no_wait: NoWait = False,
    url_file: UrlFile = None,
    as_json: AsJson = False,
) -> None:
    """Create many devices from a CSV file with the columns tenant and device. With a fault in any line, none is made.

    Example: iot-console device import fleet.csv --dry-run
    """
    if out is None and not dry_run:
        fail("--out: the secrets need a file (or look first, with --dry-run)", USAGE)
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file}: {getattr(error, 'strerror', None) or 'is not UTF-8'}", USAGE)
    plan = run(context, url_file, lambda db: _planned(db, text))
    if as_json:
        print_json({"devices": len(plan.devices), "faults": [{"line": n, "fault": f} for n, f in plan.faults]})
    for line, fault in plan.faults if not as_json else ():
        typer.echo(f"{file}:{line}: {fault}", err=True)
    if plan.faults or not plan.devices:
        fail(f"{len(plan.faults)} faulty lines, {len(plan.devices)} good ones; nothing was created", FAILED)
    if dry_run:
        typer.echo(f"{len(plan.devices)} devices would be created")
        return
    with secret_file(out) as stream:
        generation, said = run(context, url_file, lambda db: _import(db, plan, stream, not no_wait))
    typer.echo(f"{len(plan.devices)} devices created, secrets in {out}")
    say_in_force(said, generation)


async def _planned(db: Db, text: str) -> bulk.Import:
    existing = {(found.tenant, found.device) for found in await credentials.devices(db)}
    return bulk.read(text, existing, await directory.tenants(db))


async def _import(db: Db, plan: bulk.Import, stream: TextIO, wait: bool) -> tuple[int, str | None]:
    """All tenants in one transaction; the secrets are written before it commits."""
    secrets = {key: credentials.new_secret() for key in plan.devices}
    generation = 0
    async with db.transaction() as same:
        for tenant in sorted({tenant for tenant, _ in secrets}):
            hashes = {device: secret.stored for (owner, device), secret in secrets.items() if owner == tenant}
            generation = await credentials.create(same, tenant, hashes)
        writer = csv.writer(stream)
        writer.writerow(("tenant", "device", "username", "password"))
        for (tenant, device), secret in secrets.items():
            writer.writerow((tenant, device, f"{tenant}/devices/{device}", secret.password))
        stream.flush()
    return generation, await until_in_force(db, generation, wait)


def _change(context: typer.Context, url_file: Path | None, change: Callable[[Db], Awaitable[int]]) -> None:
    async def work(db: Db) -> tuple[int, str | None]:
        generation = await change(db)
        return generation, await until_in_force(db, generation, True)

    generation, said = run(context, url_file, work)
    say_in_force(said, generation)


def _shown(username: str, password: str) -> str:
    return f"username: {username}\npassword: {password}\n"
