"""What all commands of the console share: whom to ask, how to fail, how to hand over a secret."""

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn, TextIO, TypeVar

import typer

from store import brokers
from store.db import Db, connected
from store.errors import StoreError
from store.target import Target, parse_target
from tui import passwords
from tui import profile as profiles
from tui.profile import Profile, ProfileError
from tui.tunnel import TunnelError, until_up
from tui.way import Way, opened

URL_VARIABLE = "IOT_CONSOLE_DATABASE_URL"
FAILED, USAGE = 1, 2
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
DURATION = re.compile(r"(\d+)([smhdw]?)")
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
IN_FORCE_SECONDS = 15.0
TUNNEL_SECONDS = 20.0
Result = TypeVar("Result")

UrlFile = Annotated[
    Path | None, typer.Option("--url-file", help=f"File that holds the database URL. Without it: ${URL_VARIABLE}.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="File for the secret, mode 0600, must not exist. Without it: the screen.")
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until the brokers have it.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was said in front of the command: a file with a URL, or a profile of a config file."""

    url_file: Path | None = None
    profile: str | None = None
    config: Path = profiles.DEFAULT


def run(context: typer.Context, url_file: Path | None, work: Callable[[Db], Awaitable[Result]]) -> Result:
    """Do work with a database session; an error becomes one line and exit code 1."""
    way, _ = way_of(chosen(context, url_file))

    try:
        return asyncio.run(with_database(way, "iot-console command", work))
    except (StoreError, TunnelError) as error:
        fail(str(error), FAILED)
    except asyncio.CancelledError:
        fail("ended by SIGTERM; look whether it was done", FAILED)


async def with_database(way: Way, name: str, work: Callable[[Db], Awaitable[Result]]) -> Result:
    """Do work at the end of a way; SIGTERM closes what is open. Raises StoreError, TunnelError, CancelledError."""
    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    async with opened(way) as (target, tunnel):
        if tunnel is not None:
            await until_up(tunnel, TUNNEL_SECONDS)
        async with connected(target, name, 2) as db:
            return await work(db)


def chosen(context: typer.Context, url_file: Path | None) -> Chosen:
    """What was said, in front of the command or behind it."""
    found = context.find_root().obj
    before = found if isinstance(found, Chosen) else Chosen()
    return replace(before, url_file=url_file) if url_file is not None else before


def way_of(found: Chosen) -> tuple[Way, Profile | None]:
    """A URL's, else a profile's; wrong usage ends the program with exit code 2."""
    try:
        if found.url_file is not None and found.profile is not None:
            raise ValueError("--url-file and --profile both say where to: give one of them")
        url = found.url_file.read_text() if found.url_file is not None else os.environ.get(URL_VARIABLE, "")
        if url.strip() and found.profile is None:
            return Way(checked(parse_target(url))), None
        config = found.config.expanduser()
        if found.profile is None and found.url_file is None and not config.exists():
            raise ValueError(
                f"no database: give --url-file, set ${URL_VARIABLE}, or write profiles into {found.config}"
            )
        name, profile = profiles.choose(profiles.load(found.config), found.profile, found.config)
        target = profile.target(passwords.password_of(name, profile))
        return Way(checked(target), profile.ssh, name, config_of(profile)), profile
    except OSError as error:
        fail(f"{found.url_file or found.config}: {error.strerror or error}", USAGE)
    except (ValueError, ProfileError) as error:
        fail(str(error), USAGE)


def same_console(found: Chosen) -> tuple[str, ...]:
    """The command that leads where this one does, for programs that we start."""
    this = (sys.executable, "-m", "tui")
    if found.url_file is not None:
        return (*this, "--url-file", str(found.url_file))
    if found.profile is not None:
        return (*this, "--config", str(found.config.expanduser()), "--profile", found.profile)
    return (*this, "--config", str(found.config.expanduser()))


def checked(target: Target) -> Target:
    """The same. Raises ValueError for a CA file that cannot be read: it is said now, and not on a screen."""
    try:
        target.tls()
    except OSError as error:
        raise ValueError(f"cannot read the CA file {target.ca_file}: {error.strerror or error}") from None
    return target


def config_of(profile: Profile) -> Path | None:
    return profile.ssh_config.expanduser() if profile.ssh_config else None


def show_progress(line: str) -> None:
    """Say on a terminal how far long work is, in place of what was said last; an empty line makes room."""
    if sys.stderr.isatty():
        typer.echo(f"\r\x1b[K{line}\r", nl=False, err=True)


def fail(message: str, code: int) -> NoReturn:
    typer.echo(f"iot-console: {message}", err=True)
    raise typer.Exit(code)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, default=_encode))


def place(text: str) -> tuple[str, str]:
    """TENANT/DEVICE, or a device's user name."""
    parts = text.split("/")
    if len(parts) >= 3 and parts[1] == "devices":
        parts = [parts[0], parts[2]]
    if len(parts) != 2 or not all(NAME.fullmatch(part) for part in parts):
        fail(f"{text!r} is not TENANT/DEVICE, each of a-z, 0-9 and -, as in acme/pump-7", USAGE)
    return parts[0], parts[1]


def duration(text: str) -> timedelta:
    """Such as 90s, 30m, 12h, 7d, 2w; 0 is none."""
    found = DURATION.fullmatch(text)
    if found is None:
        fail(f"{text!r} is no duration: write 30m, 12h, 7d or 0", USAGE)
    return timedelta(seconds=int(found[1]) * UNITS[found[2]])


def confirmed(question: str, yes: bool) -> None:
    """Ask, unless told not to; ends the program when the answer is no, or when nobody could answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        fail(f"{question} Say so with --yes", USAGE)
    if not typer.confirm(question):
        fail("nothing was changed", FAILED)


@contextmanager
def secret_file(out: Path | None) -> Iterator[TextIO]:
    """Where a secret goes: a new file that only its owner can read, or the screen.

    It is opened before the secret is made, so that none is made that cannot be kept; removed when that fails.
    """
    if out is None:
        yield sys.stdout
        return
    try:
        file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        fail(f"--out {out}: {error.strerror}", USAGE)
    try:
        with os.fdopen(file, "w", newline="") as stream:
            yield stream
    except BaseException:
        out.unlink()
        raise


async def until_in_force(db: Db, generation: int, wait: bool) -> str | None:
    """Wait until every broker that is alive has this set; returns what is to be said of it, None when it has not."""
    began = time.monotonic()
    while wait and time.monotonic() - began < IN_FORCE_SECONDS:
        rows = [row for row in await brokers.all_brokers(db) if row.age_seconds < 60]
        if rows and all(row.broker.generation >= generation for row in rows):
            names = ", ".join(row.broker.broker_id for row in rows)
            return f"set {generation} is in force at {names} after {time.monotonic() - began:.2f} s"
        if any(row.broker.state == "refused" for row in rows):
            break
        await asyncio.sleep(0.05)
    return None if wait else f"set {generation} is stored"


def say_in_force(said: str | None, generation: int) -> None:
    """On stderr, so that it never mixes with a secret; exit code 1 when a broker does not have it."""
    if said is None:
        fail(f"set {generation} is stored, but not in force everywhere: see iot-console credentials brokers", FAILED)
    typer.echo(said, err=True)


def _encode(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
