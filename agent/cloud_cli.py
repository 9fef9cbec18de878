"""`iot-agent cloud`: ask the cloud once, and print what it says."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent import config
from agent.alert_settings import CloudSettings
from agent.config import ConfigError

if TYPE_CHECKING:
    from probes.azure import Measured

FAILED, USAGE = 1, 2
SHAPELESS = (LookupError, TypeError, ValueError, AttributeError)  # of what somebody else's server sends


def cloud(
    config_file: Annotated[Path | None, typer.Option("--config", "-c")] = None,
    no_costs: Annotated[bool, typer.Option("--no-costs", help="Leave out the bill, which changes once a day.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask the cloud for VM metrics, function errors and costs. Exit code 1 when something could not be asked.

    Example: iot-agent cloud --json
    """
    try:
        settings = config.from_process(config_file).cloud
    except ConfigError as error:
        typer.echo(f"iot-agent: {error}", err=True)
        raise typer.Exit(USAGE) from None
    if not settings.enabled:
        typer.echo("iot-agent: cloud.enabled is not set", err=True)
        raise typer.Exit(USAGE)
    found, errors = ask(settings, not no_costs)
    if as_json:
        typer.echo(json.dumps({"samples": [asdict(sample) for sample in found], "errors": errors}))
    for sample in found if not as_json else ():
        labels = ", ".join(f"{k}={v}" for k, v in sample.labels.items())
        typer.echo(
            f"{datetime.fromtimestamp(sample.at, UTC):%Y-%m-%d %H:%MZ} {sample.metric} {labels}: {sample.value:g}"
        )
    for line in errors if not as_json else ():
        typer.echo(f"iot-agent: {line}", err=True)
    raise typer.Exit(FAILED if errors else 0)


def ask(settings: CloudSettings, costs: bool) -> "tuple[list[Measured], list[str]]":
    """What was measured, and what could not be asked; one failure does not spoil the rest."""
    from probes import azure  # a second and 40 MB that only this command needs

    places = azure.Places(
        settings.vm, settings.function, settings.workspace, settings.cost_scope if costs else None,
        settings.management_url, settings.logs_url, settings.metadata_url, settings.ca_file, settings.timeout_seconds,
    )  # fmt: skip
    asked = azure.Cloud(places, azure.credential(settings.credential, settings.client_id))
    now = datetime.now(UTC)
    questions: list[tuple[Any, Callable[[datetime], Iterator[Measured]]]] = [
        (places.vm, asked.vm),
        (places.vm and settings.credential == "managed", asked.events),
        (places.function and places.workspace, asked.function),
        (places.cost_scope, asked.cost),
    ]
    found: list[Measured] = []
    errors: list[str] = []
    for wanted, question in questions:
        try:
            found += question(now) if wanted else ()
        except azure.CloudError as error:
            errors.append(str(error))
        except SHAPELESS as error:
            errors.append(f"{question.__name__}: an answer that cannot be read: {type(error).__name__} {error}"[:300])
    return found, errors
