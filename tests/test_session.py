"""The receiving session against a real Mosquitto."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from agent.ingest.delivery import Delivery
from agent.ingest.link import Link, tls_dial
from agent.ingest.options import SessionOptions
from agent.ingest.redelivery import Horizon
from agent.simulate.fleet import client
from probes.broker import BrokerError, BrokerLogin
from probes.mqtt import publish
from probes.tls import verifying_context
from stack.broker import INGEST_USER, Broker
from stack.certificates import Authority
from stack.proxy import Proxy

TOPIC = "tenants/acme/devices/d1/t"


class Collector:
    """A receiver that keeps everything and can be waited on."""

    def __init__(self) -> None:
        self.items: list[Delivery] = []
        self.losses = 0
        self._changed = asyncio.Condition()

    def received(self, deliveries: list[Delivery], size: int) -> None:
        self.items += deliveries
        self._tell()

    def settled_before(self) -> float:
        return 500.0

    def lost(self, epoch: int) -> None:
        self.losses += 1
        self._tell()

    def _tell(self) -> None:
        asyncio.get_running_loop().create_task(self._notify())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def until(self, count: int) -> list[Delivery]:
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: len(self.items) >= count)
        return self.items

    async def until_lost(self, count: int) -> None:
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(lambda: self.losses >= count)


def options(broker: Broker, **changes: object) -> SessionOptions:
    values: dict[str, object] = {
        "client_id": "test-agent",
        "username": INGEST_USER,
        "password": broker.passwords[INGEST_USER],
        "topic_filter": "tenants/+/devices/+/#",
        "receive_maximum": 100,
        "max_packet": 100_000,
        "buffer_limit": 2**20,
        "keepalive": 30,
        "session_expiry": 3600,
    }
    return SessionOptions(**values | changes)  # type: ignore[arg-type]


@asynccontextmanager
async def linked(
    broker: Broker, receiver: Collector, port: int | None = None, **changes: object
) -> AsyncIterator[Link]:
    context = verifying_context(broker.authority.ca_file, broker.server_name)
    dial = tls_dial("127.0.0.1", port or broker.service_port, context, broker.server_name)
    link = Link(dial, "test", options(broker, **changes), receiver, Horizon(123.0, 0.0))
    task = asyncio.create_task(link.run())
    try:
        yield link
    finally:
        link.disconnect()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def login(broker: Broker) -> BrokerLogin:
    tls = verifying_context(broker.authority.ca_file, broker.server_name)
    username = "acme/devices/d1"
    return BrokerLogin("127.0.0.1", broker.device_port, tls, username, broker.passwords[username])


async def send(broker: Broker, payloads: Sequence[bytes]) -> None:
    async with client(login(broker)) as device:
        await asyncio.gather(*(device.publish(TOPIC, payload, qos=1) for payload in payloads))


async def connected(link: Link, connects: int = 1) -> None:
    async with asyncio.timeout(60):
        while link.health.connects < connects or link.health.connected_at is None:
            await asyncio.sleep(0.01)


async def failed(link: Link) -> str:
    async with asyncio.timeout(60):
        while link.health.error is None:
            await asyncio.sleep(0.01)
    return link.health.error


async def test_nothing_is_acknowledged_that_we_did_not_acknowledge(broker: Broker) -> None:
    first = Collector()
    async with linked(broker, first) as link:
        await connected(link)
        await send(broker, [b"%d" % n for n in range(10)])
        got = await first.until(10)
        link.ack(got[:4])
    again = Collector()
    async with linked(broker, again) as link:
        redelivered = await again.until(6)
        assert sorted(d.payload for d in redelivered) == sorted(d.payload for d in got[4:])
        assert all(d.since == 123.0 for d in redelivered), "a redelivery has to be looked for among older rows"
        link.ack(redelivered)
        await send(broker, [b"after"])
        assert (await again.until(7))[-1].payload == b"after"


async def test_the_broker_keeps_what_is_sent_while_we_are_away(broker: Broker) -> None:
    first = Collector()
    async with linked(broker, first) as link:
        await connected(link)
    await send(broker, [b"%d" % n for n in range(300)])
    again = Collector()
    async with linked(broker, again) as link:
        while len(again.items) < 300:
            seen = len(again.items)
            await again.until(seen + 1)
            link.ack(again.items[seen:])
    assert {d.payload for d in again.items} == {b"%d" % n for n in range(300)}


async def test_the_window_we_ask_for_is_the_window_we_get(broker: Broker) -> None:
    receiver = Collector()
    async with linked(broker, receiver, receive_maximum=50) as link:
        await connected(link)
        await send(broker, [b"%d" % n for n in range(200)])
        await receiver.until(50)
        await publish(login(broker), TOPIC, b"more")  # a round trip, in which an overrun would have arrived
        assert len(receiver.items) == 50


async def test_an_acknowledgement_of_an_old_connection_is_never_sent(broker: Broker) -> None:
    receiver = Collector()
    proxy = Proxy(broker.service_port)
    async with proxy.running(), linked(broker, receiver, proxy.port) as link:
        await connected(link)
        await send(broker, [b"1", b"2"])
        old = list(await receiver.until(2))
        proxy.reset()
        await receiver.until(4)
        link.ack(old)  # same packet ids, other connection
        proxy.reset()
        await receiver.until(6)
        assert receiver.items[-1].epoch == old[0].epoch + 2


@pytest.mark.parametrize("fault", ["reset", "close"])
async def test_comes_back_after_a_broken_connection(broker: Broker, fault: str) -> None:
    receiver = Collector()
    proxy = Proxy(broker.service_port)
    async with proxy.running(), linked(broker, receiver, proxy.port) as link:
        for round_number in range(1, 4):
            await connected(link, round_number)
            getattr(proxy, fault)()
            await receiver.until_lost(round_number)
        await connected(link, 4)
        assert link.health.sessions_lost == 0


async def test_more_unacknowledged_than_we_can_hold_is_no_reason_to_reconnect(broker: Broker) -> None:
    async with linked(broker, Collector(), receive_maximum=200) as link:
        await connected(link)
        await send(broker, [b"%04d" % n + b"x" * 20_000 for n in range(90)])
    receiver = Collector()
    async with linked(broker, receiver, receive_maximum=200, buffer_limit=2**20) as link:
        await connected(link)
        await receiver.until(10)
        acked = 0
        while len(receiver.items) < 90:
            link.ack(receiver.items[acked:])
            acked = len(receiver.items)
            await receiver.until(acked + 1)
        assert link.health.connects == 1


async def test_an_acknowledgement_counts_once_the_broker_has_read_it(broker: Broker) -> None:
    proxy = Proxy(broker.service_port)
    async with proxy.running(), linked(broker, Collector(), proxy.port, keepalive=2) as link:
        await connected(link)
        async with asyncio.timeout(60):
            while link.confirmed is None:
                await asyncio.sleep(0.02)
        assert link.confirmed == 500.0
        proxy.stalled = True
        proxy.reset()
        await asyncio.sleep(0.5)
        assert link.confirmed is None or link.health.connected_at is None


async def test_a_silent_broker_is_noticed(broker: Broker) -> None:
    receiver = Collector()
    proxy = Proxy(broker.service_port)
    async with proxy.running(), linked(broker, receiver, proxy.port, keepalive=2) as link:
        await connected(link)
        proxy.stalled = True
        assert "silent for 3 s" in await failed(link)
        proxy.stalled = False
        await connected(link, 2)


async def test_a_forgotten_session_is_counted(broker: Broker) -> None:
    receiver = Collector()
    async with linked(broker, receiver) as link:
        await connected(link)
        broker.kill()
        for path in broker.directory.glob("*.db"):
            path.unlink()
        broker.start()
        await connected(link, 2)
        assert link.health.sessions_lost == 1


async def test_bytes_are_capped_and_reading_goes_on_after_acknowledging(broker: Broker) -> None:
    receiver = Collector()
    async with linked(broker, receiver, buffer_limit=200_000, receive_maximum=1000) as link:
        await connected(link)
        sending = asyncio.create_task(send(broker, [b"%04d" % n + b"x" * 20_000 for n in range(100)]))
        await receiver.until(10)
        await asyncio.sleep(0.2)  # what is in the sockets' buffers may still come, all of it must not
        assert len(receiver.items) < 80
        acked = 0
        while len(receiver.items) < 100:
            link.ack(receiver.items[acked:])
            acked = len(receiver.items)
            await receiver.until(acked + 1)
        await sending


async def test_a_wrong_password_says_what_to_check(broker: Broker) -> None:
    async with linked(broker, Collector(), password="wrong") as link:
        assert await failed(link) == f"the broker refused user {INGEST_USER}: check mqtt.username and mqtt.password"


async def test_an_untrusted_certificate_is_refused(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = Authority(tmp_path_factory.mktemp("other"))
    context = verifying_context(other.ca_file, broker.server_name)
    link = Link(
        tls_dial("127.0.0.1", broker.service_port, context, broker.server_name),
        "b:1",
        options(broker),
        Collector(),
        Horizon(0.0, 0.0),
    )
    task = asyncio.create_task(link.run())
    assert "check mqtt.ca_file and mqtt.tls_name" in await failed(link)
    task.cancel()


async def test_a_certificate_of_another_name_is_refused(broker: Broker) -> None:
    context = verifying_context(broker.authority.ca_file, "other.example.net")
    link = Link(
        tls_dial("127.0.0.1", broker.service_port, context, "other.example.net"),
        "b:1",
        options(broker),
        Collector(),
        Horizon(0.0, 0.0),
    )
    task = asyncio.create_task(link.run())
    assert "other.example.net" in await failed(link)
    task.cancel()


async def test_a_second_agent_of_the_same_name_is_explained(broker: Broker) -> None:
    first, second = Collector(), Collector()
    async with linked(broker, first) as link:
        await connected(link)
        async with linked(broker, second) as other:
            await connected(other)
            assert "does another agent use client id test-agent?" in await failed(link)


async def test_a_device_reaches_its_own_topics_only(broker: Broker) -> None:
    receiver = Collector()
    async with linked(broker, receiver) as link:
        await connected(link)
        for topic in ("tenants/globex/devices/d1/t", "tenants/acme/devices/d2/t", "tenants/acme/x", "$SYS/x"):
            with pytest.raises(BrokerError, match=f"{re.escape(topic)}: NOT_AUTHORIZED"):
                await publish(login(broker), topic, topic.encode())
        await publish(login(broker), TOPIC, TOPIC.encode())
        await receiver.until(1)
        assert [d.topic for d in receiver.items] == [TOPIC]


async def test_a_device_cannot_log_in_with_another_password(broker: Broker) -> None:
    with pytest.raises(BrokerError, match="refused user acme/devices/d1"):
        await publish(replace(login(broker), password="wrong"), TOPIC, b"1")


def test_a_context_always_verifies(broker: Broker) -> None:
    context = verifying_context(broker.authority.ca_file, "any")
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
