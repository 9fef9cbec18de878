"""The files that come with the program besides code."""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
INSTALLED = Path(sys.prefix) / "share" / "iot-console"


def shipped(name: str) -> Path:
    """A file or directory: beside the code in a checkout, under share/ when it is installed."""
    return ROOT / name if (ROOT / name).exists() else INSTALLED / name


def rules_file() -> Path:
    return shipped("alerts.yaml")


def runbook_names() -> tuple[str, ...]:
    """Ids of the runbooks, by the names of their files."""
    return tuple(sorted(path.stem for path in shipped("runbooks").glob("*.md")))
