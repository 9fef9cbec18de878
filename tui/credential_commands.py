"""`iot-console credentials`: sets, what the brokers have, rollback, and what is due."""

from dataclasses import asdict
from typing import Annotated

import typer

from store import brokers, credentials
from store.credentials import Change
from store.db import Db
from tui.command import FAILED, AsJson, UrlFile, Yes, confirmed, print_json, run, say_in_force, until_in_force

app = typer.Typer(
    help="Numbered credential sets: history, difference to the brokers, rollback, due dates.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("sets")
def sets(
    context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    limit: Annotated[int, typer.Option(help="How many, the newest first.")] = 20,
    url_file: UrlFile = None,
    as_json: AsJson = False,
) -> None:
    """The newest credential sets: who made them, when and why.

    Example: iot-console credentials sets --tenant acme
    """
    found = run(context, url_file, lambda db: credentials.sets(db, tenant, limit))
    if as_json:
        print_json([asdict(item) for item in found])
        return
    for item in found:
        typer.echo(
            f"{item.generation:>6}  {item.created_at:%Y-%m-%d %H:%M:%SZ}  {item.tenant:<12} {item.reason}"
            f" ({item.created_by}{', confirmed by ' + item.confirmed_by if item.confirmed_by else ''})"
        )


@app.command("brokers")
def list_brokers(context: typer.Context, url_file: UrlFile = None, as_json: AsJson = False) -> None:
    """What each broker has. Exit code 1 unless all have the newest set, proved less than a minute ago.

    Example: iot-console credentials brokers --json
    """
    rows = run(context, url_file, brokers.all_brokers)
    if as_json:
        print_json([asdict(row.broker) | {"desired": row.desired, "age_seconds": row.age_seconds} for row in rows])
    else:
        for row in rows:
            b = row.broker
            typer.echo(
                f"{b.broker_id:<16} {b.state:<8} set {b.generation} of {row.desired}, {b.entries} credentials, "
                f"Mosquitto {b.version or 'unknown'}, {row.age_seconds:.0f} s ago: {b.detail}"
            )
    well = [r.broker.state == "applied" and r.broker.generation == r.desired and r.age_seconds < 60 for r in rows]
    raise typer.Exit(0 if rows and all(well) else FAILED)


@app.command("diff")
def diff(
    context: typer.Context,
    since: Annotated[int | None, typer.Option(help="Another set than the one that the brokers have.")] = None,
    url_file: UrlFile = None,
    as_json: AsJson = False,
) -> None:
    """What the newest set has (+) and lacks (-) against the oldest one that a broker has. Exit code 1 if anything.

    Example: iot-console credentials diff --since 12
    """

    async def work(db: Db) -> tuple[int, list[Change]]:
        rows = await brokers.all_brokers(db)
        base = since if since is not None else min((row.broker.generation for row in rows), default=0)
        return base, await credentials.changes_since(db, base)

    base, changes = run(context, url_file, work)
    if as_json:
        print_json({"since": base, "changes": [asdict(change) for change in changes]})
    elif not changes:
        typer.echo(f"no difference to set {base}")
    for change in changes if not as_json else ():
        typer.echo(f"{'+' if change.added else '-'} {change.username}  (set {change.generation}: {change.reason})")
    raise typer.Exit(FAILED if changes else 0)


@app.command("rollback")
def rollback(context: typer.Context, tenant: str, generation: int, yes: Yes = False, url_file: UrlFile = None) -> None:
    """Give a tenant the credentials and grants it had in an older set, without what was revoked since.

    Example: iot-console credentials rollback acme 41 --yes
    """
    confirmed(f"Give {tenant} what it had in set {generation}?", yes)

    async def work(db: Db) -> tuple[int, str | None]:
        made = await credentials.rollback(db, tenant, generation)
        typer.echo(f"set {made.generation}: {made.restored} back, {made.ended} ended, {made.left_out} stay out "
                   "(revoked, or their device is disabled)")  # fmt: skip
        return made.generation, await until_in_force(db, made.generation, True)

    number, said = run(context, url_file, work)
    say_in_force(said, number)


@app.command("confirm")
def confirm(context: typer.Context, generation: int, url_file: UrlFile = None) -> None:
    """Let the brokers take a set although it takes most devices away. For owners of the service itself.

    Example: iot-console credentials confirm 57
    """

    async def work(db: Db) -> str | None:
        await credentials.confirm(db, generation)
        return await until_in_force(db, generation, True)

    say_in_force(run(context, url_file, work), generation)


@app.command("due")
def due(context: typer.Context, url_file: UrlFile = None, as_json: AsJson = False) -> None:
    """Which passwords and certificates are due for rotation, and when. Exit code 1 when something is overdue.

    Example: iot-console credentials due
    """
    found = run(context, url_file, credentials.due)
    if as_json:
        print_json([asdict(item) for item in found])
    else:
        for item in found:
            late = f"{item.overdue} OVERDUE, " if item.overdue else ""
            typer.echo(f"{item.policy:<20} {late}next {item.next_at:%Y-%m-%d} ({item.first}), {item.subjects} in all")
    raise typer.Exit(FAILED if any(item.overdue for item in found) else 0)
