"""Questions to an MQTT broker, asked as a device would: over verified TLS, with a password."""

import asyncio
import ssl
from dataclasses import dataclass, field

import aiomqtt


class BrokerError(Exception):
    """The broker could not be reached or refused; the message says which."""


@dataclass(frozen=True, slots=True)
class BrokerLogin:
    """tls is a context of probes.tls."""

    host: str
    port: int
    tls: ssl.SSLContext
    username: str
    password: str = field(repr=False)
    client_id: str | None = None


def client(login: BrokerLogin, timeout: float = 10.0) -> aiomqtt.Client:
    """An aiomqtt client, not connected yet. MQTT 5, so that a denied publish has a reason code."""
    return aiomqtt.Client(
        login.host,
        login.port,
        username=login.username,
        password=login.password,
        identifier=login.client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=login.tls,
        timeout=timeout,
        keepalive=30,
    )


async def publish(login: BrokerLogin, topic: str, payload: bytes, timeout: float = 10.0) -> None:
    """Connect, publish once at QoS 1, wait for the acknowledgement, disconnect. Raises BrokerError."""
    try:
        async with asyncio.timeout(timeout), client(login, timeout) as connected:
            await connected.publish(topic, payload, qos=1)
    except TimeoutError as error:
        raise BrokerError(f"{login.host}:{login.port} did not answer within {timeout:.0f} s") from error
    except (aiomqtt.MqttError, OSError) as error:
        raise BrokerError(f"{login.host}:{login.port}: {error}") from error
