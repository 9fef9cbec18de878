"""/metrics and /healthz on loopback, served from a thread of their own."""

import threading
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import orjson
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from agent.creds.bulletin import CredsHealth
from agent.report import Observed, healthy, parts
from store.agents import PartState

HOST = "127.0.0.1"
VERSION = version("iot-console")
Observe = Callable[[], Observed]


class _Quiet(WSGIRequestHandler):
    timeout = 5  # seconds; a client that says nothing must not occupy the thread

    def log_message(self, format: str, *args: Any) -> None:
        """No access log: scrapes are noise in the journal."""


class AgentCollector(Collector):
    """Reads the agent's state at scrape time; nothing is counted twice."""

    def __init__(self, observe: Observe) -> None:
        self._observe = observe

    def collect(self) -> Iterator[Metric]:
        seen = self._observe()
        for name, value in seen.count.as_dict().items():
            yield CounterMetricFamily(f"iot_ingest_{name}", f"Ingest: {name.replace('_', ' ')}", value=value)
        yield GaugeMetricFamily("iot_ingest_unsettled", "Deliveries in our hands", value=seen.count.unsettled())
        yield GaugeMetricFamily("iot_spool_rows", "Messages in the spool", value=seen.spool.rows)
        yield GaugeMetricFamily("iot_spool_bytes", "Bytes of the spool in use", value=seen.spool.bytes)
        yield GaugeMetricFamily("iot_spool_limit_bytes", "Bytes the spool may use", value=seen.spool.limit)
        yield CounterMetricFamily("iot_broker_connects", "Connections made to the broker", value=seen.link.connects)
        yield CounterMetricFamily("iot_broker_failures", "Connections that failed", value=seen.link.failures)
        yield CounterMetricFamily(
            "iot_broker_sessions_lost", "Sessions the broker forgot", value=seen.link.sessions_lost
        )
        yield GaugeMetricFamily("iot_cpu_percent", "CPU of the host", value=seen.host.cpu_percent)
        yield GaugeMetricFamily("iot_memory_percent", "Memory of the host", value=seen.host.memory_percent)
        yield GaugeMetricFamily("iot_disk_percent", "Disk of the state directory", value=seen.host.disk_percent)
        yield GaugeMetricFamily("iot_agent_memory_bytes", "Resident memory of the agent", value=seen.host.agent_memory)
        if seen.write_p95_ms is not None:
            yield GaugeMetricFamily("iot_write_p95_seconds", "Batch write, p95", value=seen.write_p95_ms / 1000)
        if seen.canary is not None and seen.canary.round_trip_ms is not None:
            yield GaugeMetricFamily("iot_canary_seconds", "Canary round trip", value=seen.canary.round_trip_ms / 1000)
        yield from _credentials(seen.creds)
        state = GaugeMetricFamily("iot_part_ok", "1 while a part is ok", labels=["part"])
        for part in parts(seen):
            if part.state is not PartState.OFF:
                state.add_metric([part.name], float(part.state is PartState.OK))
        yield state


def _credentials(creds: CredsHealth | None) -> Iterator[Metric]:
    if creds is None:
        return
    yield GaugeMetricFamily("iot_credential_set", "Credential set proved in force", value=creds.generation)
    yield GaugeMetricFamily("iot_credentials", "Device credentials at the broker", value=creds.entries)
    if creds.desired is not None:
        yield GaugeMetricFamily("iot_credential_set_desired", "Newest credential set", value=creds.desired)
    if creds.certificate is not None:
        yield GaugeMetricFamily("iot_certificate_expiry_seconds", "End, since 1970", value=creds.certificate.until)


class Web:
    """start() binds, so that a port in use is an error at start; stop() ends the thread."""

    def __init__(self, port: int, observe: Observe) -> None:
        registry = CollectorRegistry()
        registry.register(AgentCollector(observe))
        self._metrics = make_wsgi_app(registry)
        self._observe = observe
        self._server: WSGIServer = make_server(HOST, port, self._answer, handler_class=_Quiet)
        self.port = int(self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="web", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                return list(self._metrics(environ, start_response))
            case "/healthz":
                return self._healthz(start_response)
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"there is /metrics and /healthz\n"]

    def _healthz(self, start_response: Any) -> Iterable[bytes]:
        seen = self._observe()
        ok = healthy(seen)
        body = {
            "ok": ok,
            "version": VERSION,
            "parts": {p.name: {"state": p.state, "detail": p.detail} for p in parts(seen)},
        }
        start_response("200 OK" if ok else "503 Service Unavailable", [("Content-Type", "application/json")])
        return [orjson.dumps(body), b"\n"]
