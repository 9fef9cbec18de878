"""`iot-console alerts`: see what fires, take care of it, mute what is known. For operators; viewers look."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from alerting import durations
from store import alert_views
from store.alert_views import EpisodeRow
from store.db import Db
from tui.command import FAILED, USAGE, AsJson, UrlFile, duration, fail, print_json, run

app = typer.Typer(help="See alerts, acknowledge and silence them.", no_args_is_help=True, rich_markup_mode=None)
TIME = "%Y-%m-%d %H:%M:%SZ"
Which = Annotated[str, typer.Argument(metavar="ALERT", help="Id, the beginning of one, or the alert's name.")]


@app.command("list")
def list_alerts(
    context: typer.Context,
    ended: Annotated[str, typer.Option(help="Also what ended within this time.")] = "0",
    alert: Annotated[str | None, typer.Option(help="Only alerts of this name.")] = None,
    url_file: UrlFile = None,
    as_json: AsJson = False,
) -> None:
    """List what fires. Exit code 1 when something critical fires that nobody has acknowledged.

    Example: iot-console alerts list --ended 12h
    """
    within = duration(ended)

    async def work(db: Db) -> tuple[list[EpisodeRow], alert_views.AlertingHealth, int]:
        found = await alert_views.episodes(db, within, alert)
        return found, await alert_views.health(db), await alert_views.pending(db)

    found, health, pending = run(context, url_file, work)
    if as_json:
        print_json({"alerts": [asdict(row) for row in found], "pending": pending, "health": asdict(health)})
    else:
        for row in found:
            typer.echo(_line(row))
        typer.echo(_closing(found, health, pending))
    grave = any(row.ended_at is None and row.severity == "critical" and not row.acked for row in found)
    raise typer.Exit(FAILED if grave else 0)


def _line(row: EpisodeRow) -> str:
    labels = ", ".join(f"{k}={v}" for k, v in sorted(row.labels.items()) if k not in ("alertname", "severity"))
    end = row.ended_at or datetime.now(UTC)
    lasted = durations.words((end - row.fired_at).total_seconds())
    marks = [f"acknowledged by {row.acked_by}"] * row.acked + ["silenced"] * row.silenced
    word = "ENDED" if row.ended_at else row.severity.upper()
    tail = f" [{', '.join(marks)}]" if marks else ""
    return f"{row.event_id[:8]}  {word:<9} {row.alert} ({labels}) {lasted}: {row.summary}{tail} -> {row.runbook}"


def _closing(found: list[EpisodeRow], health: alert_views.AlertingHealth, pending: int) -> str:
    firing = sum(row.ended_at is None for row in found)
    age = "never" if health.age_seconds is None else f"{health.age_seconds:.0f} s ago"
    failing = f", {health.failing} rules cannot be evaluated" if health.failing else ""
    return f"{firing} firing, {pending} pending; rules evaluated {age}{failing}"


@app.command("ack")
def ack(
    context: typer.Context,
    which: Which,
    note: Annotated[str, typer.Option(help="What you do about it; others read it.")] = "",
    lasts: Annotated[str, typer.Option("--for", help="Remind again after this time; 0: not before its end.")] = "0",
    url_file: UrlFile = None,
) -> None:
    """Say that you take care of an alert: reminders stop, its end is still told.

    Example: iot-console alerts ack BrokerDown --note "restarting it" --for 30m
    """
    limit = duration(lasts)
    until = datetime.now(UTC) + limit if limit else None

    async def work(db: Db) -> str:
        event_id = await _one(db, which)
        await alert_views.ack(db, event_id, note, until)
        return event_id

    typer.echo(f"acknowledged {run(context, url_file, work)}")


@app.command("unack")
def unack(context: typer.Context, which: Which, url_file: UrlFile = None) -> None:
    """Take an acknowledgement back.

    Example: iot-console alerts unack BrokerDown
    """

    async def work(db: Db) -> str:
        event_id = await _one(db, which)
        await alert_views.unack(db, event_id)
        return event_id

    typer.echo(f"no longer acknowledged: {run(context, url_file, work)}")


async def _one(db: Db, text: str) -> str:
    found = await alert_views.find(db, text)
    if not found:
        fail(f"nothing that fires is named {text}, and no id begins so", FAILED)
    if len(found) > 1:
        fail(f"{text} fits several alerts: give the id, see iot-console alerts list", USAGE)
    return found[0]


@app.command("silence")
def silence(
    context: typer.Context,
    matchers: Annotated[list[str], typer.Argument(metavar="LABEL=VALUE...", help="Such as alertname=DeviceSilent.")],
    lasts: Annotated[str, typer.Option("--for", help="Such as 2h.")],
    reason: Annotated[str, typer.Option(help="Others read it.")],
    tenant: Annotated[str, typer.Option(help="Whose alerts; platform: everyone's.")] = "platform",
    url_file: UrlFile = None,
) -> None:
    """Mute alerts that have these labels. What fires when it ends is told then.

    Example: iot-console alerts silence alertname=DeviceSilent device=pump-7 --for 2h --reason "new battery"
    """
    wanted = dict(_matcher(text) for text in matchers)
    limit = duration(lasts)
    number = run(context, url_file, lambda db: alert_views.silence(db, tenant, wanted, limit, reason))
    typer.echo(f"silence {number} until {datetime.now(UTC) + limit:{TIME}}")


def _matcher(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        fail(f"{text!r} is not LABEL=VALUE, as in alertname=DeviceSilent", USAGE)
    return name, value


@app.command("silences")
def silences(context: typer.Context, url_file: UrlFile = None, as_json: AsJson = False) -> None:
    """List silences that are not over.

    Example: iot-console alerts silences
    """
    found = run(context, url_file, alert_views.silences)
    if as_json:
        print_json([asdict(row) for row in found])
        return
    for row in found:
        labels = ", ".join(f"{k}={v}" for k, v in sorted(row.matchers.items()))
        until = f"until {row.ends_at:{TIME}} by {row.created_by}"
        typer.echo(f"{row.silence_id:>5}  {row.tenant}: {labels} {until}: {row.reason}")


@app.command("end-silence")
def end_silence(context: typer.Context, silence_id: int, url_file: UrlFile = None) -> None:
    """End a silence now.

    Example: iot-console alerts end-silence 7
    """
    run(context, url_file, lambda db: alert_views.end_silence(db, silence_id))
    typer.echo(f"silence {silence_id} is over")


@app.command("messages")
def messages(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    url_file: UrlFile = None,
    as_json: AsJson = False,
) -> None:
    """List the newest notifications and what became of them. Exit code 1 when one could not be delivered.

    Example: iot-console alerts messages --limit 50
    """
    found = run(context, url_file, lambda db: alert_views.messages(db, limit))
    if as_json:
        print_json([asdict(row) for row in found])
    for row in found if not as_json else ():
        trouble = f" after {row.attempts} tries: {row.last_error}" if row.last_error else ""
        typer.echo(f"{row.created_at:{TIME}} {row.status:<8} {row.channel:<12} {row.title}{trouble}")
    late = any(row.status != "sent" and row.created_at < datetime.now(UTC) - timedelta(minutes=1) for row in found)
    raise typer.Exit(FAILED if late else 0)
