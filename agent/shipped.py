"""Where the files are that come with the program: beside it in a checkout, under share/ when it is installed."""

import sys
from pathlib import Path

HERE = Path(__file__).parent.parent
SHARE = Path(sys.prefix) / "share" / "iot-console"


def shipped(name: str) -> Path:
    """The file or directory of that name."""
    beside = HERE / name
    return beside if beside.exists() else SHARE / name


def rules_file() -> Path:
    return shipped("alerts.yaml")
