"""Parts of the agent from its settings."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace

from pydantic import BaseModel, SecretStr

from agent.alert_settings import AppriseSettings, ChannelSettings, MailSettings, WebhookSettings
from agent.alerts.channels import Apprise, Channel, Log, Mail, Webhook
from agent.alerts.engine import Engine, Plan
from agent.alerts.history import Readings
from agent.alerts.loader import Loader
from agent.alerts.sources import Limits as AlertLimits
from agent.canary import Canary
from agent.config import ConfigError, Settings
from agent.creds.applier import Applier
from agent.creds.files import FileStore
from agent.creds.identity import Identity, IdentityError
from agent.creds.reconciler import Reconciler, Timing
from agent.creds.signals import Signals
from agent.creds.takeover import OwnLogins
from agent.creds.verify import Access
from agent.creds.verify import Finding as Proof
from agent.ingest.decode import Limits
from agent.ingest.link import Dial, tls_dial
from agent.ingest.options import SessionOptions
from agent.ingest.topics import TopicTemplate
from agent.looks import Sight
from agent.root_looks import own_places, private_paths
from agent.turn import Turn
from probes.broker import BrokerLogin
from probes.catalogue import Listener, World
from probes.finding import Finding
from probes.redact import Redactor
from probes.shipped import rules_file
from probes.tls import verifying_context
from store.db import Db


def limits(settings: Settings) -> Limits:
    ingest = settings.ingest
    return Limits(
        max_payload=ingest.max_payload_bytes,
        max_depth=ingest.max_depth,
        bucket_seconds=ingest.bucket_seconds,
        max_past=ingest.max_past_hours * 3600,
        max_future=ingest.max_future_minutes * 60,
        timestamp_keys=ingest.timestamp_keys,
        sequence_keys=ingest.sequence_keys,
    )


def client_id(agent_id: str) -> str:
    """The name that the broker keeps an agent's messages for, unless its settings say another."""
    return f"iot-agent-{agent_id}"


def session_options(settings: Settings, own: Identity | None, leaving: bool = False) -> SessionOptions:
    mqtt = settings.mqtt
    return SessionOptions(
        client_id=mqtt.client_id or client_id(settings.agent.id),
        username=own.ingest if own else mqtt.username,
        password=own.ingest_password if own else mqtt.password.get_secret_value(),
        topic_filter=TopicTemplate(mqtt.topic_template).filter,
        receive_maximum=mqtt.receive_maximum,
        max_packet=mqtt.max_packet_bytes,
        buffer_limit=mqtt.buffer_bytes,
        keepalive=mqtt.keepalive_seconds,
        session_expiry=int(mqtt.session_expiry_days * 86_400),
        share_group=mqtt.share_group,
        leaving=leaving,
    )


def broker_dial(settings: Settings) -> Dial:
    mqtt = settings.mqtt
    name = mqtt.tls_name or mqtt.host
    try:
        return tls_dial(mqtt.host, mqtt.port, verifying_context(mqtt.ca_file, name), name)
    except OSError as error:
        raise ConfigError(f"mqtt.ca_file: cannot use {mqtt.ca_file}: {error.strerror or error}") from error


def canary(settings: Settings, db: Db, own: Identity | None) -> Canary | None:
    """None when there is no password for it. own: the agent's logins, if it makes them itself."""
    given = settings.canary
    password = own.canary_password if own else given.password and given.password.get_secret_value()
    if not password:
        return None
    login = replace(device_login(settings), username=own.canary if own else given.username, password=password)
    template = TopicTemplate(settings.mqtt.topic_template)
    turn = Turn(settings.agent.state_dir / "canary.lock")
    bucket = settings.ingest.bucket_seconds
    return Canary(db, login, template, settings.agent.id, bucket, given.timeout_seconds, turn)


def device_login(settings: Settings) -> BrokerLogin:
    """How devices reach the broker, as far as the agent knows; without user and password."""
    mqtt, device = settings.mqtt, settings.canary
    tls = verifying_context(mqtt.ca_file, mqtt.tls_name or mqtt.host)
    return BrokerLogin(device.host or mqtt.host, device.port or mqtt.port, tls, "", "")


