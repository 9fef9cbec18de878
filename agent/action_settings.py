"""Settings of what people may have the agent look at and do."""

from datetime import date
from pathlib import Path

from pydantic import Field

from agent.alert_settings import Section


class ActionSettings(Section):
    """What runbooks ask of the agent: a fixed table of checks and actions. No text from outside becomes a command."""

    enabled: bool = True
    """Off, the agent answers checks, and refuses everything that changes something."""
    restart_command: tuple[str, ...] = ("systemctl", "restart", "mosquitto.service")
    status_command: tuple[str, ...] = ("systemctl", "is-active", "mosquitto.service")
    """Exit code 0: the broker's service runs."""
    broker_log_command: tuple[str, ...] = (
        "journalctl", "-u", "mosquitto.service", "-n", "200", "--no-pager", "-o", "short-iso",
    )  # fmt: skip
    agent_log_command: tuple[str, ...] = (
        "journalctl", "-u", "iot-agent.service", "-n", "200", "--no-pager", "-o", "short-iso",
    )  # fmt: skip
    long_log_command: tuple[str, ...] = (
        "journalctl", "-u", "mosquitto.service", "-u", "iot-agent.service", "-n", "20000", "--no-pager", "-o", "cat",
    )  # fmt: skip
    """Looked through for secrets that must not be there."""
    broker_certificate: Path | None = None
    """With broker_key: the files that the broker would start with, to try them before it does."""
    broker_key: Path | None = None
    restart_seconds: float = Field(60.0, gt=0, le=300)
    """How long a restart may take until devices are answered again."""
    broker_config: Path = Path("/etc/mosquitto/mosquitto.conf")
    """Read with what it includes, to see what limits are set."""
    renewal_command: tuple[str, ...] = ("systemctl", "is-active", "certbot.timer")
    """Exit code 0: the broker's certificate is renewed by itself."""
    sandbox_command: tuple[str, ...] = ("systemd-analyze", "security", "--no-pager")
    sandbox_units: tuple[str, ...] = ("iot-agent.service", "mosquitto.service")
    sshd_command: tuple[str, ...] = ("sshd", "-T")
    """Needs root; without that, what `iot-agent doctor --save` has found is told."""
    script_directories: tuple[Path, ...] = (
        Path("/etc/iot-agent"), Path("/etc/mosquitto"), Path("/etc/cron.d"), Path("/etc/systemd/system"),
        Path("/usr/local/bin"), Path("/usr/local/sbin"),
    )  # fmt: skip
    """Where scripts and configurations are that must not hold secrets, nor switch verification off."""
    home_directories: tuple[Path, ...] = (Path("/root"), Path("/home"))
    """Histories of shells below them must not hold secrets either."""


class WaiverSettings(Section):
    """A check of `iot-agent doctor` whose failure is known and accepted."""

    check: str = Field(pattern=r"^[A-Z0-9]+-\d\d$")
    reason: str = Field(min_length=10)
    until: date
    """The last day."""


class DoctorSettings(Section):
    """What `iot-agent doctor` takes as known."""

    waivers: tuple[WaiverSettings, ...] = ()
