"""Where notifications go in tests and drills: an HTTP server on loopback that keeps what it gets."""

import json
import threading
import time
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Received:
    """One request. at: seconds since 1970; status: what was answered."""

    at: float
    path: str
    headers: dict[str, str]
    raw: bytes
    status: int

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


class Sink:
    """answers: status codes for the next requests; afterwards 200."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: deque[int] = deque()
        sink = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status = sink.answers.popleft() if sink.answers else 200
                sink.received.append(Received(time.time(), self.path, dict(self.headers), raw, status))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST  # noqa: N815 - the library calls it by this name

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="sink", daemon=True)
        self._thread.start()

    def said(self, alert: str, reason: str | None = None) -> list[Received]:
        """Messages that were taken and mention an alert, for a reason."""
        return [
            one
            for one in list(self.received)
            if one.status == 200
            and one.raw
            and any(a["alert"] == alert and reason in (None, a["reason"]) for a in one.body["alerts"])
        ]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
