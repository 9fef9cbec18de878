"""`iot-agent cloud`: ask the cloud once, and print what it says."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent import config
from agent.alert_settings import QUESTIONS, CloudSettings
from agent.config import ConfigError
from agent.usage import FAILED, USAGE, fail

if TYPE_CHECKING:
    from probes.azure import Measured

BUDGET_SECONDS = 120.0  # after that, no further question is begun
SHAPELESS = (LookupError, TypeError, ValueError, AttributeError)  # of what somebody else's server sends


def cloud(
    config_file: Annotated[Path | None, typer.Option("--config", "-c")] = None,
    no_costs: Annotated[bool, typer.Option("--no-costs", help="Leave out the bill, which changes once a day.")] = False,
    without: Annotated[str, typer.Option(help=f"Questions to leave out, of {', '.join(QUESTIONS)}.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask the cloud for VM metrics, maintenance, function errors and costs. Exit code 1 when something has no answer.

    Example: iot-agent cloud --json
    """
    try:
        settings = config.from_process(config_file).cloud
    except ConfigError as error:
        fail(str(error), USAGE)
    if not settings.enabled:
        fail("cloud.enabled is not set", USAGE)
    left_out = {word.strip() for word in without.split(",")} | ({"costs"} if no_costs else set())
    found, errors = ask(settings, left_out)
    if as_json:
        typer.echo(json.dumps({"samples": [asdict(sample) for sample in found], "errors": errors}))
    for sample in found if not as_json else ():
        labels = ", ".join(f"{k}={v}" for k, v in sample.labels.items())
        typer.echo(
            f"{datetime.fromtimestamp(sample.at, UTC):%Y-%m-%d %H:%MZ} {sample.metric} {labels}: {sample.value:g}"
        )
    for line in errors.values() if not as_json else ():
        typer.echo(f"iot-agent: {line}", err=True)
    raise typer.Exit(FAILED if errors else 0)


def ask(settings: CloudSettings, without: set[str]) -> "tuple[list[Measured], dict[str, str]]":
    """What was measured, and by question what could not be asked; one failure does not spoil the rest."""
    from probes import azure  # a second and 40 MB that only this command needs

    places = azure.Places(
        settings.vm, settings.function, settings.workspace, settings.cost_scope,
        settings.management_url, settings.logs_url, settings.metadata_url, settings.ca_file, settings.timeout_seconds,
    )  # fmt: skip
    asked = azure.Cloud(places, azure.credential(settings.credential, settings.client_id))
    now, began = datetime.now(UTC), time.monotonic()
    questions: dict[str, tuple[Any, Callable[[datetime], Iterator[Measured]]]] = {
        "vm": (places.vm, asked.vm),
        "events": (places.vm and settings.credential == "managed", asked.events),
        "function": (places.function and places.workspace, asked.function),
        "costs": (places.cost_scope, asked.cost),
    }
    found: list[Measured] = []
    errors: dict[str, str] = {}
    for name, (wanted, question) in questions.items():
        if not wanted or name in without:
            continue
        try:
            if time.monotonic() - began > BUDGET_SECONDS:
                raise azure.CloudError(f"{name}: not asked, those before took too long")
            found += question(now)
        except azure.CloudError as error:
            errors[name] = str(error)
        except SHAPELESS as error:
            errors[name] = f"{name}: an answer that cannot be read: {type(error).__name__} {error}"[:300]
    return found, errors
