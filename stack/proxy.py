"""A TCP proxy that misbehaves on demand: reset, close, stall, refuse."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

CHUNK = 65_536
LINGER_RESET = struct.pack("ii", 1, 0)  # close() sends RST instead of FIN


class Proxy:
    """In front of a loopback TCP port or a Unix socket. Listens on a port of its own, or on `listen_path`.

    stalled: bytes are taken and not passed on, as in a network that drops everything.
    refusing: new connections are closed at once.
    """

    def __init__(self, upstream: int | Path, listen_path: Path | None = None) -> None:
        self.port = 0
        self.stalled = False
        self.refusing = False
        self._upstream = upstream
        self._listen_path = listen_path
        self._writers: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        if self._listen_path is not None:
            server = await asyncio.start_unix_server(self._serve, str(self._listen_path))
            self._listen_path.chmod(0o777)
        else:
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.close()
            for pump in self._pumps:
                pump.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)

    def reset(self) -> None:
        """Break every connection with a TCP reset."""
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            if sock is not None and sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            writer.transport.abort()

    def close(self) -> None:
        """End every connection properly."""
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.close()
            return
        try:
            if isinstance(self._upstream, int):
                up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
            else:
                up_reader, up_writer = await asyncio.open_unix_connection(str(self._upstream))
        except OSError:
            writer.close()
            return
        self._writers |= {writer, up_writer}
        for source, sink in ((reader, up_writer), (up_reader, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK):
                while self.stalled:
                    await asyncio.sleep(0.02)
                sink.write(data)
                await sink.drain()
        sink.close()
        self._writers.discard(sink)
