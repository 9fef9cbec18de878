"""`python -m bench.publisher`: devices that publish at QoS 1 as fast as the broker acknowledges.

Own packets on asyncio, because a client library would be the bottleneck. Prints a JSON line when all is acknowledged.
"""

import argparse
import asyncio
import json
import ssl
import struct
import time
from pathlib import Path

import mqtt5

from probes.tls import verifying_context

WINDOW = 1000
PAYLOAD = (
    b'{"ts":%d,"seq":%d,"temperature":21.53,"humidity":48.2,"battery":3.71,"rssi":-67,"fw":"1.3.2","ok":true,'
    b'"loc":{"lat":52.1,"lon":4.3}}'
)


class Device(asyncio.Protocol):
    """Sends `total` messages, never more than WINDOW unacknowledged; rate limits all devices together if not 0."""

    def __init__(self, username: str, password: str, total: int, rate: float) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connect = mqtt5.ConnectPacket(username, username=username, password=password.encode(), clean_start=True)
        self._head = struct.pack(">H", len(username) + 18) + f"tenants/{username}/telemetry".encode()
        self._total = total
        self._sent = 0
        self._acked = 0
        self._rate = rate
        self._began = 0.0
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._connect.write())

    def data_received(self, data: bytes) -> None:
        view, offset = memoryview(self._tail + data), 0
        while offset < len(view):
            try:
                packet, size = mqtt5.read(view[offset:])
            except IndexError:
                break
            offset += size
            if type(packet) is mqtt5.PubAckPacket:
                self._acked += 1
            elif type(packet) is mqtt5.ConnAckPacket:
                assert packet.reason_code == 0, packet
                self._began = time.monotonic()
        self._tail = bytes(view[offset:])
        self.send()

    def send(self) -> None:
        if self._acked >= self._total:
            if not self.done.done():
                self.done.set_result(None)
            return
        allowed = min(self._total, self._acked + WINDOW)
        if self._rate:
            allowed = min(allowed, int((time.monotonic() - self._began) * self._rate) + 1)
        out = []
        now = int(time.time() * 1000)
        while self._sent < allowed:
            self._sent += 1
            payload = PAYLOAD % (now, self._sent)
            body = self._head + struct.pack(">H", self._sent % 60_000 + 1) + b"\0" + payload
            out.append(b"\x32" + _length(len(body)) + body)
        if out:
            self._transport.write(b"".join(out))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(f"the broker hung up: {exc}"))


def _length(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value % 128 | 128, value // 128])


async def publish(options: argparse.Namespace) -> None:
    tls: ssl.SSLContext | None = verifying_context(options.ca_file, options.tls_name) if options.ca_file else None
    logins = [line.split(":", 1) for line in options.credentials.read_text().splitlines()]
    loop = asyncio.get_running_loop()
    began = time.time()
    devices = []
    for username, password in logins:
        share = options.messages // len(logins)
        device = Device(username, password, share, options.rate / len(logins))
        await loop.create_connection(
            lambda device=device: device,
            "127.0.0.1", options.port, ssl=tls, server_hostname=options.tls_name if tls else None,
        )  # fmt: skip
        devices.append(device)
    ticker = asyncio.create_task(_tick(devices)) if options.rate else None
    await asyncio.gather(*(device.done for device in devices))
    if ticker:
        ticker.cancel()
    print(json.dumps({"messages": options.messages // len(logins) * len(logins), "seconds": time.time() - began}))


async def _tick(devices: list[Device]) -> None:
    while True:
        await asyncio.sleep(0.01)
        for device in devices:
            device.send()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--credentials", type=Path, required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--ca-file", type=Path)
    parser.add_argument("--tls-name")
    asyncio.run(publish(parser.parse_args()))
