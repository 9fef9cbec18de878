"""Keeps one session with the broker, for ever: connect, receive, reconnect with full jitter."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from agent.ingest.delivery import Delivery
from agent.ingest.options import SessionOptions
from agent.ingest.pipeline import backoff
from agent.ingest.redelivery import Horizon
from agent.ingest.session import Receiver, Refused, Session, SessionError

log = structlog.get_logger()
CONNECT_SECONDS = 15.0
SETTLED_SECONDS = 10.0  # a connection that lives shorter counts as a failed one
REFUSED_DELAY = 5.0  # seconds at least between tries that the broker turns down

Dial = Callable[[Callable[[], Session]], Awaitable[Session]]


@dataclass(slots=True)
class LinkHealth:
    """State of the connection. Times are seconds since 1970."""

    connected_at: float | None = None
    lost_at: float | None = None
    error: str | None = None
    connects: int = 0
    failures: int = 0
    sessions_lost: int = 0  # connects at which the broker had forgotten our session


def tls_dial(host: str, port: int, tls: ssl.SSLContext, server_name: str) -> Dial:
    """Dial a broker over TLS. The context verifies; server_name is the name the certificate must carry."""

    async def dial(factory: Callable[[], Session]) -> Session:
        loop = asyncio.get_running_loop()
        _, session = await loop.create_connection(factory, host, port, ssl=tls, server_hostname=server_name)
        return session

    return dial


class Link:
    """Owner of the current session. had_session: the process before this one had one, so it must be resumed."""

    def __init__(
        self,
        dial: Dial,
        address: str,
        options: SessionOptions,
        receiver: Receiver,
        horizon: Horizon,
        had_session: bool = False,
    ) -> None:
        self.health = LinkHealth()
        self._dial = dial
        self._address = address
        self._options = options
        self._receiver = receiver
        self._horizon = horizon
        self._session: Session | None = None
        self._epoch = 0
        self._had_session = had_session
        self._closing = False
        self._paused_until = 0.0  # by the monotonic clock
        self._changed = asyncio.Event()  # the pause
        self._subscribed = asyncio.Event()

    async def subscribed(self, seconds: float) -> None:
        """Wait for the first session, at most this long: what is published before it, the broker keeps for nobody."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._subscribed.wait()

    def use(self, username: str, password: str) -> None:
        """Log in as somebody else: the connection is made anew, the broker's session goes on."""
        self._options = replace(self._options, username=username, password=password)
        if self._session is not None:
            self._session.abort()

    def pause(self, seconds: float) -> None:
        """Leave the broker for a time: it queues for us. A pause ends by itself, so that none is forgotten."""
        self._paused_until = time.monotonic() + seconds
        self._changed.set()
        if self._session is not None:
            self._session.disconnect()

    def resume(self) -> None:
        self._paused_until = 0.0
        self._changed.set()

    async def _until_resumed(self) -> None:
        paused = False
        while (left := self._paused_until - time.monotonic()) > 0 and not self._closing:
            paused = True
            self.health.error = f"paused by a person, for {left / 60:.0f} minutes at most"
            log.warning("ingest is paused", seconds=round(left))
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()
        if paused:
            log.warning("ingest goes on")

    @property
    def confirmed(self) -> float | None:
        """Everything that arrived before this time is acknowledged, and the broker is known to have read it."""
        return self._session.confirmed if self._session is not None else None

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        if self._session is not None:
            self._session.ack(deliveries)

    def stop_reading(self) -> None:
        self._closing = True
        if self._session is not None:
            self._session.stop_reading()

    def disconnect(self, forget: bool = False) -> None:
        """Leave politely; the broker keeps the session and queues for us, unless it is to forget us."""
        self._closing = True
        self._changed.set()
        if self._session is not None:
            self._session.disconnect(forget)

    async def run(self) -> None:
        """Until disconnect() is called."""
        failures = 0
        while not self._closing:
            await self._until_resumed()
            try:
                lasted = await self._live()
            except SessionError as error:
                self._note_failure(error)
                lasted = 0.0
                least = REFUSED_DELAY if isinstance(error, Refused) else 0.0
            else:
                least = 0.0
            failures = 0 if lasted >= SETTLED_SECONDS else failures + 1
            if not self._closing:
                await asyncio.sleep(max(least, backoff(failures - 1) if failures else 0.0))

    async def _live(self) -> float:
        """One connection, from dialling to its end; returns how many seconds it stood.

        Raises SessionError when it could not be made, or when the broker ended it with a reason.
        """
        session = await self._open()
        began = time.monotonic()
        pinging = asyncio.create_task(session.keep_alive(), name="mqtt keepalive")
        try:
            cause = await asyncio.shield(session.closed)
        finally:
            pinging.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pinging
        lasted = time.monotonic() - began
        self.health.connected_at = None
        self.health.lost_at = time.time()
        if isinstance(cause, Refused):
            raise cause
        if cause is not None:
            # Mosquitto 2.0.11 does not say "session taken over"; this is what it looks like
            hint = f"; does another agent use client id {self._options.client_id}?" if lasted < SETTLED_SECONDS else ""
            self.health.error = f"{cause}{hint}"
            log.warning("broker connection lost", address=self._address, error=self.health.error)
        return lasted

    async def _open(self) -> Session:
        self._epoch += 1
        session = Session(self._options, self._epoch, self._horizon.at, self._receiver)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._dial(lambda: session)
                self._session = session
                await session.ready
        except TimeoutError as error:
            session.abort()
            raise SessionError(f"{self._address} did not answer within {CONNECT_SECONDS:.0f} s") from error
        except ssl.SSLCertVerificationError as error:
            raise Refused(
                f"the certificate of {self._address} was refused ({error.verify_message}); "
                "check mqtt.ca_file and mqtt.tls_name"
            ) from error
        except (OSError, UnicodeError) as error:
            raise SessionError(
                f"cannot connect to {self._address}: {getattr(error, 'strerror', None) or error}"
            ) from error
        self._note_connected(session)
        if self._paused_until > time.monotonic():  # somebody wanted it while we dialled
            session.disconnect()
        return session

    def _note_connected(self, session: Session) -> None:
        health = self.health
        gap = None if health.lost_at is None else round(time.time() - health.lost_at, 1)
        log.info("broker connected", address=self._address, session_resumed=session.resumed, away_seconds=gap)
        if not session.resumed and (health.connects or self._had_session):
            health.sessions_lost += 1
            log.error("the broker has forgotten our session: messages of the gap are lost", gap_seconds=gap)
        health.connects += 1
        self._subscribed.set()
        self._had_session = True
        health.connected_at = time.time()
        health.error = None

    def _note_failure(self, error: SessionError) -> None:
        self.health.failures += 1
        if self.health.error != str(error):
            log.error("broker not reachable", address=self._address, error=str(error))
        self.health.error = str(error)
        self.health.connected_at = None
