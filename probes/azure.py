"""What the cloud measures: VM metrics, errors of a function app by KQL, the bill by day. Read-only.

The SDK costs a second and 40 MB, so only `iot-agent cloud` imports this, as a process of its own. API versions and
shapes are those of Microsoft's REST reference (Monitor metrics 2024-02-01, Cost Management query 2023-11-01).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from azure.core import PipelineClient
from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy
from azure.core.rest import HttpRequest
from azure.identity import DefaultAzureCredential, ManagedIdentityCredential
from azure.monitor.query import LogsQueryClient, LogsQueryStatus

METRICS = {
    "CPU Credits Remaining": "azure.vm.cpu_credits",
    "Available Memory Percentage": "azure.vm.available_memory_percent",
    "VmAvailabilityMetric": "azure.vm.available",
}
AVAILABLE = "azure.vm.available"
# Requests are sampled: each row stands for ItemCount of them.
KQL = """
AppRequests
| where AppRoleName == "{function}"
| summarize total = sum(ItemCount), failed = sumif(ItemCount, Success == false)
| where total >= 20
| project error_percent = 100.0 * failed / total"""
EVENTS = "/metadata/scheduledevents"  # version 2020-07-01; only from the VM itself, without a login
COST_DAYS = 21
RETRIES = 2  # so that a round is a dozen calls at most
LONGEST_WAIT = 5.0  # seconds between two attempts
LATE_DAYS = 1  # a bill is complete a day later


class CloudError(Exception):
    """The cloud could not be asked; the message says what and why."""


@dataclass(frozen=True, slots=True)
class Places:
    """What to ask about; None is left out. vm and cost_scope are resource ids, workspace is a workspace's id (GUID).

    seconds: for each attempt at a connection, and at an answer.
    """

    vm: str | None
    function: str | None
    workspace: str | None
    cost_scope: str | None
    management_url: str
    logs_url: str
    metadata_url: str
    ca_file: Path | None
    seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Measured:
    """at: the time it is about, seconds since 1970."""

    metric: str
    labels: dict[str, str]
    at: float
    value: float


def credential(kind: str, client_id: str | None) -> TokenCredential:
    """managed: the VM's own identity; default: whatever is logged in on this machine, such as the az command line."""
    if kind == "managed":
        return ManagedIdentityCredential(client_id=client_id)
    return DefaultAzureCredential(managed_identity_client_id=client_id)


