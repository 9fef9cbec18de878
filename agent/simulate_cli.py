"""`iot-agent simulate`."""

import asyncio
import json
import signal
from pathlib import Path
from typing import Annotated

import typer

from agent.simulate import fleet
from agent.simulate.fleet import FleetOptions, Tally
from agent.simulate.shapes import GOOD
from agent.usage import show_progress


def simulate(
    credentials: Annotated[Path, typer.Option(help="Lines of tenant/devices/device:password.")],
    host: Annotated[str, typer.Option(help="The broker.")],
    port: Annotated[int, typer.Option()] = 8883,
    ca_file: Annotated[Path | None, typer.Option(help="CA of the broker; without it, the CAs of the system.")] = None,
    tls_name: Annotated[str | None, typer.Option(help="Name in the broker's certificate, if not --host.")] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="How many of the file; without it, all.")] = None,
    rate: Annotated[float, typer.Option(min=0.01, help="Messages a second of the whole fleet.")] = 10.0,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="Without it, until Ctrl-C.")] = None,
    shapes: Annotated[str, typer.Option(help=f"Comma-separated, of: {', '.join(GOOD)}.")] = ",".join(GOOD),
    bad: Annotated[float, typer.Option(min=0, max=1, help="Share of messages that cannot be stored.")] = 0.0,
    repeat: Annotated[
        float, typer.Option(min=0, max=1, help="Share of messages with a time or sequence number sent twice.")
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Publish like a fleet of devices: QoS 1, TLS, each with its own login; nothing is given up before its
    acknowledgement.

    Example: iot-agent simulate --credentials devices.txt --host mqtt.example.net --devices 50 --rate 100 --bad 0.01
    """
    chosen = tuple(name.strip() for name in shapes.split(",") if name.strip())
    unknown = [name for name in chosen if name not in GOOD]
    if unknown or not chosen:
        raise typer.BadParameter(f"unknown shape {', '.join(unknown) or '(none given)'}", param_hint="--shapes")
    try:
        logins = fleet.read_logins(credentials)[:devices]
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error), param_hint="--credentials") from error
    if devices is not None and len(logins) < devices:
        raise typer.BadParameter(f"{credentials} has only {len(logins)} devices", param_hint="--devices")
    options = FleetOptions(host, port, ca_file, tls_name or host, rate, seconds, chosen, bad, repeat)
    tally = asyncio.run(_until_told(logins, options, None if as_json else _progress))
    show_progress("")
    typer.echo(json.dumps(tally.as_dict()) if as_json else _summary(tally))


async def _until_told(
    logins: list[fleet.DeviceLogin], options: FleetOptions, progress: "fleet.Progress | None"
) -> Tally:
    """The first signal ends the fleet between two messages, so that the counts are exact."""
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    return await fleet.run(logins, options, stop, progress)


def _summary(tally: Tally) -> str:
    return "\n".join(f"{name:<11}{value:>10}" for name, value in tally.as_dict().items())


def _progress(tally: Tally) -> None:
    show_progress(f"{tally.published} published, {tally.bad} bad, {tally.reconnects} reconnects")
