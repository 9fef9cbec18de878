"""Ways to people: webhook, mail, apprise, the log. A channel delivers once and says why when it cannot."""

import asyncio
import hashlib
import hmac
import smtplib
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol

import orjson
import structlog

log = structlog.get_logger()
SECONDS = 10.0


class DeliveryError(Exception):
    """It was not delivered, as far as we know; the message says why and carries no secret."""


class Channel(Protocol):
    async def deliver(self, message_id: str, body: Mapping[str, Any]) -> None:
        """Raises DeliveryError."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """POST of the JSON body. With a secret, X-IoT-Signature is t=UNIX TIME,v1=HMAC-SHA256 of "TIME.BODY" in hex."""

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    async def deliver(self, message_id: str, body: Mapping[str, Any]) -> None:
        import httpx  # 4 MB and 0.1 s that an agent without a webhook does not need

        content = orjson.dumps(body)
        headers = {"Content-Type": "application/json", "Idempotency-Key": message_id}
        if self.secret is not None:
            headers["X-IoT-Signature"] = signature(self.secret, content, int(time.time()))
        try:
            async with httpx.AsyncClient(verify=verifying(self.ca_file), timeout=SECONDS, trust_env=False) as client:
                answer = await client.post(self.url, content=content, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DeliveryError(f"no answer: {type(error).__name__}") from error
        if not answer.is_success:
            raise DeliveryError(f"answered {answer.status_code}")


@dataclass(frozen=True, slots=True)
class Mail:
    """SMTP with verified TLS: from the first byte on port 465, by STARTTLS otherwise."""

    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    async def deliver(self, message_id: str, body: Mapping[str, Any]) -> None:
        mail = EmailMessage()
        mail["Subject"] = str(body["title"])
        mail["From"], mail["To"] = self.sender, ", ".join(self.to)
        mail["Message-ID"] = f"<{message_id}@{self.sender.rpartition('@')[2]}>"
        mail.set_content(f"{body['text']}\n")
        try:
            async with asyncio.timeout(2 * SECONDS):
                await asyncio.to_thread(self._send, mail)
        except (OSError, smtplib.SMTPException, TimeoutError) as error:
            raise DeliveryError(f"{self.host}: {type(error).__name__}: {error}"[:300]) from error

    def _send(self, mail: EmailMessage) -> None:
        tls = verifying(self.ca_file)
        if self.port == 465:
            connection: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=SECONDS, context=tls)
        else:
            connection = smtplib.SMTP(self.host, self.port, timeout=SECONDS)
        with connection:
            if self.port != 465:
                connection.starttls(context=tls)
            if self.username is not None:
                connection.login(self.username, self.password or "")
            connection.send_message(mail)


@dataclass(frozen=True, slots=True)
class Apprise:
    """Any of the services that the optional package apprise knows, by its URL."""

    url: str = field(repr=False)

    async def deliver(self, message_id: str, body: Mapping[str, Any]) -> None:
        try:
            import apprise
        except ImportError as error:
            raise DeliveryError("the package apprise is not installed: pip install 'iot-console[notify]'") from error
        target = apprise.Apprise()
        if not target.add(self.url):
            raise DeliveryError("apprise does not understand the URL of this channel")
        async with asyncio.timeout(2 * SECONDS):
            done = await asyncio.to_thread(target.notify, body=str(body["text"]), title=str(body["title"]))
        if not done:
            raise DeliveryError("apprise could not deliver it")


class Log:
    """Into the agent's own log: always there, and enough for a service that reads the journal."""

    async def deliver(self, message_id: str, body: Mapping[str, Any]) -> None:
        log.warning("alert", title=body["title"], text=body["text"], message_id=message_id)


async def ping(url: str, ca_file: Path | None) -> None:
    """Tell a watcher outside that alerts are evaluated. Raises DeliveryError."""
    import httpx

    try:
        async with httpx.AsyncClient(verify=verifying(ca_file), timeout=SECONDS, trust_env=False) as client:
            answer = await client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise DeliveryError(f"no answer: {type(error).__name__}") from error
    if not answer.is_success:
        raise DeliveryError(f"answered {answer.status_code}")


def signature(secret: str, content: bytes, at: int) -> str:
    """The time is signed too, so that a receiver can refuse what is old."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + content, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def verifying(ca_file: Path | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)