class Cloud:
    """Each question raises CloudError. A CA file is for a proxy or a test; verification is never off."""

    def __init__(self, places: Places, token: TokenCredential) -> None:
        self._places = places
        verify: str | bool = str(places.ca_file) if places.ca_file else True
        limits: dict[str, Any] = {"connection_timeout": places.seconds, "read_timeout": places.seconds}
        options: dict[str, Any] = {"connection_verify": verify, **limits}
        scope = f"{places.management_url}/.default"
        self._management = PipelineClient[HttpRequest, Any](
            places.management_url, policies=[_retry(), BearerTokenCredentialPolicy(token, scope)], **options
        )
        self._logs = LogsQueryClient(token, endpoint=places.logs_url, retry_policy=_retry(), **options)
        self._metadata = PipelineClient[HttpRequest, Any](places.metadata_url, policies=[_retry()], **limits)

    def vm(self, now: datetime) -> Iterator[Measured]:
        """CPU credits and memory of the VM, the newest value of each; availability, the worst within half an hour."""
        vm = self._places.vm
        assert vm is not None
        parameters = {
            "api-version": "2024-02-01",
            "metricnames": ",".join(METRICS),
            "aggregation": "Average",
            "interval": "PT5M",
            "timespan": f"{_iso(now - timedelta(minutes=30))}/{_iso(now)}",
        }
        path = f"{vm}/providers/Microsoft.Insights/metrics"
        answer = self._json(HttpRequest("GET", path, params=parameters), "metrics of the VM")
        for metric in answer.get("value", ()):
            name = METRICS.get(metric["name"]["value"])
            points = [p for series in metric.get("timeseries", ()) for p in series.get("data", ()) if "average" in p]
            if name is not None and points:
                newest = max(points, key=lambda point: str(point["timeStamp"]))
                at = datetime.fromisoformat(newest["timeStamp"]).timestamp()
                # who asks was perhaps down himself: whether it was available counts for the whole time
                worst = min(points, key=lambda point: float(point["average"]))
                chosen = worst if name == AVAILABLE else newest
                yield Measured(name, {"vm": vm.rsplit("/", 1)[-1]}, at, float(chosen["average"]))

    def events(self, now: datetime) -> Iterator[Measured]:
        """Maintenance that Azure has announced for the VM: seconds until it, 0 when it is under way."""
        request = HttpRequest(
            "GET", self._places.metadata_url.rstrip("/") + EVENTS, params={"api-version": "2020-07-01"},
            headers={"Metadata": "true"},
        )  # fmt: skip
        for event in self._answer(self._metadata, request, "scheduled events").get("Events", ()):
            begins = str(event.get("NotBefore") or "")
            left = (parsedate_to_datetime(begins) - now).total_seconds() if begins else 0.0
            labels = {"vm": ",".join(event.get("Resources", ())), "kind": str(event.get("EventType", "?"))}
            yield Measured("azure.vm.maintenance_seconds", labels, now.timestamp(), max(0.0, left))

    def function(self, now: datetime) -> Iterator[Measured]:
        """Share of failed requests within 15 minutes; nothing when there were fewer than 20."""
        places = self._places
        assert places.function is not None
        assert places.workspace is not None
        query = KQL.format(function=places.function.replace('"', ""))
        try:
            answer = self._logs.query_workspace(places.workspace, query, timespan=timedelta(minutes=15))
        except AzureError as error:
            raise CloudError(f"logs of {places.function}: {_reason(error)}") from error
        if answer.status is not LogsQueryStatus.SUCCESS:
            raise CloudError(f"logs of {places.function}: only a part was answered")
        for row in answer.tables[0].rows if answer.tables else ():
            yield Measured(
                "azure.function.error_percent", {"function": places.function}, now.timestamp(), float(row[0])
            )

    def cost(self, now: datetime) -> Iterator[Measured]:
        """The bill of each whole day that is complete by now."""
        scope = self._places.cost_scope
        assert scope is not None
        until = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=LATE_DAYS)
        body = {
            "type": "ActualCost",
            "timeframe": "Custom",
            "timePeriod": {"from": _iso(until - timedelta(days=COST_DAYS)), "to": _iso(until)},
            "dataset": {"granularity": "Daily", "aggregation": {"totalCost": {"name": "Cost", "function": "Sum"}}},
        }
        path = f"{scope}/providers/Microsoft.CostManagement/query"
        request = HttpRequest("POST", path, params={"api-version": "2023-11-01"}, json=body)
        answer = self._json(request, "costs")["properties"]
        names = [column["name"] for column in answer["columns"]]
        for row in answer["rows"]:
            values = dict(zip(names, row, strict=True))
            day = datetime.strptime(str(values["UsageDate"]), "%Y%m%d").replace(tzinfo=UTC)
            if day < until:
                amount = values.get("Cost", values.get("totalCost"))
                labels = {"scope": scope.strip("/").rsplit("/", 1)[-1], "currency": str(values.get("Currency", "?"))}
                yield Measured("azure.cost.daily", labels, day.timestamp(), float(str(amount)))

    def _json(self, request: HttpRequest, what: str) -> Mapping[str, Any]:
        request.url = self._places.management_url.rstrip("/") + request.url
        return self._answer(self._management, request, what)

    def _answer(self, client: "PipelineClient[HttpRequest, Any]", request: HttpRequest, what: str) -> Mapping[str, Any]:
        try:
            answer = client.send_request(request)
            answer.raise_for_status()
            found = answer.json()
        except (AzureError, ValueError) as error:
            raise CloudError(f"{what}: {_reason(error)}") from error
        if not isinstance(found, dict):
            raise CloudError(f"{what}: answered with {type(found).__name__}, not with an object")
        return found


class _Impatient(RetryPolicy[Any, Any]):
    """Azure may ask for minutes: then this round goes without, and the next one asks again."""

    def get_retry_after(self, response: Any) -> float | None:
        wanted = super().get_retry_after(response)
        return None if wanted is None else min(wanted, LONGEST_WAIT)


def _retry() -> _Impatient:
    """One for each client: a policy knows the one that comes after it."""
    return _Impatient(retry_total=RETRIES, retry_backoff_max=LONGEST_WAIT)


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _reason(error: Exception) -> str:
    """The first line; a response's body may be long."""
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        return f"answered {error.status_code}: {str(error.reason or '')[:100]}"
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
