"""`iot-agent upgrade` and `iot-agent rollback`: another version beside the one that runs, and back when it does not."""

import re
import shlex
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from agent import config, service
from agent.config import ConfigError
from agent.setup import plan, wellness
from agent.setup.perform import StepFailed, call, point
from agent.setup.wellness import Wellness
from agent.usage import FAILED, USAGE, fail

WHEEL = re.compile(r"iot_console-(?P<version>[0-9][A-Za-z0-9.+!]*)-.*\.whl")
CURRENT, PREVIOUS = "current", "previous"
WELL_SECONDS = 90.0
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
) -> None:
    """Install another version beside the running one, try it, switch, restart; switch back when it does not get well.

    Before the switch, the new version has to understand the present settings and find the database at its schema:
    otherwise it says what to do, and nothing has changed. Afterwards nothing may be critical that was not before, and a
    message has to come through. Messages queue at the broker during the restart.

    Example: sudo iot-agent upgrade iot_console-0.2.0-py3-none-any.whl --requirements requirements-runtime.txt
    """
    found = WHEEL.fullmatch(wheel.name)
    if found is None or not wheel.is_file():
        fail(f"{wheel} is no wheel of this program: iot_console-VERSION-....whl", USAGE)
    version, new = found["version"], base / f"venv-{found['version']}"
    if _target(base / CURRENT) == new:
        fail(f"{new} is what runs already", USAGE)
    _no_half_things()
    try:
        before = wellness.look(_port(config_file))
        _install(new, wheel, requirements)
        _tried(new, config_file)
        _switched(base, new, version, shlex.split(restart), before, within)
    except (StepFailed, OSError) as error:
        fail(str(error), FAILED)
    _tidy(base)
    typer.echo(f"{version} runs; back to the one before: iot-agent rollback")


def rollback(
    base: Base = Path(plan.BASE),
    restart: Restart = RESTART,
    config_file: ConfigFile = config.DEFAULT_FILE,
    within: Within = WELL_SECONDS,
) -> None:
    """Go back to the version before the last upgrade, whatever else is wrong now. The database stays as it is: older
    versions work with newer schemas, for migrations only add. Exit code 1 when it does not get well; it stays.

    Example: sudo iot-agent rollback
    """
    to, present = _target(base / PREVIOUS), _target(base / CURRENT)
    if to is None:
        fail(f"there is no version before this one in {base}", USAGE)
    _no_half_things()
    try:
        port = _port(config_file)
    except StepFailed as error:  # perhaps that is why
        typer.echo(f"iot-agent: nothing will tell whether it is well: {error}", err=True)
        port = 0
    try:
        before = wellness.look(port)
        if present is not None:
            point(base / PREVIOUS, present)
        point(base / CURRENT, to)
        _files_of(base)
        call(shlex.split(restart))
        wellness.wait(before, "", within)
    except (StepFailed, OSError) as error:
        fail(f"{to.name} is back, and: {error}", FAILED)
    typer.echo(f"{to.name.removeprefix('venv-')} runs again")


def _no_half_things() -> None:
    """A terminal that goes away must not end it in the middle: what began is ended, or taken back."""

    def interrupted(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, interrupted)


def _port(config_file: Path) -> int:
    """Where the agent says how it is. Raises StepFailed."""
    try:
        return service.settings(config_file).http.port
    except ConfigError as error:
        raise StepFailed(str(error)) from error


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
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def _tried(place: Path, config_file: Path) -> None:
    """Raises StepFailed when the new version cannot work here."""
    program, environment = str(place / "bin/iot-agent"), service.environment()
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


def _switched(base: Path, new: Path, version: str, restart: list[str], before: Wellness, within: float) -> None:
    """Raises StepFailed when it does not get well; what ran before runs again then, also after an interruption."""
    former, older = _target(base / CURRENT), _target(base / PREVIOUS)
    if former is not None:
        point(base / PREVIOUS, former)
    try:
        point(base / CURRENT, new)
        _files_of(base)
        call(restart)
        wellness.wait(before, version, within)
    except BaseException as error:
        if former is None:
            raise
        point(base / CURRENT, former)
        point(base / PREVIOUS, older or former)
        _files_of(base)
        call(restart)
        why = str(error) or "interrupted"
        raise StepFailed(f"{new.name} does not get well, {former.name} runs again: {why}") from error


def _files_of(base: Path) -> None:
    """Units, sandbox, polkit and log rotation of the version that is current now. Raises StepFailed."""
    if base == Path(plan.BASE):
        call((str(base / CURRENT / "bin/iot-agent"), "install"))


def _tidy(base: Path) -> None:
    """Older versions than the one before."""
    wanted = {_target(base / CURRENT), _target(base / PREVIOUS)}
    for place in base.glob("venv*"):
        if place not in wanted and place.is_dir():
            shutil.rmtree(place, ignore_errors=True)


def _target(link: Path) -> Path | None:
    return link.readlink() if link.is_symlink() else None
