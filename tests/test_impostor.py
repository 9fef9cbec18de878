"""A server with the right certificate that does not speak MQTT 5: it is said, at once, and ends nothing else."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from agent.ingest.link import Link, tls_dial
from agent.ingest.options import SessionOptions
from agent.ingest.redelivery import Horizon
from probes.broker import BrokerError, BrokerLogin
from probes.mqtt import publish
from probes.tls import verifying_context
from stack.certificates import SERVER_NAME, Authority
from tests.test_session import Collector, failed

CONNACK = b"\x20\x03\x00\x00\x00"
ANSWERS = {
    "MQTT 3.1.1": b"\x20\x02\x00\x01",
    "a length without an end": CONNACK + b"\x40\xff\xff\xff\xff\xff",
    "a code that does not exist": CONNACK + b"\x40\x04\x00\x01\x55\x00",
    "a topic that is not UTF-8": CONNACK + b"\x30\x05\x00\x02\xff\xfe\x00",
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n" + b"Content-Length: 0\r\n" * 9,
}


@asynccontextmanager
async def impostor(authority: Authority, directory: Path, answer: bytes) -> AsyncIterator[int]:
    """Says the same to everybody; gives its port."""
    context = authority.server_context(directory)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.read(1)
            writer.write(answer)
            await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


# the codec panics at a topic that is not UTF-8, and Python tells of what was raised below that
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_it_is_no_broker(authority: Authority, tmp_path: Path, answer: bytes) -> None:
    tls = verifying_context(authority.ca_file, SERVER_NAME)
    async with asyncio.timeout(20), impostor(authority, tmp_path, answer) as port:
        with pytest.raises(BrokerError, match=f"127.0.0.1:{port} sent what is not MQTT 5"):
            await publish(BrokerLogin("127.0.0.1", port, tls, "a", "b"), "t", b"1", timeout=60)
        link = _link(port, tls)
        task = asyncio.create_task(link.run())
        assert "not MQTT 5" in await failed(link)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _link(port: int, tls: ssl.SSLContext) -> Link:
    options = SessionOptions(
        client_id="test", username="a", password="b", topic_filter="#", receive_maximum=10, max_packet=10_000,
        buffer_limit=2**20, keepalive=30, session_expiry=60,
    )  # fmt: skip
    return Link(tls_dial("127.0.0.1", port, tls, SERVER_NAME), "test", options, Collector(), Horizon(1.0, 0.0))
