"""An MQTT 5 client that shows every reason code, for questions about rights and for the control channel.

aiomqtt hides the code of a refused publish; here it is the point.
"""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import mqtt5

from probes.broker import BrokerError, BrokerLogin

KEEPALIVE = 30
CODEC_PANIC = "PanicException"  # of the codec, for a topic that is not UTF-8 (seen in 0.8.0); it cannot be imported
DENIED = 0x87  # MQTT 5, "Not authorized"
FAILURE = 0x80  # and above
REFUSALS = (0x86, DENIED)  # bad user name or password, not authorized


class _NotMqtt(Exception):
    """Bytes that are no packet."""


class LoginRefused(BrokerError):
    """The broker answers and does not let this user in."""


class MqttClient:
    """One connection, made by connect(). Methods raise BrokerError when it ends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        self.messages: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.on_message: Callable[[str, bytes], None] = self._keep
        self.closed = asyncio.Event()
        self._reader = reader
        self._writer = writer
        self._address = address
        self._why = f"{address} closed the connection"
        self._ids = itertools.cycle(range(1, 65_536))
        self._waiting: dict[object, asyncio.Future[int]] = {}

    async def publish(self, topic: str, payload: bytes) -> int:
        """Publish at QoS 1; returns the reason code: 0x00 and 0x10 are accepted, 0x87 is denied."""
        packet_id = next(self._ids)
        packet = mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id)
        return await self._ask(("publish", packet_id), packet.write())

    async def subscribe(self, topic_filter: str) -> int:
        """Subscribe at QoS 1; returns the reason code, 0x80 and more are refusals."""
        packet_id = next(self._ids)
        wanted = mqtt5.TopicFilter(topic_filter, max_qos=mqtt5.QoS.AT_LEAST_ONCE)
        return await self._ask(("subscribe", packet_id), mqtt5.SubscribePacket(packet_id, [wanted]).write())

    async def ping(self) -> None:
        """There and back: whatever the broker had sent us before is in `messages` then."""
        await self._ask("ping", mqtt5.PingReqPacket().write())

    async def keep_alive(self) -> None:
        """Ping until the connection ends."""
        while not self.closed.is_set():
            await self.ping()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KEEPALIVE / 2):
                    await self.closed.wait()

    def abort(self) -> None:
        """End it at once."""
        self._writer.transport.abort()

    async def _ask(self, key: object, packet: bytes) -> int:
        if self.closed.is_set():
            raise BrokerError(self._why)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[key] = answer
        self._writer.write(packet)
        try:
            return await answer
        finally:
            self._waiting.pop(key, None)

    async def _read(self) -> None:
        """Reads until the connection ends; everyone who waits for an answer then gets BrokerError."""
        tail = b""
        try:
            while data := await self._reader.read(65_536):
                tail = self._consume(tail + data)
        except _NotMqtt as error:
            self._why = f"{self._address} sent what is not MQTT 5: {error}"
            self.abort()
        except OSError:  # ssl.SSLError is one
            pass
        self.closed.set()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(BrokerError(self._why))

    def _consume(self, data: bytes) -> bytes:
        while data:
            try:
                packet, size = mqtt5.read(memoryview(data))
            except IndexError:
                break
            except BaseException as error:
                if isinstance(error, ValueError) or type(error).__name__ == CODEC_PANIC:
                    raise _NotMqtt(str(error)) from None
                raise
            data = data[size:]
            self._take(packet)
        return data

    def _take(self, packet: mqtt5.Packet) -> None:
        match packet:
            case mqtt5.PublishPacket():
                if packet.packet_id is not None:
                    self._writer.write(mqtt5.PubAckPacket(packet.packet_id).write())
                self.on_message(packet.topic, packet.payload or b"")
            case mqtt5.ConnAckPacket():
                self._answer("connect", int(packet.reason_code))
            case mqtt5.PubAckPacket():
                self._answer(("publish", packet.packet_id), int(packet.reason_code))
            case mqtt5.SubAckPacket():
                self._answer(("subscribe", packet.packet_id), int(packet.reason_codes[0]))
            case mqtt5.PingRespPacket():
                self._answer("ping", 0)

    def _keep(self, topic: str, payload: bytes) -> None:
        self.messages.put_nowait((topic, payload))

    def _answer(self, key: object, code: int) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None and not waiting.done():
            waiting.set_result(code)

    async def _connect(self, login: BrokerLogin) -> None:
        packet = mqtt5.ConnectPacket(
            login.client_id or "",
            username=login.username or None,  # none: a client without a user, which must be refused
            # a user without any password makes Mosquitto 2.0.11 with the dynamic-security plugin crash
            password=login.password.encode() if login.username else None,
            clean_start=True,
            keep_alive=KEEPALIVE,
        )
        code = await self._ask("connect", packet.write())
        if code in REFUSALS:
            raise LoginRefused(f"{self._address} refused user {login.username}")
        if code:
            raise BrokerError(f"{self._address} refused the connection: {mqtt5.ConnAckReasonCode(code).name}")

    async def _end(self, reading: asyncio.Task[None]) -> None:
        if not self.closed.is_set():
            with contextlib.suppress(OSError):
                self._writer.write(mqtt5.DisconnectPacket().write())
                await self._writer.drain()
        self.abort()  # TLS goodbyes would be waited for
        await reading


async def publish(login: BrokerLogin, topic: str, payload: bytes, timeout: float = 10.0) -> None:
    """Connect, publish once at QoS 1, wait for the acknowledgement, disconnect. Raises BrokerError."""
    address = f"{login.host}:{login.port}"
    try:
        async with asyncio.timeout(timeout), connect(login, timeout) as client:
            code = await client.publish(topic, payload)
    except TimeoutError as error:
        raise BrokerError(f"{address} did not answer within {timeout:.0f} s") from error
    if code >= FAILURE:
        raise BrokerError(f"{address} refused a message to {topic}: {mqtt5.PubAckReasonCode(code).name}")


@asynccontextmanager
async def connect(login: BrokerLogin, timeout: float = 10.0) -> AsyncIterator[MqttClient]:
    """A connected client, with a clean session.

    Raises:
        LoginRefused: the broker answers and refuses the user.
        BrokerError: it cannot be reached, or does not answer in time.
    """
    address = f"{login.host}:{login.port}"
    reading: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(login.host, login.port, ssl=login.tls)
            client = MqttClient(reader, writer, address)
            reading = asyncio.create_task(client._read(), name=f"mqtt {login.username}")
            try:
                await client._connect(login)
            except BaseException:
                await client._end(reading)
                raise
    except TimeoutError as error:
        raise BrokerError(f"{address} did not answer within {timeout:.0f} s") from error
    except OSError as error:
        raise BrokerError(f"{address}: {getattr(error, 'strerror', None) or error}") from error
    try:
        yield client
    finally:
        await client._end(reading)
