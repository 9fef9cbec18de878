"""Devices that publish at QoS 1 over TLS and never forget a message before it is acknowledged."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import aiomqtt

from agent.simulate.shapes import Message, Mix
from probes.broker import BrokerLogin
from probes.tls import verifying_context

RECONNECT_SECONDS = 1.0
ACK_SECONDS = 10.0


def client(login: BrokerLogin) -> aiomqtt.Client:
    """A client that is not connected yet."""
    return aiomqtt.Client(
        login.host,
        login.port,
        username=login.username,
        password=login.password,
        identifier=login.client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=login.tls,
        timeout=ACK_SECONDS,
        keepalive=30,
    )


@dataclass(frozen=True, slots=True)
class DeviceLogin:
    """username is tenant/devices/device, as the topics demand."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class FleetOptions:
    """rate is messages a second of the whole fleet; shares are 0..1; seconds None: until told to stop.

    repeat is the share of dated messages that a device publishes twice, as after a lost acknowledgement.
    """

    host: str
    port: int
    ca_file: Path | None
    tls_name: str
    rate: float
    seconds: float | None
    shapes: tuple[str, ...]
    bad: float = 0.0
    repeat: float = 0.0


@dataclass(slots=True)
class Tally:
    """What the broker acknowledged. published is the sum of the three below it."""

    devices: int = 0
    published: int = 0
    good: int = 0
    bad: int = 0
    repeated: int = 0
    resent: int = 0
    reconnects: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


def read_logins(file: Path) -> list[DeviceLogin]:
    """Lines of `tenant/devices/device:password`. Raises ValueError naming the line, OSError."""
    logins = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        if not line.strip():
            continue
        username, colon, password = line.partition(":")
        if not colon or username.count("/") != 2:
            raise ValueError(f"{file}, line {number}: expected tenant/devices/device:password")
        logins.append(DeviceLogin(username, password))
    return logins


GRACE_SECONDS = 15.0
Progress = Callable[[Tally], None]


async def run(
    logins: list[DeviceLogin], options: FleetOptions, stop: asyncio.Event, progress: Progress | None = None
) -> Tally:
    """Publish until the time is over or `stop` is set, and everything in hand is acknowledged.

    A broker that is gone for good acknowledges nothing: GRACE_SECONDS after the stop, what is in hand is given up.
    """
    tally = Tally(devices=len(logins))
    async with asyncio.TaskGroup() as group:
        gone = asyncio.Event()
        devices = [group.create_task(_Device(login, options, len(logins), stop, gone, tally).run()) for login in logins]
        if options.seconds is not None:
            asyncio.get_running_loop().call_later(options.seconds, stop.set)
        others = [group.create_task(_give_up(stop, gone, devices))]
        if progress is not None:
            others.append(group.create_task(_report(tally, progress)))
        await asyncio.wait(devices)
        for other in others:
            other.cancel()
    return tally


async def _give_up(stop: asyncio.Event, gone: asyncio.Event, devices: list["asyncio.Task[None]"]) -> None:
    await stop.wait()
    await asyncio.sleep(GRACE_SECONDS)
    gone.set()  # a cancellation alone can get lost in a client that fails to disconnect
    for device in devices:
        device.cancel()


async def _report(tally: Tally, progress: Progress) -> None:
    while True:
        await asyncio.sleep(1)
        progress(tally)


class _Device:
    def __init__(
        self,
        login: DeviceLogin,
        options: FleetOptions,
        fleet_size: int,
        stop: asyncio.Event,
        gone: asyncio.Event,
        tally: Tally,
    ) -> None:
        tls = verifying_context(options.ca_file, options.tls_name)
        self._login = BrokerLogin(
            options.host, options.port, tls, login.username, login.password, client_id=login.username
        )
        self._interval = fleet_size / options.rate
        self._repeat = options.repeat
        self._mix = Mix(login.username, options.shapes, options.bad)
        self._stop = stop
        self._gone = gone
        self._tally = tally
        self._waiting: Message | None = None

    @property
    def _done(self) -> bool:
        return self._gone.is_set() or (self._stop.is_set() and self._waiting is None)

    async def run(self) -> None:
        """Keep the message in hand over reconnects; end only between two messages."""
        await self._pause(random.uniform(0, min(self._interval, 1.0)))
        while not self._done:
            try:
                async with client(self._login) as connected:
                    await self._publish(connected)
            except aiomqtt.MqttError:
                self._tally.reconnects += 1
                await asyncio.sleep(random.uniform(0, RECONNECT_SECONDS))

    async def _publish(self, connected: aiomqtt.Client) -> None:
        due = time.monotonic()
        while not self._done:
            if self._waiting is None:
                self._waiting = self._mix.next(time.time())
            else:
                self._tally.resent += 1
            message = self._waiting
            topic = f"tenants/{self._login.username}/{message.channel}"
            await connected.publish(topic, message.payload, qos=1)
            self._count(message)
            self._waiting = None
            if message.dated and random.random() < self._repeat:
                await connected.publish(topic, message.payload, qos=1)
                self._tally.repeated += 1
                self._tally.published += 1
            due = max(due + self._interval, time.monotonic() - 1)
            await self._pause(due - time.monotonic())

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), max(seconds, 0))

    def _count(self, message: Message) -> None:
        self._tally.published += 1
        if message.good:
            self._tally.good += 1
        else:
            self._tally.bad += 1
