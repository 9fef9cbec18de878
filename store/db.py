"""Connections: verified, bounded in time, with errors translated to store.errors."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import asyncpg

from store.errors import (
    Conflict,
    Denied,
    Misconfigured,
    NoPartition,
    Rejected,
    TooSlow,
    Unavailable,
)
from store.target import Target

CONNECT_SECONDS = 10
COMMAND_SECONDS = 20
SESSION_SETTINGS = {
    "statement_timeout": "15s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",  # a frozen process holds its row locks so long
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "jit": "off",
    "timezone": "UTC",
}
DATA_CLASSES = ("22", "23", "54")  # data exception, integrity, program limit (too deep, too long)
CONFIGURATION_CLASSES = ("28", "3D", "42")
REFUSED = "IOT01"  # raised by our own functions, with a message for people
REMEDIES = {
    "28": "check the user and password of the database URL",
    "3D": "check the database name of the database URL",
    "42": "run `iot-agent migrate` with this version, as the owner of the database",
}


class Db:
    """A pool, or one connection of it inside a transaction. Every method raises store.errors only."""

    def __init__(self, source: "asyncpg.Pool | asyncpg.pool.PoolConnectionProxy") -> None:
        self._source = source

    async def rows(self, sql: str, *args: object) -> list[asyncpg.Record]:
        with translated():
            return await self._source.fetch(sql, *args)

    async def row(self, sql: str, *args: object) -> asyncpg.Record | None:
        with translated():
            return await self._source.fetchrow(sql, *args)

    async def value(self, sql: str, *args: object) -> object:
        with translated():
            return await self._source.fetchval(sql, *args)

    async def encrypted(self) -> bool:
        """Whether a connection of ours is TLS, as this end sees it: behind a pooler the server knows another one."""
        async with self.connection() as same:
            transport = cast("Any", same._source)._con._transport
            return transport.get_extra_info("ssl_object") is not None

    async def execute(self, sql: str, *args: object) -> None:
        """Run one statement, or a whole script when there are no arguments."""
        with translated():
            await self._source.execute(sql, *args)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator["Db"]:
        """The same connection for several statements, each its own transaction."""
        assert isinstance(self._source, asyncpg.Pool)
        with translated():
            connection = await self._source.acquire()
        try:
            yield Db(connection)
        finally:
            with translated():
                await self._source.release(connection)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A transaction on this one connection; a savepoint when one is open already."""
        assert not isinstance(self._source, asyncpg.Pool)
        transaction = self._source.transaction()
        with translated():
            await transaction.start()
        try:
            yield
        except BaseException:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await transaction.rollback()
            raise
        with translated():
            await transaction.commit()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Db"]:
        async with self.connection() as db, db.savepoint():
            yield db

    @asynccontextmanager
    async def hints(self, *channels: str) -> AsyncIterator["Hints"]:
        """LISTEN on a connection of its own. Behind a transaction pooler no hint ever comes: poll as well."""
        async with self.connection() as held:
            source = held._source
            assert not isinstance(source, asyncpg.Pool)
            hints = Hints()
            with translated():
                for channel in channels:
                    await source.add_listener(channel, hints.heard)
                source.add_termination_listener(hints.lost)
            try:
                yield hints
            finally:
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    source.remove_termination_listener(hints.lost)
                    source.terminate()  # politely, a server that hangs would hold us up

    async def close(self) -> None:
        """Close the pool; a server that does not answer within two seconds is cut off."""
        assert isinstance(self._source, asyncpg.Pool)
        try:
            async with asyncio.timeout(2):
                await self._source.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._source.terminate()


class Hints:
    """Notifications of some channels: only that there was one, never what it says."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._alive = True

    def heard(self, *_: object) -> None:
        self._event.set()

    def lost(self, *_: object) -> None:
        self._alive = False
        self._event.set()

    async def wait(self) -> bool:
        """Until there was one since the last call; False when the connection is lost."""
        await self._event.wait()
        self._event.clear()
        return self._alive


@asynccontextmanager
async def connected(target: Target, name: str, max_size: int = 4) -> AsyncIterator[Db]:
    """A lazily filled pool: entering never waits for the database, so a daemon starts without it.

    Raises:
        Misconfigured: the CA file cannot be read.
    """
    try:
        tls = target.tls()
    except OSError as error:
        raise Misconfigured(f"cannot read the CA file {target.ca_file}: {error.strerror}") from error
    loop = asyncio.get_running_loop()
    pool = asyncpg.create_pool(
        loop=cast("asyncio.AbstractEventLoop", Detour(loop, target.through)) if target.through else loop,
        host=target.host,
        port=target.port,
        user=target.user,
        password=target.password,
        database=target.database,
        ssl=tls if tls is not None else False,
        min_size=0,
        max_size=max_size,
        max_inactive_connection_lifetime=300,
        timeout=CONNECT_SECONDS,
        command_timeout=COMMAND_SECONDS,
        statement_cache_size=100 if target.session_mode else 0,
        server_settings={"application_name": name} | (SESSION_SETTINGS if target.session_mode else {}),
        init=_keep_alive,
        reset=_nothing,
    )
    db = Db(await pool)
    try:
        yield db
    finally:
        await db.close()


class Detour:
    """An event loop whose connections all go to one Unix socket.

    asyncpg can connect to a socket, but then without TLS, or with TLS, but then to the host whose name it verifies.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, path: Path) -> None:
        self._loop = loop
        self._path = str(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, factory: Callable[[], asyncio.BaseProtocol], *_: object) -> Any:
        return await self._loop.create_unix_connection(factory, self._path)


async def _nothing(_: object) -> None:
    """No reset on release: we leave no session state, and it would cost a round trip each time."""


async def _keep_alive(connection: asyncpg.Connection) -> None:
    """Find a half-open connection within a minute; asyncpg sets no keepalive and has no option for it."""
    sock = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
    if sock is None or sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 45_000)


@contextmanager
def translated() -> Iterator[None]:
    """The gate: library errors in, store.errors out."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _translation(error) from error
    except ssl.SSLCertVerificationError as error:
        raise Misconfigured(
            f"the database's certificate was refused ({error.verify_message}); "
            "set database.ca_file to the CA that signed it"
        ) from error
    except TimeoutError as error:
        raise TooSlow("the database did not answer in time") from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        if isinstance(error, ValueError):  # asyncpg's own DataError: an argument of the wrong type or range
            raise Rejected(str(error)) from error
        raise Unavailable(f"no connection to the database: {error}") from error


def _translation(error: asyncpg.PostgresError) -> Exception:
    state = error.sqlstate or ""
    if state == REFUSED:
        return Conflict(str(error))
    # the detail of a refused row repeats the row, and with it what must not be shown
    said = str(error.args[0]) if state.startswith(DATA_CLASSES) else str(error)
    text = f"{said} (SQLSTATE {state})"
    if state == "23514" and error.constraint_name is None:
        return NoPartition(text)
    if state.startswith(DATA_CLASSES):
        return Rejected(text, state)
    if state == "42501":
        return Denied(f"{error}; ask an owner, or use another login")
    if state.startswith(CONFIGURATION_CLASSES):
        return Misconfigured(f"{text}; {REMEDIES[state[:2]]}")
    if state == "57014":
        return TooSlow(text)
    return Unavailable(text)
