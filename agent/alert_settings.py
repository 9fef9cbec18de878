"""Settings of alerting: where the rules are, how often to look, and ways to people."""

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

LOOPBACK = ("127.0.0.1", "::1", "localhost")
SECRETS = ("url", "secret", "password")


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )


def _encrypted(url: SecretStr) -> SecretStr:
    parts = urlsplit(url.get_secret_value())
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise ValueError("must be https://; http:// only to this machine itself")
    return url


Url = Annotated[SecretStr, AfterValidator(_encrypted)]


class WebhookSettings(Section):
    kind: Literal["webhook"]
    url: Url
    secret: SecretStr | None = None
    ca_file: Path | None = None


class MailSettings(Section):
    kind: Literal["mail"]
    host: str
    port: int = Field(587, ge=1, le=65535)
    sender: str = Field(pattern=r"^[^@\s]+@[^@\s]+$")
    to: tuple[str, ...] = Field(min_length=1)
    username: str | None = None
    password: SecretStr | None = None
    ca_file: Path | None = None


class AppriseSettings(Section):
    kind: Literal["apprise"]
    url: SecretStr


class LogSettings(Section):
    kind: Literal["log"]


ChannelSettings = Annotated[WebhookSettings | MailSettings | AppriseSettings | LogSettings, Field(discriminator="kind")]


QUESTIONS = ("vm", "events", "function", "costs")  # that the cloud is asked


class CloudSettings(Section):
    """Azure, asked every few minutes by a process of its own; only reads. Without it, rules on azure.* have no data."""

    enabled: bool = False
    credential: Literal["managed", "default"] = "managed"
    """managed: the VM's own identity; default: what azure-identity finds, such as a login of the az command line."""
    client_id: str | None = None
    """Of a user-assigned identity."""
    vm: str | None = None
    """Resource id of the VM: /subscriptions/.../virtualMachines/NAME"""
    function: str | None = None
    """Name of the function app, as in AppRoleName."""
    workspace: str | None = None
    """Id (GUID) of the Log Analytics workspace with its requests."""
    cost_scope: str | None = None
    """Whose bill: /subscriptions/... or a resource group's id."""
    poll_seconds: float = Field(300.0, ge=1)
    cost_seconds: float = Field(14_400.0, ge=1)
    management_url: str = "https://management.azure.com"
    logs_url: str = "https://api.loganalytics.io"
    metadata_url: str = "http://169.254.169.254"
    """Where the VM asks about itself, such as for maintenance that is announced."""
    timeout_seconds: float = Field(20.0, gt=0, le=30)
    """For each attempt; there are three."""
    ca_file: Path | None = None


class AlertSettings(Section):
    """Rules, and ways to people. docs/alerts.md says how they work together."""

    enabled: bool = True
    file: Path = Path("/etc/iot-agent/alerts.yaml")
    """Without it, the rules that come with the program."""
    channels: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")], ChannelSettings] = {}
    """[alerts.channels.NAME] with kind = webhook, mail, apprise or log. Secrets can be credentials: alert-NAME-url,
    alert-NAME-secret, alert-NAME-password."""
    sample_seconds: float = Field(5.0, ge=0.2, le=30)
    """How often the agent's own metrics are measured."""
    tick_seconds: float = Field(1.0, ge=0.1, le=10)
    """How late a rule is evaluated and a notification sent."""
    direct_after_seconds: float = Field(10.0, ge=0, le=300)
    """The database is away for so long before people are told without it."""
    database_limit_gb: float = Field(8.0, gt=0)
    """What db.size_percent is against."""
    history_days: int = Field(90, ge=8)
    ping_url: Url | None = None
    """A watcher outside that alarms when this is not called any more: an agent cannot report its own death."""
    ping_seconds: float = Field(60.0, ge=1, le=3600)
    ping_ca_file: Path | None = None


def channel_secrets(merged: dict[str, dict[str, Any]], directory: str | None) -> None:
    """Put systemd's credentials alert-NAME-url, -secret and -password into their channels."""
    channels = merged.get("alerts", {}).get("channels")
    if directory is None or not isinstance(channels, dict):
        return
    for name, channel in channels.items():
        for key in SECRETS:
            path = Path(directory, f"alert-{name}-{key}")
            if isinstance(channel, dict) and path.exists():
                channel[key] = path.read_text().strip()
