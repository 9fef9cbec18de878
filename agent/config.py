"""Settings: a TOML file, the environment and systemd credentials, validated together.

Precedence, highest first: environment, systemd credentials, file, defaults. `iot-agent check-config` reports every
mistake at once, each with the names under which the setting can be given.
"""

import os
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator

from agent.action_settings import ActionSettings, DoctorSettings
from agent.alert_settings import AlertSettings, CloudSettings, Section, channel_secrets
from agent.ingest.places import UnknownDevices
from agent.ingest.topics import TopicTemplate
from store.target import Target, host_name, parse_target

OWN_SUBTREE = "tenants/{tenant}/devices/{device}/"  # what a device's user name gives it at the broker
OWN_LOGIN = "(made by the agent itself)"
YES = {"1", "true", "t", "yes", "y", "on"}  # what pydantic takes for true
DEFAULT_FILE = Path("/etc/iot-agent/agent.toml")
PREFIX = "IOT_"
# Other names of secrets: of the service that ran before, and of files in systemd's credentials directory.
LEGACY_ENVIRONMENT = {
    "EXTERNAL_DATABASE_CONNECTION_STRING": ("database", "url"),
    "DATABASE_URL": ("database", "url"),
    "MQTT_BROKER_PASSWORD": ("mqtt", "password"),
}
CREDENTIALS = {
    "database-url": ("database", "url"),
    "mqtt-password": ("mqtt", "password"),
    "canary-password": ("canary", "password"),
}


class ConfigError(Exception):
    """One or more settings are wrong. str() is one line a mistake."""


def _template(value: str) -> str:
    TopicTemplate(value)
    return value


def _url(value: SecretStr) -> SecretStr:
    parse_target(value.get_secret_value())
    return value


