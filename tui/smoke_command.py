"""`iot-console smoke`: messages of a device of ours, and what becomes of them."""

from typing import Annotated

import typer

from tui.command import USAGE, AsJson, UrlFile, chosen, fail, print_json, way_of
from tui.doctor_command import From, verdicts_of
from tui.render import literal

SCHEMA = "iot-console-smoke/1"
VARIANTS = {"plain": ("E2E-01",), "malformed": ("E2E-02",), "crossing": ("MQ-03", "MQ-04")}


def smoke(
    context: typer.Context,
    only: Annotated[str, typer.Option(help=f"Of {', '.join(VARIANTS)}, with commas.")] = "",
    place: From = "",
    url_file: UrlFile = None,
    as_json: AsJson = False,
) -> None:
    """Publish over the devices' verified TLS listener, and see what becomes of it within 15 s.

    plain: a message that is sent twice is one row of its tenant. malformed: one that cannot be stored becomes a dead
    letter, and what comes after it is stored. crossing: another tenant's topics neither take nor give a message.
    The profile names the device ([profiles.NAME.probe]); without one, an agent does it as its own, from the VM.

    Exit code 0: all as it should be; 1: something is not; 2: something could not be tried.

    Example: iot-console --profile prod smoke
    Example: iot-console --profile prod smoke --only plain --from agent --json
    """
    from probes import hardening, report
    from probes.hardening_items import ITEMS

    wanted = chosen(context, url_file)
    way, profile = way_of(wanted)
    ids = _ids(only)
    items = [item for item in ITEMS if item.id in ids]
    verdicts = verdicts_of(wanted, way, profile, items, place, quiet=as_json)
    if as_json:
        print_json({"schema": SCHEMA, "smoke": [report.row(verdict) for verdict in verdicts]})
    for verdict in verdicts if not as_json else ():
        typer.echo("\n".join(map(literal, report.lines(verdict))))
    raise typer.Exit(hardening.exit_code(verdicts))


def _ids(only: str) -> set[str]:
    wanted = [part.strip() for part in only.split(",") if part.strip()] or list(VARIANTS)
    for part in wanted:
        if part not in VARIANTS:
            fail(f"--only: there is no {part}: {', '.join(VARIANTS)}", USAGE)
    return {check for part in wanted for check in VARIANTS[part]}
