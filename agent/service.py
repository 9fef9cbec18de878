"""Settings as the service has them, for commands that root runs beside it."""

import os
from pathlib import Path

from agent import config
from agent.config import Settings

SECRETS = Path("/etc/iot-agent/secrets")  # where LoadCredential= of the unit takes them from


def environment() -> dict[str, str]:
    """What a program needs on top of ours to read the service's secrets; root only, and nothing for others."""
    if "CREDENTIALS_DIRECTORY" in os.environ or not os.access(SECRETS, os.R_OK | os.X_OK):
        return {}
    return {"CREDENTIALS_DIRECTORY": str(SECRETS)}


def settings(file: Path | None) -> Settings:
    """Raises ConfigError."""
    return config.load(file, os.environ | environment())