class AgentSettings(Section):
    """The process itself."""

    id: str = Field(default_factory=socket.gethostname, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")
    """Name of this agent: its status row, its MQTT client id. Unique among the agents of one database."""
    state_dir: Path = Path("/var/lib/iot-agent")
    """Spool and horizon. Losing it loses what was spooled."""
    heartbeat_seconds: float = Field(5.0, gt=0, le=60)
    drain_seconds: float = Field(10.0, gt=0, le=80)
    """How long a stop may take to store what was received. Keep it below systemd's TimeoutStopSec."""
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")


class MqttSettings(Section):
    """The broker. Always TLS, always verified."""

    host: Annotated[str, AfterValidator(host_name)]
    port: int = Field(8883, ge=1, le=65535)
    tls_name: Annotated[str, AfterValidator(host_name)] | None = None
    """Name the broker's certificate must carry, when it is not `host` (as with host = "127.0.0.1")."""
    ca_file: Path | None = None
    """CA that signed the broker's certificate; without it, the CAs of the system."""
    username: str = Field(min_length=1)
    """Not needed, like the password, when creds.enabled: then the agent has logins of its own."""
    password: SecretStr
    client_id: str | None = None
    """Without it: iot-agent-ID. The broker keeps messages for this name while the agent is away."""
    topic_template: Annotated[str, AfterValidator(_template)] = "tenants/{tenant}/devices/{device}/{channel...}"
    keepalive_seconds: int = Field(30, ge=5, le=3600)
    share_group: str | None = Field(None, pattern=r"^[A-Za-z0-9_-]{1,32}$")
    """With several agents: those with the same group share the messages. See docs/scale-out.md."""
    session_expiry_days: float = Field(7.0, ge=0.01, le=365)
    """How long the broker queues while the agent is away."""
    receive_maximum: int = Field(4000, ge=10, le=65_534)
    """Unacknowledged messages the broker may send; at least twice ingest.batch_rows keeps two batches moving."""
    buffer_bytes: int = Field(32 * 2**20, ge=2**20)
    """Unacknowledged bytes at which the agent stops reading; Mosquitto 2.0.11 does not keep to receive_maximum."""
    broker_memory_seconds: float = Field(60.0, ge=0, le=3600)
    """How old the state may be that a crashed broker comes back with: its autosave_interval and a little more."""
    max_packet_bytes: int = Field(2**20, ge=1024, le=268_435_455)
    """A larger message is not sent to us by the broker at all."""


class DatabaseSettings(Section):
    """PostgreSQL. Always TLS with verified certificate and name; a Unix socket (?host=/directory) needs none."""

    url: Annotated[SecretStr, AfterValidator(_url)]
    ca_file: Path | None = None
    pool_size: int = Field(4, ge=2, le=20)


class IngestSettings(Section):
    """From message to row."""

    batch_rows: int = Field(2000, ge=1, le=10_000)
    batch_bytes: int = Field(4 * 2**20, ge=2**16)
    linger_ms: int = Field(250, ge=0, le=10_000)
    """The longest a message waits for its batch to fill."""
    write_timeout_seconds: float = Field(20.0, gt=0, le=120)
    """After this a batch goes to the spool."""
    bucket_seconds: int = Field(10, ge=1, le=3600)
    """Equal messages of one device within a bucket are one row, unless they carry a time or a sequence number."""
    max_payload_bytes: int = Field(256 * 1024, ge=1, le=2**20)
    max_depth: int = Field(32, ge=1, le=500)
    max_past_hours: float = Field(168.0, gt=0, le=365 * 24)
    """Device timestamps older than this are not believed."""
    max_future_minutes: float = Field(60.0, ge=0, le=1440)
    timestamp_keys: tuple[str, ...] = ("ts", "timestamp", "time", "Time")
    sequence_keys: tuple[str, ...] = ("seq",)
    raw_channels: tuple[str, ...] = ()
    """Topic filters on the channel whose payloads are stored as bytes instead of JSON, such as "raw/#"."""
    unknown_devices: UnknownDevices = UnknownDevices.REJECT
    partitions_ahead_days: int = Field(3, ge=1, le=30)
    retention_days: int = Field(90, ge=8)
    history_days: int = Field(90, ge=8)
    """How long rates and dead letters are kept."""


class SpoolSettings(Section):
    """What the database cannot take now."""

    max_bytes: int = Field(2**30, ge=2**18)


class HttpSettings(Section):
    """Prometheus metrics and /healthz, on loopback only."""

    port: int = Field(9464, ge=0, le=65535)
    """0 switches it off."""


class CredsSettings(Section):
    """Device credentials from the database into the broker on this machine. One agent for each broker."""

    enabled: bool = False
    directory: Path = Path("/etc/mosquitto/iot/managed")
    """Where the broker reads `passwd` and `acl`; writable for the agent, setgid for the broker's group."""
    broker_pid_file: Path | None = None
    """The agent signals this process itself. Without it, the two commands below are used."""
    reload_command: tuple[str, ...] = ("systemctl", "reload", "mosquitto.service")
    stop_command: tuple[str, ...] = ("systemctl", "stop", "mosquitto.service")
    """For the last resort: tenants can reach each other, and the former set does not help."""
    poll_seconds: float = Field(5.0, gt=0, le=60)
    """How late a change comes when the database's notification is lost."""
    check_seconds: float = Field(30.0, ge=1, le=3600)
    """How often it is proved that the broker still enforces the set."""
    identity_days: float = Field(90.0, ge=0.01)
    """Age at which the agent changes its own logins."""


class CanarySettings(Section):
    """A message through the broker and back from the table. Off without a password, unless creds.enabled."""

    username: str = "platform/devices/canary"
    password: SecretStr | None = None
    host: Annotated[str, AfterValidator(host_name)] | None = None
    port: int | None = Field(None, ge=1, le=65535)
    """The listener of the devices; without them, those of [mqtt]."""
    interval_seconds: float = Field(30.0, ge=1)
    timeout_seconds: float = Field(15.0, ge=1)


class Settings(Section):
    """Everything the agent can be told."""

    agent: AgentSettings = AgentSettings()
    mqtt: MqttSettings
    database: DatabaseSettings
    ingest: IngestSettings = IngestSettings()
    spool: SpoolSettings = SpoolSettings()
    http: HttpSettings = HttpSettings()
    creds: CredsSettings = CredsSettings()
    canary: CanarySettings = CanarySettings()
    alerts: AlertSettings = AlertSettings()
    cloud: CloudSettings = CloudSettings()
    actions: ActionSettings = ActionSettings()
    doctor: DoctorSettings = DoctorSettings()

    @model_validator(mode="after")
    def _topics_fit_user_names(self) -> "Settings":
        if self.creds.enabled and not self.mqtt.topic_template.startswith(OWN_SUBTREE):
            raise ValueError(f"creds.enabled needs an mqtt.topic_template that begins with {OWN_SUBTREE}")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        oldest = self.ingest.max_past_hours / 24 + 1
        if self.ingest.retention_days < oldest:
            raise ValueError(
                f"ingest.retention_days must be at least {oldest:.0f}, a day more than ingest.max_past_hours"
            )
        if self.ingest.max_payload_bytes > self.mqtt.max_packet_bytes:
            raise ValueError(
                "ingest.max_payload_bytes is larger than mqtt.max_packet_bytes: such messages never arrive"
            )
        return self

    @property
    def target(self) -> Target:
        return parse_target(self.database.url.get_secret_value(), self.database.ca_file)


def load(file: Path | None, environment: Mapping[str, str]) -> Settings:
    """Read and validate. Raises ConfigError with every mistake.

    file: None reads DEFAULT_FILE if it exists; a file that is named must exist.
    """
    merged: dict[str, dict[str, Any]] = {"mqtt": {}, "database": {}}
    for layer in (_from_file(file), _from_credentials(environment), _from_environment(environment)):
        for section, values in layer.items():
            if not isinstance(values, dict):
                raise ConfigError(f"{section}: is a section, [{section}], and no setting of its own")
            merged.setdefault(section, {}).update(values)
    channel_secrets(merged, environment.get("CREDENTIALS_DIRECTORY"))
    if str(merged.get("creds", {}).get("enabled")).lower() in YES:
        merged["mqtt"] = {"username": OWN_LOGIN, "password": ""} | merged["mqtt"]
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("\n".join(_line(item) for item in error.errors())) from None


def _from_file(file: Path | None) -> dict[str, Any]:
    path = file or DEFAULT_FILE
    if file is None and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _from_credentials(environment: Mapping[str, str]) -> dict[str, Any]:
    """Files that systemd's LoadCredential= puts in front of the service."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    layer: dict[str, dict[str, str]] = {}
    for name, (section, key) in CREDENTIALS.items() if directory else ():
        path = Path(str(directory), name)
        if path.exists():
            layer.setdefault(section, {})[key] = path.read_text().strip()
    return layer


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """IOT_SECTION__KEY, and the legacy names below them. A tuple is given with commas."""
    layer: dict[str, dict[str, Any]] = {}
    for name, (section, key) in LEGACY_ENVIRONMENT.items():
        if environment.get(name):
            layer.setdefault(section, {})[key] = environment[name]
    for name, value in environment.items():
        if name.startswith(PREFIX) and "__" in name:
            section, key = name.removeprefix(PREFIX).lower().split("__", 1)
            field = Settings.model_fields.get(section)
            kind = getattr(field.annotation, "model_fields", {}).get(key) if field else None
            many = kind is not None and "tuple" in str(kind.annotation)
            layer.setdefault(section, {})[key] = tuple(filter(None, value.split(","))) if many else value
    return layer


def _line(item: Any) -> str:
    """One mistake, with the names under which the setting can be given; never the value, which may be secret."""
    where = [str(part) for part in item["loc"]]
    text = item["msg"].removeprefix("Value error, ")
    if len(where) < 2:
        return f"{where[0]}: {text} (section [{where[0]}] of the file)" if where else text
    section, key = where[:2]
    names = [f"{PREFIX}{section}__{key}".upper()]
    names += [name for name, place in LEGACY_ENVIRONMENT.items() if place == (section, key)]
    return f"{section}.{key}: {text} (in the file: [{section}] {key}; in the environment: {' or '.join(names)})"


def from_process(file: Path | None) -> Settings:
    """Settings of this process. Raises ConfigError."""
    return load(file, os.environ)
