"""A stand-in for Azure's REST endpoints on loopback, for the real SDK: token, metrics, logs, costs; with faults."""

import json
import ssl
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from stack.certificates import Authority

SCOPE = "/subscriptions/00000000-0000-0000-0000-000000000000"
VM = f"{SCOPE}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm1"
WORKSPACE = "11111111-1111-1111-1111-111111111111"


class FakeAzure:
    """costs: of the last days, oldest first. faults: path word to status code, or to a number of seconds to hang."""

    def __init__(self, directory: Path, authority: Authority) -> None:
        self.costs = [2.0] * 20
        self.credits = 120.0
        self.error_percent: float | None = 1.0
        self.partial = False
        self.malformed = False  # every answer, but those to who asks for a token
        self.token_seconds = 3600
        self.retry_after: int | None = None  # seconds, said with each fault
        self.currencies: tuple[str, ...] = ("EUR",)
        self.events: list[dict[str, object]] = []
        self.faults: dict[str, int | float] = {}
        self.requests: list[str] = []
        directory.mkdir(parents=True, exist_ok=True)
        self.ca_file = authority.ca_file
        self._api = _serve(self, authority.server_context(directory))
        self._identity = _serve(self, None)  # the machine's metadata service speaks plain HTTP

    @property
    def settings(self) -> dict[str, object]:
        """For [cloud] of an agent."""
        url = f"https://localhost:{self._api.server_port}"
        return {
            "enabled": True, "vm": VM, "function": "func1", "workspace": WORKSPACE, "cost_scope": SCOPE,
            "management_url": url, "logs_url": url, "metadata_url": f"http://127.0.0.1:{self._identity.server_port}",
            "ca_file": str(self.ca_file),
        }  # fmt: skip

    @property
    def agent_settings(self) -> dict[str, object]:
        """As stack.local takes them."""
        return {f"cloud__{name}": value for name, value in self.settings.items()}

    @property
    def environment(self) -> dict[str, str]:
        return {"AZURE_POD_IDENTITY_AUTHORITY_HOST": f"http://127.0.0.1:{self._identity.server_port}"}

    def answer(self, path: str) -> tuple[int, Any]:
        """(status, body)."""
        self.requests.append(path)
        for word, fault in self.faults.items():
            if word in path:
                if isinstance(fault, float):
                    time.sleep(fault)
                else:
                    return fault, {"error": {"code": "Fault", "message": "as asked for"}}
        for place, found in (
            ("/identity/oauth2/token", self._token),
            ("", (lambda: ["not", "an", "object"]) if self.malformed else None),
            ("/metadata/scheduledevents", lambda: {"DocumentIncarnation": 1, "Events": self.events}),
            ("/Microsoft.Insights/metrics", self._metrics),
            ("/Microsoft.CostManagement/query", self._bill),
            (f"/workspaces/{WORKSPACE}/query", self._logs),
        ):
            if found is not None and place in path:
                return 200, found()
        return 404, {"error": {"code": "NotFound", "message": path}}

    def _token(self) -> Mapping[str, Any]:
        ends = int(time.time()) + self.token_seconds
        token = {"access_token": f"t{ends}", "expires_in": str(self.token_seconds), "expires_on": str(ends)}
        return {**token, "resource": "r", "token_type": "Bearer"}

    def _metrics(self) -> Mapping[str, Any]:
        values = {
            "CPU Credits Remaining": self.credits, "VmAvailabilityMetric": 1.0, "Available Memory Percentage": 41.0,
        }  # fmt: skip
        return {"value": [self._metric(name, value) for name, value in values.items()]}

    def stop(self) -> None:
        for server in (self._api, self._identity):
            server.shutdown()
            server.server_close()

    def _metric(self, name: str, value: float) -> Mapping[str, Any]:
        stamps = [datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=m) for m in (10, 5)]
        data = [{"timeStamp": f"{stamp:%Y-%m-%dT%H:%M:%SZ}", "average": value} for stamp in stamps]
        return {"name": {"value": name}, "timeseries": [{"data": [*data, {"timeStamp": "2999-01-01T00:00:00Z"}]}]}

    def _bill(self) -> Mapping[str, Any]:
        today = datetime.now(UTC).date()
        days = [today - timedelta(days=n + 2) for n in range(len(self.costs))]
        bills = list(zip(reversed(self.costs), days, strict=True))
        rows = [[cost, int(f"{day:%Y%m%d}"), currency] for cost, day in bills for currency in self.currencies]
        return {
            "properties": {"columns": [{"name": "Cost"}, {"name": "UsageDate"}, {"name": "Currency"}], "rows": rows}
        }

    def _logs(self) -> Mapping[str, Any]:
        rows = [] if self.error_percent is None else [[self.error_percent]]
        table = {"name": "PrimaryResult", "columns": [{"name": "error_percent", "type": "real"}], "rows": rows}
        partial = {"error": {"code": "PartialError", "message": "cut"}} if self.partial else {}
        return {"tables": [table], **partial}


def _serve(azure: FakeAzure, tls: ssl.SSLContext | None) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = azure.answer(self.path)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if status == 429 and azure.retry_after is not None:
                self.send_header("Retry-After", str(azure.retry_after))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815 - the library calls it by this name

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, name="azure", daemon=True).start()
    return server
