"""Messages of a device of ours, sent to see what becomes of them: a good one, one that cannot be stored, and ones that
cross the border between tenants. Each answers with a finding; what went wrong with asking is unknown.
"""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from probes.broker import BrokerError
from probes.checks import Probe
from probes.finding import Finding, failed, passed, unknown
from probes.mqtt import DENIED, LoginRefused, MqttClient, connect
from store import dead_letters, telemetry
from store.db import Db
from store.errors import StoreError
from store.message import message_hash

SECONDS = 15.0
POLL_SECONDS = 0.1
TRIES, AGAIN_SECONDS = 3, 1.0
ENDED = "closed the connection"  # as probes.mqtt says it
CHANNEL = "smoke"
FOREIGN = "tenants/smoke-other-tenant/devices/smoke-other-device/smoke"
MARGIN = timedelta(seconds=5)


class Lost(Exception):
    """It did not come to what it should; the message says to what instead."""


async def plain(db: Db, probe: Probe, seconds: float = SECONDS) -> Finding:
    """Sent twice, as by a device that did not hear the first acknowledgement, a message is one row of its tenant."""

    async def work(client: MqttClient) -> Finding:
        began, once = time.monotonic(), _payload()
        for payload in (once, once):
            await _publish(client, probe, payload)
        await _arrival(db, probe, once, seconds)
        took = time.monotonic() - began
        await _settled(db, client, probe, seconds)
        count = await _copies(db, probe, once)
        if count != 1:
            return failed(f"a message that was sent twice is {count} rows")
        return passed(f"{probe.tenant}/{probe.device}: a row after {took * 1000:.0f} ms, and only one")

    return await _as_device(probe, seconds, work)


async def malformed(db: Db, probe: Probe, seconds: float = SECONDS) -> Finding:
    """What cannot be stored becomes a dead letter with its reason, and holds up nothing that comes after it."""

    async def work(client: MqttClient) -> Finding:
        payload = _payload()[:-1]  # no JSON any more
        await _publish(client, probe, payload)
        await _settled(db, client, probe, seconds)
        found = await dead_letters.of_message(db, probe.tenant, message_hash(_topic(probe), payload))
        if found is None:
            return failed("a message that is no JSON became no dead letter")
        with contextlib.suppress(StoreError):  # nobody has to look after it; an agent may not say so
            await dead_letters.handle(db, [found[0]], "discard")
        return passed(f"dead letter {found[0]}, {found[1]}; what came after it was stored")

    return await _as_device(probe, seconds, work)


async def publish_denied(probe: Probe, seconds: float = SECONDS) -> Finding:
    """Topics of another tenant, and of another device of the same one, take nothing from the device."""
    sibling = f"{probe.root.rpartition('/')[0]}/smoke-other-device/{CHANNEL}"

    async def work(client: MqttClient) -> Finding:
        for topic in (FOREIGN, sibling, "$CONTROL/dynamic-security/v1"):
            code = await client.publish(topic, b"{}")
            if code != DENIED:
                return failed(f"{probe.tenant}/{probe.device} may publish to {topic} (code {code:#04x})")
        await _publish(client, probe, _payload())
        return passed("denied with 0x87; its own topic takes its messages")

    return await _as_device(probe, seconds, work)


async def read_denied(probe: Probe, provoke: Callable[[], Awaitable[Finding]], seconds: float = SECONDS) -> Finding:
    """Nobody else's messages reach the device, whatever it subscribes to. provoke has somebody else send one."""

    async def work(client: MqttClient) -> Finding:
        for topic_filter in ("#", "tenants/#", f"{probe.root}/#"):
            await client.subscribe(topic_filter)  # 2.0 grants what it then does not deliver
        await _publish(client, probe, _payload())
        provoked = await provoke()
        await client.ping()  # the broker answers in order: what it wanted to send is here now
        seen = []
        while not client.messages.empty():
            seen.append(client.messages.get_nowait()[0])
        others = [topic for topic in seen if not topic.startswith(f"{probe.root}/")]
        if others:
            return failed(f"{probe.tenant}/{probe.device} receives {others[0]}")
        if not seen:
            return unknown(
                f"{probe.tenant}/{probe.device} does not receive its own messages, so the others prove nothing"
            )
        if provoked.outcome != "pass":
            return unknown(f"nobody else has sent anything: {provoked.found}")
        return passed("it receives its own messages, and nobody else's")

    return await _as_device(probe, 2 * seconds, work)


