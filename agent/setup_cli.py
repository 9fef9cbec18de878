"""`iot-agent install` and `iot-agent uninstall`: this machine as the server of a small IoT service, and back."""

import json
import os
import platform
import pwd
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Annotated

import typer

from agent.setup import plan
from agent.setup.perform import Performer, StepFailed, below
from agent.setup.plan import Facts
from agent.setup.steps import Command, Outcome, Step
from agent.usage import FAILED, USAGE, fail
from probes.shipped import shipped

MARKS = {
    Outcome.DONE: "done",
    Outcome.SAME: "ok",
    Outcome.KEPT: "kept",
    Outcome.DIFFERS: "kept, and this version's beside it as .new",
}
NEXT = """
Still to do, once (docs/operations.md explains each):
  1. certificate:  /etc/mosquitto/iot/server.crt and server.key (group mosquitto, mode 640)
  2. database:     iot-agent migrate; iot-agent provision agent iot_agent_a --out /etc/iot-agent/secrets/database-url
  3. settings:     /etc/iot-agent/agent.toml, then iot-agent check-config
  4. start:        systemctl restart mosquitto iot-agent; iot-agent doctor --problems
  5. devices:      iot-console device create TENANT/DEVICE, or device import"""
Dry = Annotated[bool, typer.Option("--dry-run", help="Show each file and command, and change nothing.")]
Root = Annotated[Path, typer.Option(help="Work below this directory, for an image: files only, no commands.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def install(dry_run: Dry = False, root: Root = Path("/"), as_json: AsJson = False) -> None:
    """Set this Debian or Ubuntu machine up: user, directories, units with their sandbox, broker, polkit, log rotation.

    Can be repeated: what is there is left as it is. Configuration and secrets are never overwritten; where this version
    ships another file, it lies beside as FILE.new. Exit code 1 when a step fails; nothing is half written.

    Example: sudo /opt/iot-agent/venv/bin/iot-agent install --dry-run
    """
    _root_wanted(dry_run, root)
    facts = _facts(root)
    reason = _unreachable(sys.prefix) if root == Path("/") else ""
    if reason and not dry_run:
        fail(reason, USAGE)
    files = {path.name: path.read_text() for path in sorted(shipped("deploy").iterdir()) if path.is_file()}
    steps = plan.install(files, facts)
    changed = _perform(steps, root, dry_run, as_json)
    if not as_json:
        typer.echo(f"{'would change' if dry_run else 'changed'}: {changed} of {len(steps)} steps")
        typer.echo(NEXT)


def uninstall(
    purge: Annotated[
        bool, typer.Option("--purge", help="Configuration, secrets, spool and logins at the broker go, too.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Purge although messages wait in the spool.")] = False,
    dry_run: Dry = False,
    root: Root = Path("/"),
    as_json: AsJson = False,
) -> None:
    """Take away what install has made. Configuration and state stay, unless --purge; the database is not touched.

    Example: sudo iot-agent uninstall --dry-run
    """
    _root_wanted(dry_run, root)
    facts = _facts(root)
    before = plan.stop(facts)
    changed = _perform(before, root, dry_run, as_json)
    state = below(root, plan.STATE)
    if purge and not force and (why := _unstored(state)):
        fail(f"{why}, and they exist nowhere else: let the agent bring them to the database, or --force", FAILED)
    steps = plan.uninstall(facts, purge)
    changed += _perform(steps, root, dry_run, as_json)
    if not as_json:
        typer.echo(f"{'would change' if dry_run else 'changed'}: {changed} of {len(before) + len(steps)} steps")


def _perform(steps: list[Step], root: Path, dry: bool, as_json: bool) -> int:
    """How many changed something."""
    done: list[dict[str, str]] = []
    changed = 0
    try:
        for step, outcome in Performer(root, dry).run(steps):
            changed += outcome is Outcome.DONE
            said = "would do" if dry and outcome is Outcome.DONE else MARKS[outcome]
            if isinstance(step, Command) and root != Path("/") and outcome is Outcome.DONE:
                said = "to be run"
            done.append({"step": step.words, "outcome": said})
            if not as_json:
                typer.echo(f"{said:<9} {step.words}")
    except StepFailed as error:
        fail(str(error), FAILED)
    if as_json:
        typer.echo(json.dumps(done))
    return changed


def _root_wanted(dry: bool, root: Path) -> None:
    if not dry and root == Path("/") and os.geteuid() != 0:
        fail("run it as root, or with --dry-run to see what it would do", USAGE)


def _unreachable(program: str) -> str:
    """Why the service could not run this program; "" when it can."""
    if not program.startswith(f"{plan.BASE}/"):
        venv = f"{plan.BASE}/venv"
        return (
            f"this program is in {program}, and the service is to have a place of its own: "
            f"python3 -m venv {venv} && {venv}/bin/pip install WHEEL && {venv}/bin/iot-agent install"
        )
    return ""


def _facts(root: Path) -> Facts:
    here = root == Path("/")
    architecture = sysconfig.get_config_var("MULTIARCH") or f"{platform.machine()}-linux-gnu"
    current = below(root, plan.PROGRAM)
    return Facts(
        program=sys.prefix if here and not _unreachable(sys.prefix) else f"{plan.BASE}/venv",
        current=str(current.readlink()) if current.is_symlink() and (current / "bin/iot-agent").exists() else "",
        missing=tuple(name for name in plan.PACKAGES if not _installed(name)) if here else plan.PACKAGES,
        has_user=here and _user_exists(),
        has_identity=_there(below(root, plan.STATE) / "identity.json"),
        has_unit=_there(below(root, plan.OURS[plan.UNITS[0]])),
        diverted=_diverted() if here else "",
        plugin=f"/usr/lib/{architecture}/mosquitto_dynamic_security.so",
        systemd=not here or Path("/run/systemd/system").is_dir(),
    )


def _there(path: Path) -> bool:
    """What others may not look into is taken for there: it was made by an installation."""
    try:
        return path.exists()
    except PermissionError:
        return True


def _user_exists() -> bool:
    try:
        pwd.getpwnam(plan.USER)
    except KeyError:
        return False
    return True


def _installed(package: str) -> bool:
    argv = ["dpkg-query", "--show", "--showformat=${Status}", package]
    if shutil.which(argv[0]) is None:
        return False
    done = subprocess.run(argv, capture_output=True, text=True)
    return done.stdout.endswith("ok installed")


def _diverted() -> str:
    if shutil.which("dpkg-divert") is None:
        return ""
    done = subprocess.run(["dpkg-divert", "--truename", plan.LOGROTATE], capture_output=True, text=True)
    found = done.stdout.strip()
    return "" if found == plan.LOGROTATE else found


def _unstored(state: Path) -> str:
    """Why the state directory must not go, in words; "" when it may."""
    from agent.ingest.spool import waiting

    try:
        damaged = sorted(state.glob("spool.sqlite.damaged-*"))
        count = waiting(state / "spool.sqlite")
    except PermissionError:
        return f"{state} cannot be looked into"
    if damaged:
        return f"{damaged[0]} holds messages of a spool that was damaged"
    if count is None:
        return f"{state / 'spool.sqlite'} cannot be read"
    return f"{count} messages wait in {state / 'spool.sqlite'}" if count else ""
