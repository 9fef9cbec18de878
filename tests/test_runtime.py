"""How the agent has Python behave for months: what a read takes from the heap, over TLS and without it."""

import asyncio
import asyncio.selector_events
import asyncio.sslproto
import contextlib
import ssl
import tracemalloc
from pathlib import Path

import pytest

from agent import config, daemon
from agent.config import ConfigError
from probes.tls import verifying_context
from stack.certificates import SERVER_NAME, Authority
from store.runtime import READ_BYTES, read_little

MANY = b"x" * 1_000_000
READERS = (asyncio.sslproto.SSLProtocol, asyncio.selector_events._SelectorSocketTransport)  # type: ignore[attr-defined]
Contexts = tuple[ssl.SSLContext | None, ssl.SSLContext | None]


class Receiver(asyncio.Protocol):
    """Counts what comes; first: the most memory that was in use until something did."""

    def __init__(self) -> None:
        self.bytes = self.first = 0
        self.came = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.first = self.first or tracemalloc.get_traced_memory()[1]
        self.bytes += len(data)
        self.came.set()


@pytest.fixture
def usual_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets is put back afterwards."""
    for reader in READERS:
        monkeypatch.setattr(reader, "max_size", reader.max_size)


@pytest.fixture(params=["plain", "TLS"])
def contexts(request: pytest.FixtureRequest, authority: Authority, tmp_path: Path) -> Contexts:
    """Of the server and of the client."""
    if request.param == "plain":
        return None, None
    return authority.server_context(tmp_path), verifying_context(authority.ca_file, SERVER_NAME)


async def _received(contexts: Contexts) -> tuple[int, int]:
    """Bytes of a short and a long answer; how much memory reading the short one took."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for data in (b"short", MANY):
            await reader.readexactly(1)
            writer.write(data)
            await writer.drain()
        await reader.read()  # the client has all of it
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        ended.set()

    ended, receiver = asyncio.Event(), Receiver()
    server, client = contexts
    async with asyncio.timeout(20), await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server) as listening:
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: receiver, *listening.sockets[0].getsockname(), ssl=client
        )
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(2):
            transport.write(b"?")
            await receiver.came.wait()
            took = receiver.first - before
            receiver.came.clear()
        while receiver.bytes < len(b"short" + MANY):
            await receiver.came.wait()
            receiver.came.clear()
        transport.close()
        await ended.wait()
    return receiver.bytes, took


@pytest.mark.usefixtures("usual_reads")
async def test_the_agent_sets_it_before_it_connects(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = {
        "IOT_MQTT__HOST": "localhost", "IOT_MQTT__USERNAME": "u", "MQTT_BROKER_PASSWORD": "p",
        "DATABASE_URL": "postgresql://u:p@127.0.0.1:1/d", "IOT_AGENT__STATE_DIR": str(tmp_path / "file" / "state"),
    }  # fmt: skip
    with pytest.raises(ConfigError, match="cannot write"):
        await daemon.serve(config.load(None, environment))
    assert [reader.max_size for reader in READERS] == [READ_BYTES] * len(READERS)


@pytest.mark.usefixtures("usual_reads")
async def test_a_read_takes_little_of_the_heap(contexts: Contexts) -> None:
    tracemalloc.start()
    try:
        _, usual = await _received(contexts)
        read_little()
        received, took = await _received(contexts)
    finally:
        tracemalloc.stop()
    assert received == len(b"short" + MANY)
    assert took < 3 * READ_BYTES < 12 * READ_BYTES < usual
