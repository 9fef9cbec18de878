"""`iot-agent upgrade` and `iot-agent rollback`: another version beside the one that runs, and back when it does not."""

import os
import re
import shlex
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from agent import config
from agent.config import ConfigError
from agent.setup import plan
from agent.setup.perform import StepFailed, call
from agent.usage import FAILED, USAGE, fail

WHEEL = re.compile(r"iot_console-(?P<version>[0-9][A-Za-z0-9.+!]*)-.*\.whl")
CURRENT, PREVIOUS = "current", "previous"
WELL_SECONDS = 90.0
SECRETS = Path("/etc/iot-agent/secrets")
Base = Annotated[Path, typer.Option(help="Where versions are, each in a virtual environment of its own.")]
Restart = Annotated[str, typer.Option("--restart", help="How the service is restarted.")]
Within = Annotated[float, typer.Option("--within", help="Seconds in which it has to be well.")]
ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="Settings of the agent.")]
RESTART = "systemctl restart iot-agent.service"


def upgrade(
    wheel: Annotated[Path, typer.Argument(help="The file iot_console-VERSION-....whl.")],
    requirements: Annotated[
        Path | None, typer.Option(help="requirements-runtime.txt of that version: packages by their hashes.")
    ] = None,
    base: Base = Path(plan.BASE),
    restart: Restart = RESTART,
    config_file: ConfigFile = config.DEFAULT_FILE,
    within: Within = WELL_SECONDS,
    keep_service: Annotated[bool, typer.Option("--no-restart", help="Switch, and restart it yourself.")] = False,
) -> None:
    """Install another version beside the running one, try it, switch, restart; switch back when it does not get well.

    Before the switch, the new version has to understand the present settings and find the database at its schema:
    otherwise it says what to do, and nothing has changed. Messages queue at the broker during the restart.

    Example: sudo iot-agent upgrade iot_console-0.2.0-py3-none-any.whl --requirements requirements-runtime.txt
    """
    found = WHEEL.fullmatch(wheel.name)
    if found is None or not wheel.is_file():
        fail(f"{wheel} is no wheel of this program: iot_console-VERSION-....whl", USAGE)
    new = base / f"venv-{found['version']}"
    if _target(base / CURRENT) == new:
        fail(f"{new} is what runs already", USAGE)
    try:
        _install(new, wheel, requirements)
        _tried(new, config_file)
        _switched(base, new, shlex.split(restart) if not keep_service else [], config_file, within)
    except StepFailed as error:
        fail(str(error), FAILED)
    _tidy(base)
    typer.echo(f"{found['version']} runs; back to the one before: iot-agent rollback")


def rollback(
    base: Base = Path(plan.BASE),
    restart: Restart = RESTART,
    config_file: ConfigFile = config.DEFAULT_FILE,
    within: Within = WELL_SECONDS,
) -> None:
    """Go back to the version before the last upgrade. The database stays as it is: older versions work with newer
    schemas, for migrations only add.

    Example: sudo iot-agent rollback
    """
    before = _target(base / PREVIOUS)
    if before is None:
        fail(f"there is no version before this one in {base}", USAGE)
    try:
        _switched(base, before, shlex.split(restart), config_file, within)
    except StepFailed as error:
        fail(str(error), FAILED)
    typer.echo(f"{before.name.removeprefix('venv-')} runs again")


def _install(place: Path, wheel: Path, requirements: Path | None) -> None:
    """Raises StepFailed, and leaves no half of a version."""
    typer.echo(f"installing into {place}")
    pip = (str(place / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    try:
        call((sys.executable, "-m", "venv", "--clear", str(place)))
        if requirements is not None:
            call((*pip, "--require-hashes", "-r", str(requirements)))
            call((*pip, "--no-deps", str(wheel)))
        else:
            call((*pip, str(wheel)))
    except StepFailed:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _tried(place: Path, config_file: Path) -> None:
    """Raises StepFailed when the new version cannot work here."""
    program = str(place / "bin/iot-agent")
    environment = (
        {} if "CREDENTIALS_DIRECTORY" in os.environ or not SECRETS.is_dir() else {"CREDENTIALS_DIRECTORY": str(SECRETS)}
    )
    call((program, "check-config", "--config", str(config_file)), environment)
    typer.echo("it understands the settings")
    try:
        call((program, "doctor", "--config", str(config_file), "--only", "DB-09"), environment)
    except StepFailed as error:
        raise StepFailed(
            f"the database is not at the schema of the new version, nothing was switched: {program} migrate, "
            f"as the owner of the database, then again ({error})"
        ) from error
    typer.echo("the database has its schema")


def _switched(base: Path, new: Path, restart: Sequence[str], config_file: Path, within: float) -> None:
    """Raises StepFailed when it does not get well; what ran before runs again then."""
    before = _target(base / CURRENT)
    _point(base / CURRENT, new)
    if not restart:
        _remember(base, before)
        return
    try:
        call(restart)
        _well(config_file, within)
    except StepFailed as error:
        if before is None:
            raise
        _point(base / CURRENT, before)
        call(restart)
        raise StepFailed(f"{new.name} does not get well, {before.name} runs again: {error}") from error
    _remember(base, before)


def _remember(base: Path, before: Path | None) -> None:
    if before is not None:
        _point(base / PREVIOUS, before)


def _well(config_file: Path, within: float) -> None:
    """Until the service says so of itself. Raises StepFailed."""
    try:
        port = config.from_process(config_file).http.port
    except ConfigError as error:
        raise StepFailed(str(error)) from error
    if not port:
        return
    ends_at, said = time.monotonic() + within, "it does not answer"
    while time.monotonic() < ends_at:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                return
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace").strip()[:200]
        except OSError as error:
            said = str(error)
        time.sleep(0.5)
    raise StepFailed(f"after {within:.0f} s /healthz says: {said}")


def _tidy(base: Path) -> None:
    """Older versions than the one before."""
    wanted = {_target(base / CURRENT), _target(base / PREVIOUS)}
    for place in base.glob("venv*"):
        if place not in wanted and place.is_dir():
            shutil.rmtree(place, ignore_errors=True)


def _target(link: Path) -> Path | None:
    return link.readlink() if link.is_symlink() else None


def _point(link: Path, target: Path) -> None:
    """Atomic: the service finds one version or the other."""
    temporary = link.with_name(f".{link.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.rename(link)
