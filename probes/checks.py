"""The catalogue of checks: questions with a name, asked by runbooks and by the doctor. They only read.

Each is a coroutine of the world and its arguments; its keyword-only parameters are its signature. What cannot be asked
is unknown, with the reason.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probes.az import Az, AzError
from probes.broker import BrokerLogin
from probes.finding import Finding, Signature, unknown
from store.db import Db
from store.deadline import within
from store.errors import Denied, StoreError, TooSlow
from store.target import Target

Argument = str | int | float | bool
SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Listener:
    """Where devices reach the broker. name: that its certificate must carry; ca_file None: the system's CAs."""

    host: str
    port: int
    name: str
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """A device that nothing depends on. root: the topics that are its own, without the slash at the end.

    turn: one connection at a time, for the broker ends an older one of the same user.
    """

    tenant: str
    device: str
    login: BrokerLogin
    root: str
    turn: AbstractAsyncContextManager[None] = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class World:
    """From where one looks, and with what. None: it is not there, and what needs it is unknown.

    ssh: arguments of the ssh program that lead to the VM. now: the clock, seconds since 1970.
    turn: for connections of our own, one at a time. probe: a device of ours, to try things with. provoke: has
    somebody of another tenant publish something.
    """

    db: Db | None = None
    target: Target | None = None
    listener: Listener | None = None
    ssh: tuple[str, ...] = ()
    state_dir: Path = Path("/")
    now: Callable[[], float] = field(default=time.time)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    azure: Az = field(default_factory=Az)
    probe: Probe | None = None
    provoke: Callable[[], Awaitable[Finding]] | None = None


Ask = Callable[..., Coroutine[Any, Any, Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """ask is None for one that only the agent's own parts can answer."""

    name: str
    about: str
    signature: Signature
    ask: Ask | None


CHECKS: dict[str, Check] = {}


def check(name: str) -> Callable[[Ask], Ask]:
    """Put a question into the catalogue."""

    def put(ask: Ask) -> Ask:
        parameters = inspect.signature(ask).parameters.values()
        named = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
        required = frozenset(p.name for p in named if p.default is inspect.Parameter.empty)
        signature = Signature(required, frozenset(p.name for p in named) - required)
        CHECKS[name] = Check(name, (ask.__doc__ or "").strip(), signature, ask)
        return ask

    return put


def of_agent(name: str, about: str, signature: Signature | None = None) -> None:
    """One that only an agent can answer."""
    CHECKS[name] = Check(name, about, signature or Signature(), None)


async def ask(world: World, name: str, arguments: Mapping[str, Argument], seconds: float = SECONDS) -> Finding:
    """Never raises: what goes wrong with asking is `unknown`."""
    found = CHECKS.get(name)
    if found is None:
        return unknown(f"there is no check {name}")
    if found.ask is None:
        return unknown(f"only an agent can answer {name}")
    try:
        return await within(seconds, found.ask(world, **arguments))
    except Exception as error:
        return unknown(_why(name, error, seconds))


def _why(name: str, error: Exception, seconds: float) -> str:
    """Why a question has no answer."""
    match error:
        case AzError():
            return str(error)
        case TooSlow():
            return f"no answer within {seconds:.0f} s"
        case Denied():
            return f"not allowed to look: {error}"
        case StoreError():
            return f"the database cannot be asked: {error}"
        case TypeError() | ValueError():
            return f"{name}: {error}"
        case OSError():
            return error.strerror or str(error) or type(error).__name__
    return f"{name}: {type(error).__name__}: {error}"[:300]  # such as an answer of another shape


def database(world: World) -> Db:
    """Raises ValueError when there is none."""
    if world.db is None:
        raise ValueError("there is no database connection")
    return world.db


def listener(world: World) -> Listener:
    """Raises ValueError when it is not known."""
    if world.listener is None:
        raise ValueError("where devices reach the broker is not known: set [profiles.NAME.broker] host in the config")
    return world.listener
