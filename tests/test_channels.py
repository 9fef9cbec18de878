"""Mail and webhooks against real servers: delivered once, verified, and clear when it fails."""

from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from agent.alerts.channels import Apprise, DeliveryError, Mail, Webhook, signature
from agent.config import ConfigError, load
from stack.broker import free_port
from stack.certificates import Authority
from stack.sink import Sink

BODY = {"title": "[FIRING] critical: BrokerDown", "text": "FIRING BrokerDown: it is gone", "alerts": []}


class Mailbox:
    """An SMTP server that keeps what it gets."""

    def __init__(self) -> None:
        self.mails: list[Message] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - the library's name
        assert session.ssl is not None, "in the clear"
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


@pytest.fixture
def smtp(tmp_path: Path, authority: Authority) -> Iterator[tuple[Mailbox, int]]:
    tls = authority.server_context(tmp_path)
    mailbox = Mailbox()
    port = free_port()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, tls_context=tls, require_starttls=True)
    controller.start()
    yield mailbox, port
    controller.stop()


def mail(port: int, ca_file: Path | None) -> Mail:
    return Mail("localhost", port, "iot@example.net", ("a@example.net", "b@example.net"), ca_file=ca_file)


async def test_a_mail_arrives_encrypted_and_carries_the_messages_id(
    smtp: tuple[Mailbox, int], authority: Authority
) -> None:
    mailbox, port = smtp
    await mail(port, authority.ca_file).deliver("id-1", BODY)
    [found] = mailbox.mails
    assert (found["Subject"], found["Message-ID"]) == (BODY["title"], "<id-1@example.net>")
    assert found["To"] == "a@example.net, b@example.net"
    assert "it is gone" in str(found.get_payload())


async def test_a_mail_server_that_cannot_be_verified_gets_nothing(smtp: tuple[Mailbox, int]) -> None:
    mailbox, port = smtp
    with pytest.raises(DeliveryError, match="certificate verify failed"):
        await mail(port, None).deliver("id-1", BODY)
    assert mailbox.mails == []


async def test_what_does_not_answer_is_said() -> None:
    with pytest.raises(DeliveryError, match="localhost: ConnectionRefusedError"):
        await mail(free_port(), None).deliver("id-1", BODY)
    with pytest.raises(DeliveryError, match="no answer: ConnectError"):
        await Webhook(f"http://127.0.0.1:{free_port()}/secret-path").deliver("id-1", BODY)


async def test_a_webhook_says_who_it_is_and_what_was_answered() -> None:
    sink = Sink()
    try:
        sink.answers.append(503)
        hook = Webhook(f"{sink.url}/x", "s3cret")
        with pytest.raises(DeliveryError, match="answered 503"):
            await hook.deliver("id-1", BODY)
        await hook.deliver("id-1", BODY)
        headers = {key.lower(): value for key, value in sink.received[-1].headers.items()}
        assert headers["idempotency-key"] == "id-1"
        at = int(headers["x-iot-signature"].split(",")[0].removeprefix("t="))
        assert headers["x-iot-signature"] == signature("s3cret", sink.received[-1].raw, at)
        assert "s3cret" not in repr(hook)
    finally:
        sink.stop()


async def test_apprise_is_an_extra() -> None:
    with pytest.raises(DeliveryError, match=r"pip install 'iot-console\[notify\]'"):
        await Apprise("json://localhost").deliver("id-1", BODY)


SETTINGS = """
[mqtt]
host = "h"
username = "u"
password = "p"
[database]
url = "postgresql://a@/iot?host=/tmp"
[alerts.channels.oncall]
"""


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ('kind = "webhook"\nurl = "http://hooks.example.net/x"', "must be https://"),
        ('kind = "webhook"', "alerts.channels"),
        ('kind = "pigeon"', "alerts.channels"),
        ('kind = "mail"\nhost = "h"\nsender = "nobody"\nto = ["a@b"]', "alerts.channels"),
    ],
)
def test_channels_that_cannot_work_are_refused(tmp_path: Path, channel: str, message: str) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(SETTINGS + channel)
    with pytest.raises(ConfigError, match=message):
        load(file, {})


def test_secrets_of_channels_come_from_credentials(tmp_path: Path) -> None:
    (tmp_path / "alert-oncall-url").write_text("https://hooks.example.net/TOKEN\n")
    (tmp_path / "agent.toml").write_text(SETTINGS + 'kind = "webhook"')
    found = load(tmp_path / "agent.toml", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    channel = found.alerts.channels["oncall"]
    assert channel.kind == "webhook"
    assert channel.url.get_secret_value() == "https://hooks.example.net/TOKEN"
    assert "TOKEN" not in repr(found) + found.model_dump_json()