def own_logins(settings: Settings, on_change: Callable[[Identity], None]) -> OwnLogins | None:
    """The agent's logins at the broker that it makes itself; None when the settings name one.

    Raises ConfigError when there is no identity yet.
    """
    if not settings.creds.enabled:
        return None
    try:
        return OwnLogins(settings.agent.state_dir, settings.creds.identity_days, on_change)
    except IdentityError as error:
        raise ConfigError(f"creds.enabled: {error}") from error


def sight(
    settings: Settings,
    db: Db | None,
    redact: Redactor,
    canary: Canary | None,
    proved: Callable[[], Awaitable[Proof]] | None,
    provoke: Callable[[], Awaitable[Finding]] | None = None,
) -> Sight:
    """What the agent looks with when people ask. proved: the proof of the set in force, by the one who applied it;
    without it, its own device tries, while provoke has another one publish."""
    mqtt, device = settings.mqtt, settings.canary
    place = Listener(
        device.host or mqtt.host, device.port or mqtt.port, mqtt.tls_name or device.host or mqtt.host, mqtt.ca_file
    )
    files = FileStore(settings.creds.directory) if settings.creds.enabled else None
    state_dir = settings.agent.state_dir
    return Sight(
        World(db, settings.target, place, state_dir=state_dir, provoke=provoke), settings.actions, files, redact,
        private_paths(state_dir), own_places(state_dir), settings.agent.id, lambda: canary.probe if canary else None,
        proved, canary,
    )  # fmt: skip


def secrets_of(settings: Settings) -> Iterator[str]:
    """All that the settings hold: a database URL's password too, by itself."""
    password = settings.target.password
    if password:
        yield password
    waiting: list[object] = [settings]
    while waiting:
        found = waiting.pop()
        if isinstance(found, SecretStr):
            yield found.get_secret_value()
        elif isinstance(found, BaseModel):
            waiting += [value for _, value in found]
        elif isinstance(found, dict):
            waiting += found.values()


def reconciler(settings: Settings, db: Db, logins: OwnLogins) -> Reconciler:
    mqtt, creds = settings.mqtt, settings.creds
    device = device_login(settings)
    access = Access(BrokerLogin(mqtt.host, mqtt.port, device.tls, "", ""), device)
    signals = Signals(creds.broker_pid_file, creds.reload_command, creds.stop_command)
    applier = Applier(FileStore(creds.directory), signals, access)
    timing = Timing(creds.poll_seconds, creds.check_seconds)
    return Reconciler(db, settings.agent.id, applier, access, logins, timing)


def engine(settings: Settings, db: Db, observe: Callable[[], Readings]) -> Engine:
    """The alerting of this agent."""
    alerts = settings.alerts
    plan = Plan(
        sample_seconds=alerts.sample_seconds,
        tick_seconds=alerts.tick_seconds,
        direct_after=alerts.direct_after_seconds,
        limits=AlertLimits(alerts.database_limit_gb * 1e9),
        ping_url=alerts.ping_url.get_secret_value() if alerts.ping_url else None,
        ping_seconds=alerts.ping_seconds,
        ping_ca=alerts.ping_ca_file,
    )
    loader = Loader(alerts.file, settings.agent.state_dir, rules_file())
    channels = {"log": Log(), **{name: _channel(found) for name, found in alerts.channels.items()}}
    return Engine(db, settings.agent.id, loader, settings.agent.state_dir, channels, observe, plan)


def _channel(found: ChannelSettings) -> Channel:
    match found:
        case WebhookSettings(url=url, secret=secret, ca_file=ca_file):
            return Webhook(url.get_secret_value(), secret.get_secret_value() if secret else None, ca_file)
        case MailSettings(password=password):
            return Mail(found.host, found.port, found.sender, found.to, found.username,
                        password.get_secret_value() if password else None, found.ca_file)  # fmt: skip
        case AppriseSettings(url=url):
            return Apprise(url.get_secret_value())
    return Log()
