"""Proof, by logging in, that a set is in force and that it keeps tenants apart."""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from agent.creds.render import Login
from probes.broker import BrokerError, BrokerLogin
from probes.mqtt import DENIED, LoginRefused, MqttClient, connect
from store.mosquitto import SALT_BYTES, password_hash

IN_FORCE_SECONDS = 8.0
AGAIN_SECONDS = 0.02
ANSWER_SECONDS = 10.0
FIRST_FAILURE = 0x80
PROBE_A, PROBE_B = "_probe/a", "_probe/b"  # topics beside those that the ingest reads
SET_PREFIX = "_set-"
PUBLISH, READ = "publish", "read"


class Verdict(StrEnum):
    """GOOD: in force and closed. STALE: the broker does not have it. SHUT: devices could not work. OPEN: somebody can
    do what they must not. AWAY: the broker does not answer."""

    GOOD = "good"
    STALE = "stale"
    SHUT = "shut"
    OPEN = "open"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Finding:
    """direction: in which the border between tenants is open, PUBLISH or READ; "" otherwise."""

    verdict: Verdict
    detail: str
    direction: str = ""


@dataclass(frozen=True, slots=True)
class Probes:
    """Logins made for one apply and known to nobody else. The first one's name carries the set's number, so that the
    broker's log shows from where on the set was in force."""

    generation: int
    set_password: str = field(repr=False)
    a_password: str = field(repr=False)
    b_password: str = field(repr=False)

    @property
    def username(self) -> str:
        return f"{SET_PREFIX}{self.generation}"

    def logins(self) -> Iterator[Login]:
        yield Login(self.username, _stored(self.set_password))
        for name, password in ((PROBE_A, self.a_password), (PROBE_B, self.b_password)):
            yield Login(name, _stored(password), (("readwrite", f"tenants/{name}/#"),))


@dataclass(frozen=True, slots=True)
class Access:
    """Where to ask: as a service, and as a device. The logins' user and password are placeholders."""

    service: BrokerLogin
    device: BrokerLogin

    def as_service(self, username: str, password: str, client_id: str | None = None) -> BrokerLogin:
        return _with(self.service, username, password, client_id)

    def as_device(self, username: str, password: str) -> BrokerLogin:
        return _with(self.device, username, password, None)


def new_probes(generation: int) -> Probes:
    return Probes(generation, *(secrets.token_urlsafe(24) for _ in range(3)))


async def prove(access: Access, probes: Probes, wait: float = IN_FORCE_SECONDS) -> Finding:
    """Wait until the set's own login is accepted, then try what must be possible and what must not."""
    try:
        await _in_force(access, probes, wait)
        async with asyncio.timeout(ANSWER_SECONDS):
            await _wrong_password(access)
            return await _boundaries(access, probes)
    except LoginRefused as error:
        return Finding(Verdict.STALE, f"the broker does not know set {probes.generation}: {error}")
    except _Wrong as wrong:
        return wrong.finding
    except (BrokerError, TimeoutError) as error:
        return Finding(Verdict.AWAY, str(error) or "the broker does not answer")


async def default_login_works(access: Access) -> bool:
    """Whether `admin` with its usual passwords gets in. Raises BrokerError when the broker cannot be asked."""
    for password in ("admin", "password", "public", ""):
        try:
            async with connect(access.as_service("admin", password)):
                return True
        except LoginRefused:
            continue
    return False


class _Wrong(Exception):
    def __init__(self, verdict: Verdict, detail: str, direction: str = "") -> None:
        super().__init__(detail)
        self.finding = Finding(verdict, detail, direction)


async def _in_force(access: Access, probes: Probes, wait: float) -> None:
    """Logging in also wakes the broker, which looks at a signal only after its next packet or 100 ms."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + wait
    while True:
        try:
            async with connect(access.as_service(probes.username, probes.set_password)):
                return
        except BrokerError:
            if loop.time() > ends_at:
                raise
        await asyncio.sleep(AGAIN_SECONDS)


async def _wrong_password(access: Access) -> None:
    try:
        async with connect(access.as_device(PROBE_A, "wrong")):
            raise _Wrong(Verdict.OPEN, "a wrong password is accepted")
    except LoginRefused:
        return


async def _boundaries(access: Access, probes: Probes) -> Finding:
    token = secrets.token_bytes(8)
    async with (
        connect(access.as_device(PROBE_A, probes.a_password)) as a,
        connect(access.as_device(PROBE_B, probes.b_password)) as b,
    ):
        await b.subscribe(f"tenants/{PROBE_B}/#")
        for topic_filter in ("#", f"tenants/{PROBE_B}/#"):
            await a.subscribe(topic_filter)
        await _must_be_denied(a, f"tenants/{PROBE_B}/x")
        await _must_be_denied(a, "$CONTROL/dynamic-security/v1")
        for client, name in ((a, PROBE_A), (b, PROBE_B)):
            if await client.publish(f"tenants/{name}/y", token) >= FIRST_FAILURE:
                return Finding(Verdict.SHUT, "a device may not publish to its own topics")
        topic, payload = await b.messages.get()
        await a.ping()  # the broker answers in order: what it wanted to send to a is here now
        leaked = [t for t, _ in _drain(a) if not t.startswith(f"tenants/{PROBE_A}/")]
        if leaked:
            return Finding(Verdict.OPEN, f"a device receives the messages of another one: {leaked[0]}", READ)
        if (topic, payload) != (f"tenants/{PROBE_B}/y", token):
            return Finding(Verdict.OPEN, f"somebody else published to {topic}")
    return Finding(Verdict.GOOD, "in force; other tenants' topics are denied")


async def _must_be_denied(client: MqttClient, topic: str) -> None:
    code = await client.publish(topic, b"{}")
    if code != DENIED:
        raise _Wrong(Verdict.OPEN, f"a device may publish to {topic} (code {code:#04x})", PUBLISH)


def _drain(client: MqttClient) -> Iterator[tuple[str, bytes]]:
    while not client.messages.empty():
        yield client.messages.get_nowait()


def _stored(password: str) -> str:
    return password_hash(password, secrets.token_bytes(SALT_BYTES))


def _with(login: BrokerLogin, username: str, password: str, client_id: str | None) -> BrokerLogin:
    return BrokerLogin(login.host, login.port, login.tls, username, password, client_id)
