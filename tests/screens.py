"""A console without a database: fixed rows and a clock that stands, so that a screen is the same every time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from store import members
from store.agents import AgentRow, AgentStatus, Part, PartState, Sample
from store.alert_rules import Evaluated, RuleRow
from store.alert_views import AlertingHealth, EpisodeRow, Happening, MessageView, SilenceView
from store.brokers import Broker, BrokerRow
from store.credentials import CredentialSet
from store.db import Db
from store.dead_letters import DeadLetterRow
from store.fleet import DeviceReading, DeviceRow, Heard
from store.members import Deed, Person, Role, Session
from store.rates import Minute, Totals
from store.target import Target
from store.telemetry import NewestRow
from tui.app import Console
from tui.library import Runbook
from tui.options import Options
from tui.panes import alerts, devices, users
from tui.panes.device_columns import Listed
from tui.view import Path, PathState, Snapshot, View
from tui.way import Way

NOW = datetime(2026, 11, 23, 14, 3, 22, tzinfo=UTC)
T = NOW.timestamp()

PARTS = (
    Part("broker", PartState.OK, "connected"),
    Part("ingest", PartState.OK, "last message 0 s ago"),
    Part("database", PartState.OK, "write p95 38 ms"),
    Part("spool", PartState.OK, "empty"),
    Part("canary", PartState.OK, "there and back in 312 ms"),
    Part("disk", PartState.WARN, "87 % used"),
    Part("partitions", PartState.OK, "made ahead"),
)
STATUS = AgentStatus(
    host="vm", pid=1, cores=1, cpu_percent=31.0, load_1m=0.62, memory_used=640 * 2**20, memory_total=1000 * 2**20,
    swap_used=0, disk_percent=87.0, agent_memory=52 * 2**20, received=1, inserted=1, duplicates=0, dead_letters=0,
    spooled=0, errors=0, spool_rows=0, spool_bytes=0, spool_limit=2**30, write_p95_ms=38.0, canary_ms=312.0,
    last_message_at=NOW, last_commit_at=NOW, last_error=None, parts=PARTS,
)  # fmt: skip
MINUTE = NOW.replace(second=0)
SNAPSHOT = Snapshot(
    at=T - 0.4,
    round_trip_ms=24.0,
    me=members.Me("iot_u_anna", "Anna", {"platform": Role.OWNER}),
    server_now=NOW,
    today=Totals(412_345, 1200, 17),
    rate=412.3,
    minutes=(*tuple(Minute(MINUTE - timedelta(minutes=n), 24000 + 200 * (n % 7), 12, n % 3) for n in range(12, 0, -1) if n != 6), Minute(MINUTE, 9000, 3, 1)),
    agents=(AgentRow("vm-weu", "0.1.0", NOW, NOW, NOW, 1.6, STATUS),),
    samples=tuple(
        Sample(NOW - timedelta(seconds=5 * n), 30.0 + n % 9, 62.0, 87.0, 0.6, 0, 0, 38.0 + n % 5, 312.0)
        for n in range(170, 0, -1) if not 60 < n < 90
    ),
    newest=tuple(
        NewestRow(NOW - timedelta(seconds=n), "acme", f"dev-{n:04}", f"tenants/acme/devices/dev-{n:04}/telemetry",
                  '{"temperature": 21.5, "place": "München \x1b[31m[red]"}')
        for n in range(40)
    ),
    dead_letters=(
        DeadLetterRow(1, NOW - timedelta(seconds=3), "acme", "tenants/acme/devices/dev-0412/up", "not-json",
                      "unexpected end of data: line 1 column 25", 4, "open", False),
    ),
    alerts=(),
    alerting=AlertingHealth(3.0, 0),
)  # fmt: skip


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def episode(number: int, alert: str, severity: str, labels: dict[str, str], age: float, **more: object) -> EpisodeRow:
    row = EpisodeRow(
        event_id=f"0000000{number}-0000-0000-0000-000000000000", alert=alert, severity=severity,
        labels=labels | {"alertname": alert, "severity": severity}, summary=f"{alert}: what it means for people",
        runbook="broker-down", rule_key=alert.lower(), fired_at=ago(age), ended_at=None, value=31.5, end_reason=None,
        acked_by=None, acked_at=None, ack_until=None, ack_note=None, acked=False, silenced=False,
    )  # fmt: skip
    return replace(row, **more)  # type: ignore[arg-type]


FIRING = (
    episode(1, "BrokerDown", "critical", {"agent": "vm-weu"}, 252),
    episode(2, "DeviceSilent", "warning", {"tenant": "acme", "device": "dev-0002"}, 1860, acked=True,
            acked_by="iot_u_ben", acked_at=ago(600), ack_note="battery is on its way"),
    episode(3, "CertificateExpiry", "warning", {"agent": "vm-weu"}, 183_600, silenced=True),
)  # fmt: skip
ENDED = (
    episode(4, "BrokerDown", "critical", {"agent": "vm-weu"}, 90_000, ended_at=ago(88_800), end_reason="resolved"),
    episode(5, "CpuHigh", "warning", {"agent": "vm-weu"}, 40_000, ended_at=ago(39_000), end_reason="rule_changed"),
)
ALERTS = alerts.Found(
    (*FIRING, *ENDED),
    (
        SilenceView(
            7, "platform", {"alertname": "CertificateExpiry"}, ago(3600), ago(-7200), "renewal is planned", "iot_u_anna"
        ),
    ),
    (
        MessageView("m1", "mail", "BrokerDown fires", "sent", 1, ago(250), ago(249), None),
        MessageView("m2", "webhook", "BrokerDown fires", "waiting", 3, ago(250), None, "HTTP 503"),
    ),
    2,
    AlertingHealth(3.0, 1),
)
STORY = (
    Happening(ago(252), "firing", "iot_agent_a"),
    Happening(ago(249), "firing told to mail: sent", ""),
    Happening(ago(200), "firing told to webhook: waiting, HTTP 503", ""),
)


def device(number: int, tenant: str, **more: object) -> DeviceRow:
    row = DeviceRow(
        tenant=tenant, device=f"dev-{number:04}", device_id=number, tenant_id=1, disabled=False, created_at=ago(9e6),
        credentials=1, issued_at=ago(7.6e6), issued_in=3, first_login_at=ago(7e6), last_login_at=ago(3600), old_ends_at=None,
    )  # fmt: skip
    return replace(row, **more)  # type: ignore[arg-type]


LISTED = (
    Listed(device(1, "acme"), Heard(ago(1.2), 54), 7),
    Listed(device(2, "acme"), Heard(ago(1860), 0), 7),
    Listed(device(3, "acme", issued_at=ago(4), issued_in=8), Heard(ago(2), 30), 7),
    Listed(device(4, "acme", credentials=2, first_login_at=None, issued_at=ago(7200), old_ends_at=ago(-500_000)),
           Heard(ago(3), 61), 7),
    Listed(device(5, "globex", disabled=True, issued_at=None, credentials=0), Heard(ago(260_000), 0), 7),
    Listed(device(6, "globex", issued_at=None, credentials=0), None, 7),
)  # fmt: skip
BROKER = Broker(
    "vm-weu", 7, "applied", "in force; other tenants' topics are denied", 8, "2.0.18", ago(1e6), ago(-1e6), ago(-9e7)
)
DEVICES = devices.Found(
    LISTED,
    (
        CredentialSet(8, "acme", ago(4), "iot_u_anna", "rotate dev-0003", None),
        CredentialSet(7, "acme", ago(7200), "iot_u_ben", "rotate dev-0004", None),
        CredentialSet(6, "globex", ago(90_000), "iot_u_ben", "create 120 devices", "iot_u_anna"),
    ),
    (BrokerRow(BROKER, 8, 0.8),),
)
ABOUT = devices.About(
    "acme/dev-0001",
    tuple(DeviceReading(ago(n), "tenants/acme/devices/dev-0001/t", f'{{"temperature": 21.{n}}}') for n in range(1, 5)),
    (Deed(ago(7.6e6), "iot_u_ben", "update credentials", "dev-0001"),),
)


def rule(key: str, origin: str = "file", **more: object) -> RuleRow:
    tenant = key.partition("/")[0] if "/" in key else "platform"
    body = {"id": key.rpartition("/")[2], "alert": "Rule", "expr": "avg(vm.cpu_percent[2m]) > 90", "for": "5m",
            "runbook": "vm-pressure", "labels": {"severity": "warning"}}  # fmt: skip
    row = RuleRow(key, origin, tenant, key.rpartition("/")[2], body, 12, ago(260_000), "iot_u_ben", None,
                  (Evaluated("vm-weu", ago(3), 1, 0, 0, 0.4, None),))  # fmt: skip
    return replace(row, **more)  # type: ignore[arg-type]


TOO_HOT = {"id": "too-hot", "alert": "TooHot", "expr": "max(telemetry.temperature[5m]) by (device) > 40", "for": "2m",
           "runbook": "broker-down", "labels": {"severity": "warning"},
           "annotations": {"summary": "{{ labels.device }} is at {{ value }}"}}  # fmt: skip
RULES = (
    rule("acme/too-hot", "tenant", body=TOO_HOT, evaluated=(Evaluated("", ago(3), 25, 2, 0, 0.6, None),)),
    rule("broker-down"),
    rule("vm-cpu", error="expr: vm.cpu has no such metric"),
    rule("vm-disk", evaluated=()),
)


def person(login: str, name: str, roles: dict[str, Role], seen: float | None = 1.0, **more: object) -> Person:
    at = None if seen is None else ago(seen)
    return replace(Person(login, name, "platform", False, ago(9e6), "iot_u_anna", at, roles), **more)  # type: ignore[arg-type]


USERS = users.Found(
    (
        person("iot_u_anna", "Anna", {"platform": Role.OWNER}),
        person("iot_u_ben", "Ben", {"platform": Role.OPERATOR}, 7200.0),
        person("iot_u_eva", "Eva", {"acme": Role.OPERATOR, "globex": Role.VIEWER}, 3.6e6),
        person("iot_u_hana", "Hana", {"acme": Role.VIEWER}, None, home="acme"),
        person("iot_u_ivan", "Ivan", {"globex": Role.VIEWER}, 1e6, home="globex", disabled=True),
    ),
    (Session("iot_u_anna", "iot-console", "10.1.0.7", ago(600)),),
    ("acme", "globex"),
)
DEEDS = (
    Deed(ago(260), "iot_u_anna", "insert alert_silences", "renewal is planned"),
    Deed(ago(9e6), "postgres", "insert logins", "iot_u_anna"),
)
RUNBOOKS = (
    Runbook("broker-down", "MQTT broker down or unreachable", "sev1", "Devices cannot connect.", ("BrokerDown",), "2026-11-25",
            "# MQTT broker down\n\nDevices cannot connect.\n\n## 1. Confirm from outside {#outside}\n\nThree times:\n\n    openssl s_client -connect HOST:8883"),
    Runbook("vm-pressure", "CPU, memory, disk or CPU credits", "sev2", "The VM is short of something.", ("CpuHigh", "DiskFull"), "2026-11-25", "# VM"),
    Runbook("half-done", error="half-done.md: line 3: no YAML"),
)  # fmt: skip
NAMES = tuple(sorted(runbook.id for runbook in RUNBOOKS))
LETTERS = (
    DeadLetterRow(1, ago(3), "acme", "tenants/acme/devices/dev-0412/up", "not-json", "unexpected end of data: line 1 column 25", 4, "open", False),
    DeadLetterRow(2, ago(90), "acme", "tenants/acme/devices/late/up", "unknown-device", "tenant acme has no device late", 31, "open", True),
    DeadLetterRow(3, ago(4000), "globex", "tenants/globex/devices/d/up", "nul", "holds the character U+0000", 1, "discarded", False),
)  # fmt: skip
LIVE = View(T, "PROD", "iot on vm-weu:5432", Path(PathState.LIVE, T - 60), SNAPSHOT)
LOST = Path(PathState.LOST, T - 42, "no connection to the database: Connection refused", T + 8)


def holding(*roles: tuple[str, Role]) -> Snapshot:
    """The snapshot as somebody else sees it."""
    return replace(SNAPSHOT, me=members.Me("iot_u_eva", "Eva", dict(roles)))


class Still(Console):
    """A console that nobody feeds: it shows what it is given."""

    def __init__(self, options: Options | None = None) -> None:
        way = Way(Target("vm-weu", 5432, "iot_u_anna", "iot"))
        super().__init__(way, options or Options(runbooks=lambda: list(RUNBOOKS), runbook_names=NAMES), lambda: T)
        self.view = LIVE
        self.db = Db(None)  # type: ignore[arg-type]

    async def _follow(self) -> None:
        """Nothing."""

    def fill(self) -> None:
        """Every pane with its rows."""
        rows = {
            "devices": DEVICES,
            "alerts": ALERTS,
            "rules": (RULES, ("acme", "globex")),
            "users": USERS,
            "doctor": [],
        }
        for name, found in rows.items():
            self.panes[name].take(found, T - 0.4)
        pane = self.panes["devices"]
        assert isinstance(pane, devices.Devices)
        pane.know(ABOUT)


def text_of(app: Console) -> str:
    """What stands on the screen, line by line."""
    return "\n".join("".join(s.text for s in strip).rstrip() for strip in app.screen._compositor.render_strips()) + "\n"
