"""Settings of what people may have the agent look at and do."""

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
    broker_certificate: Path | None = None
    """With broker_key: the files that the broker would start with, to try them before it does."""
    broker_key: Path | None = None
    restart_seconds: float = Field(60.0, gt=0, le=300)
    """How long a restart may take until devices are answered again."""
