"""The standing connection to the broker as its administrator: commands out, the broker's log in."""

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from agent.creds.dynsec import ANSWERS, Dynsec
from agent.creds.identity import Identities, Identity
from agent.creds.logins import LoginLog
from agent.creds.verify import Access
from probes.broker import BrokerError
from probes.mqtt import LoginRefused, MqttClient, connect

log = structlog.get_logger()
LOG_TOPICS = "$SYS/broker/log/"
VERSION_TOPIC = "$SYS/broker/version"
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0


class Control:
    """run() keeps the connection. dynsec is None while there is none; error says why."""

    def __init__(
        self, access: Access, identities: Callable[[], Identities], on_connected: Callable[[], None] = lambda: None
    ) -> None:
        self.dynsec: Dynsec | None = None
        self.error: str | None = "not connected yet"
        self.version: str | None = None
        self.log = LoginLog()
        self.connected = asyncio.Event()
        self.logged_in_as: str | None = None
        self._refused = False
        self._access = access
        self._identities = identities
        self._on_connected = on_connected
        self._client: MqttClient | None = None

    @property
    def unknown(self) -> bool:
        """The broker answers and does not know its administrator. Without the plugin a reload could open it."""
        return self.dynsec is None and self._refused

    def reconnect(self) -> None:
        """Log in again, as the identity that is current now."""
        if self._client is not None:
            self._client.abort()

    async def run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._live()
                pause = FIRST_PAUSE
            except BrokerError as error:
                if self.error != str(error):
                    log.warning("no control connection to the broker", error=str(error))
                self.error = str(error)
                self._refused = isinstance(error, LoginRefused)
            self.connected.clear()
            self.dynsec = None
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _live(self) -> None:
        """One connection, as the first identity that is let in."""
        refused: LoginRefused | None = None
        for identity in self._identities().valid():
            try:
                await self._as(identity)
                return
            except LoginRefused as error:
                refused = error
        raise LoginRefused(
            f"{refused}; the dynamic-security plugin must be loaded with the file that `iot-agent creds init` writes"
        )

    async def _as(self, identity: Identity) -> None:
        async with connect(self._access.as_service(identity.control, identity.control_password)) as client:
            client.on_message = self._take
            pinging = asyncio.create_task(client.keep_alive(), name="control keepalive")
            try:
                for topic_filter in (ANSWERS, f"{LOG_TOPICS}#", VERSION_TOPIC):
                    if await client.subscribe(topic_filter) >= 0x80:
                        raise BrokerError(f"the broker refuses us {topic_filter}")
                self.dynsec, self._client = Dynsec(client), client
                self.error, self.logged_in_as, self._refused = None, identity.control, False
                self.connected.set()
                self._on_connected()
                log.info("control connection to the broker is up", user=identity.control)
                await client.closed.wait()
            finally:
                pinging.cancel()
                with contextlib.suppress(asyncio.CancelledError, BrokerError):
                    await pinging

    def _take(self, topic: str, payload: bytes) -> None:
        if topic == ANSWERS:
            if self.dynsec is not None:
                self.dynsec.take(payload)
        elif topic == VERSION_TOPIC:
            self.version = payload.decode(errors="replace").removeprefix("mosquitto version ")
        else:
            self.log.take(payload.decode(errors="replace"))