async def system_denied(probe: Probe, seconds: float = SECONDS) -> Finding:
    """The broker's own topics are not for devices."""

    async def work(client: MqttClient) -> Finding:
        for topic_filter in ("$SYS/#", "$CONTROL/#"):
            await client.subscribe(topic_filter)
        await client.ping()  # $SYS/broker/version is retained: it would be here
        if client.messages.empty():
            return passed("nothing of $SYS or $CONTROL reaches a device")
        return failed(f"a device receives {client.messages.get_nowait()[0]}")

    return await _as_device(probe, seconds, work)


async def _as_device(probe: Probe, seconds: float, work: Callable[[MqttClient], Awaitable[Finding]]) -> Finding:
    """Tried again when the connection ends: the broker ends it when somebody else is this device, too."""
    found = unknown("not tried")
    for _ in range(TRIES):
        found = await _once(probe, seconds, work)
        if not found.found.endswith(ENDED):
            return found
        await asyncio.sleep(AGAIN_SECONDS)
    return unknown(f"{found.found}, {TRIES} times: does somebody else try with {probe.tenant}/{probe.device} now?")


async def _once(probe: Probe, seconds: float, work: Callable[[MqttClient], Awaitable[Finding]]) -> Finding:
    try:
        async with probe.turn, asyncio.timeout(2 * seconds), connect(probe.login) as client:
            return await work(client)
    except LoginRefused as error:
        return unknown(f"{error}: is the credential of {probe.tenant}/{probe.device} the newest one?")
    except (Lost, BrokerError) as error:
        return failed(str(error))
    except TimeoutError:
        return failed(f"the broker does not answer within {2 * seconds:.0f} s")


async def _publish(client: MqttClient, probe: Probe, payload: bytes) -> None:
    code = await client.publish(_topic(probe), payload)
    if code == DENIED:
        raise Lost(f"{probe.tenant}/{probe.device} may not publish to its own topic {_topic(probe)}")


async def _settled(db: Db, client: MqttClient, probe: Probe, seconds: float) -> None:
    """One more message, and its row: what was sent before is through, for messages keep their order."""
    marker = _payload()
    await _publish(client, probe, marker)
    await _arrival(db, probe, marker, seconds)


async def _arrival(db: Db, probe: Probe, payload: bytes, seconds: float) -> None:
    ends_at = time.monotonic() + seconds
    while not await _copies(db, probe, payload):
        if time.monotonic() > ends_at:
            letter = await dead_letters.of_message(db, probe.tenant, message_hash(_topic(probe), payload))
            if letter is not None:
                raise Lost(f"no row: it became dead letter {letter[0]}, {letter[1]}")
            raise Lost(f"the broker took the message, and there is no row after {seconds:.0f} s")
        await asyncio.sleep(POLL_SECONDS)


async def _copies(db: Db, probe: Probe, payload: bytes) -> int:
    sent = datetime.fromtimestamp(json.loads(payload)["ts"], UTC)
    msg_hash = message_hash(_topic(probe), payload)
    return await telemetry.copies(db, probe.tenant, probe.device, msg_hash, sent - MARGIN, sent + MARGIN)


def _topic(probe: Probe) -> str:
    return f"{probe.root}/{CHANNEL}"


def _payload() -> bytes:
    """Each is another one, so that it is not taken for a copy."""
    return json.dumps({"ts": round(time.time(), 3), "smoke": secrets.token_hex(8)}).encode()
