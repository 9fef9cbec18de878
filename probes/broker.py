"""How one logs in to an MQTT broker: over verified TLS, with a password."""

import ssl
from dataclasses import dataclass, field


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
