"""One MQTT 5 connection that receives: own asyncio protocol on the mqtt5 codec.

Acknowledges only what it is told to, in receive order, in one write a batch. Packet ids belong to one connection:
an acknowledgement that comes after a reconnect is never sent.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

import mqtt5

from agent.ingest.delivery import Delivery, total_size
from agent.ingest.options import SessionOptions
from agent.ingest.redelivery import IN_DOUBT_SECONDS

PUBACK = b"\x40\x02"
PINGREQ = mqtt5.PingReqPacket().write()
FIRST_ERROR_CODE = 0x80  # MQTT 5, section 2.4
RESUME_AT = 0.5  # share of the byte limit at which a paused connection is read again


class SessionError(Exception):
    """The connection cannot be made or went away; the message names the cause and the remedy."""


class Refused(SessionError):
    """The broker answered and said no: trying again at once is useless."""


class Receiver(Protocol):
    """Who gets the deliveries."""

    def received(self, deliveries: list[Delivery], size: int) -> None: ...

    def settled_before(self) -> float:
        """Everything that arrived before this time is settled and its acknowledgement was handed to the session."""

    def lost(self, epoch: int) -> None:
        """That connection is gone; whatever it delivered and was not taken yet will come again."""


class Session(asyncio.Protocol):
    """Lives as long as its connection. `closed` ends with the reason, None when we closed it ourselves.

    lookback: the first copy of anything that is delivered again came at that time or later (seconds since 1970).
    """

    def __init__(self, options: SessionOptions, epoch: int, lookback: float, receiver: Receiver) -> None:
        loop = asyncio.get_running_loop()
        self.epoch = epoch
        self.resumed = False
        self.closed: asyncio.Future[SessionError | None] = loop.create_future()
        self.ready: asyncio.Future[None] = loop.create_future()
        self._options = options
        self._lookback = lookback
        self._receiver = receiver
        self._transport: asyncio.Transport | None = None
        self._tail = b""
        self._cause: SessionError | None = None
        self._connected_at = 0.0
        self._ping_mark: float | None = None
        self.confirmed: float | None = None
        self._unacked_bytes = 0
        self._paused = False
        self._draining = False
        self._heard_at = loop.time()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._options.connect_packet())

    def data_received(self, data: bytes) -> None:
        self._heard_at = asyncio.get_running_loop().time()
        view = memoryview(self._tail + data if self._tail else data)
        offset, end = 0, len(view)
        published: list[mqtt5.PublishPacket] = []
        while offset < end:
            try:
                packet, size = mqtt5.read(view[offset:])
            except IndexError:
                break  # the rest of this packet is still on its way
            except BaseException as error:
                if not _malformed(error):
                    raise
                self._fail(SessionError(f"the broker sent something that is not MQTT 5: {error}"))
                break
            offset += size
            if type(packet) is mqtt5.PublishPacket:
                published.append(packet)
            else:
                self._control(packet)
        self._tail = bytes(view[offset:])
        if published and not self._draining:
            self._hand_over(published)

    def connection_lost(self, exc: Exception | None) -> None:
        cause = self._cause
        if cause is None and not self._draining:
            cause = SessionError(f"the connection broke: {exc}" if exc else "the broker closed the connection")
        if not self.ready.done():
            self.ready.set_exception(cause or SessionError("closed while connecting"))
        if not self.closed.done():
            self.closed.set_result(cause)
        self._receiver.lost(self.epoch)

    # -- what the owner calls

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge in the given order. Deliveries of other connections are passed over."""
        transport, epoch = self._transport, self.epoch
        if transport is None or transport.is_closing():
            return
        ours = deliveries if all(d.epoch == epoch for d in deliveries) else [d for d in deliveries if d.epoch == epoch]
        ids = [d.packet_id for d in ours if d.packet_id is not None]
        if ids:
            transport.write(b"".join([PUBACK + packet_id.to_bytes(2, "big") for packet_id in ids]))
        self._unacked_bytes -= total_size(ours)
        if self._paused and not self._draining and self._unacked_bytes < self._options.buffer_limit * RESUME_AT:
            self._paused = False
            self._heard_at = asyncio.get_running_loop().time()
            transport.resume_reading()

    def stop_reading(self) -> None:
        """Take no more; what is not handed over yet stays unacknowledged with the broker."""
        self._draining = True
        if self._transport is not None:
            self._transport.pause_reading()

    def disconnect(self, forget: bool = False) -> None:
        """Say goodbye, then close once everything is written. The broker keeps the session, unless it is to forget."""
        self._draining = True
        if self._transport is not None and not self._transport.is_closing():
            expiry = 0 if forget else None
            self._transport.write(mqtt5.DisconnectPacket(session_expiry_interval=expiry).write())
            self._transport.close()

    def abort(self) -> None:
        """End it at once, without the goodbyes of TLS, which can take half a minute on a dead path."""
        self._draining = True
        if self._transport is not None:
            self._transport.abort()

    async def keep_alive(self) -> None:
        """Ping until the connection ends; abort it when the broker is silent for 1.5 intervals.

        The broker's answer to a ping proves that it has read every acknowledgement written before it: then what was
        settled at that time is `confirmed`.
        """
        interval = self._options.keepalive / 2
        loop = asyncio.get_running_loop()
        while self._transport is not None and not self._transport.is_closing():
            if self._ping_mark is None:
                self._ping_mark = self._receiver.settled_before()
            self._transport.write(PINGREQ)
            await asyncio.sleep(interval)
            # a paused connection reads no answers, so its silence means nothing
            if not self._paused and loop.time() - self._heard_at > self._options.keepalive * 1.5:
                self._fail(SessionError(f"the broker was silent for {self._options.keepalive * 1.5:.0f} s"))

    # -- inside

    def _hand_over(self, published: list[mqtt5.PublishPacket]) -> None:
        now = time.time()
        epoch, options = self.epoch, self._options
        in_doubt = self.resumed and self._heard_at - self._connected_at < IN_DOUBT_SECONDS
        since = self._lookback if in_doubt else None
        # tuple.__new__ is a third of what calling the NamedTuple costs, and this is the hottest line of all
        deliveries = [
            tuple.__new__(
                Delivery,
                (
                    packet.topic,
                    packet.payload,
                    0 if (packet_id := packet.packet_id) is None else 1,
                    packet_id,
                    epoch,
                    now,
                    self._lookback if packet.duplicate else since,
                ),
            )
            for packet in published
        ]
        size = total_size(deliveries)
        self._unacked_bytes += size
        if self._unacked_bytes >= options.buffer_limit and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._receiver.received(deliveries, size)

    def _control(self, packet: mqtt5.Packet) -> None:
        match packet:
            case mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.SUCCESS):
                self._accepted(packet.session_present)
            case mqtt5.ConnAckPacket():
                self._fail(Refused(_refusal(packet, self._options)))
            case mqtt5.SubAckPacket():
                self._subscribed(int(packet.reason_codes[0]))
            case mqtt5.UnsubAckPacket() if self._options.leaving:
                self._now_ready()
            case mqtt5.PingRespPacket():
                self.confirmed, self._ping_mark = self._ping_mark, None
            case mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER):
                self._fail(
                    Refused(
                        f"another client connected with client id {self._options.client_id}; "
                        "each agent needs its own agent.id"
                    )
                )
            case mqtt5.DisconnectPacket():
                self._fail(SessionError(f"the broker disconnected us: {packet.reason_code.name}"))

    def _accepted(self, resumed: bool) -> None:
        assert self._transport is not None
        self.resumed, self._connected_at = resumed, self._heard_at
        former = self._options.unsubscribe_packet()
        if former is not None:
            self._transport.write(former)
        if not self._options.leaving:
            self._transport.write(self._options.subscribe_packet())
        if resumed:  # old messages come before SUBACK, and may be more than we can take before acknowledging
            self._now_ready()

    def _subscribed(self, code: int) -> None:
        if code >= FIRST_ERROR_CODE:
            name = mqtt5.SubAckReasonCode(code).name
            self._fail(Refused(f"the broker refused the subscription to {self._options.subscription}: {name}"))
        elif code == 0:
            self._fail(Refused("the broker grants QoS 0 only, which loses messages; allow QoS 1 for this user"))
        else:
            self._now_ready()

    def _now_ready(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)

    def _fail(self, cause: SessionError) -> None:
        self._cause = self._cause or cause
        if self._transport is not None:
            self._transport.abort()


def _malformed(error: BaseException) -> bool:
    """What the codec raises for bytes that are no packet. A topic that is not UTF-8 makes it panic (seen in 0.8.0)."""
    return isinstance(error, ValueError) or type(error).__name__ == "PanicException"


def _refusal(packet: mqtt5.ConnAckPacket, options: SessionOptions) -> str:
    match packet.reason_code:
        case mqtt5.ConnAckReasonCode.BAD_USER_NAME_OR_PASSWORD | mqtt5.ConnAckReasonCode.NOT_AUTHORIZED:
            return f"the broker refused user {options.username}: check mqtt.username and mqtt.password"
        case code:
            return f"the broker refused the connection: {code.name} {packet.reason_str or ''}".rstrip()
