"""Rows into a CSV or JSON file, and a redacted report of the screen."""

import csv
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from probes.redact import HIDDEN, Redactor
from tui.filter import Value

SHAPED = Redactor()
SECRET = re.compile(  # a report leaves the house: words go that evidence keeps
    r"(?i)(?P<key>pass(word|wd)?|secret|token|api[-_]?key|authorization|bearer)(?P<between>[\"']?\s*[:=]\s*[\"']?|\s+)[^\s,;\"'}]+"
)
VERIFIER = re.compile(r"\$7\$\S+")  # all up to the next blank, however short


def write_rows(path: Path, rows: Sequence[Mapping[str, Value]], about: str, at: float) -> None:
    """As JSON when the name ends so, else CSV. about and at say what it is and how old. Never over another file.

    Raises OSError.
    """
    when = datetime.fromtimestamp(at, UTC).isoformat()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", newline="") as stream:
        if path.suffix == ".json":
            json.dump({"about": about, "as_of": when, "rows": list(rows)}, stream, indent=1)
            return
        writer = csv.DictWriter(stream, [*(rows[0] if rows else ()), "as_of"])
        writer.writeheader()
        writer.writerows({name: harmless(value) for name, value in row.items()} | {"as_of": when} for row in rows)


def harmless(value: Value) -> Value:
    """A spreadsheet takes a text with one of these in front for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def redacted(text: str) -> str:
    """Without what looks like a password, token or hash, and without the logins of URLs."""
    text = VERIFIER.sub(HIDDEN, SHAPED(text))
    return SECRET.sub(lambda match: f"{match['key']}{match['between']}{HIDDEN}", text)


def file_name(pane: str, at: float, suffix: str) -> str:
    return f"iot-console-{pane}-{datetime.fromtimestamp(at, UTC):%Y%m%dT%H%M%SZ}.{suffix}"


def write_secrets(path: Path, secrets: Sequence[tuple[str, str]]) -> None:
    """As CSV, for their owner alone, never over another file. Raises OSError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", newline="") as stream:
        csv.writer(stream).writerows([("username", "password"), *secrets])


def write_document(path: Path, text: str) -> None:
    """A new file, for its owner alone. Raises OSError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)


def write_report(path: Path, text: str) -> None:
    """The text, redacted, and beside it the same as a picture. Raises OSError."""
    clean = redacted(text)
    for target, content in ((path, clean), (path.with_suffix(".svg"), picture(clean))):
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(content)


def picture(text: str) -> str:
    """Lines of text as SVG."""
    lines = text.splitlines()
    width, height = max(map(len, lines), default=0) * 8.4 + 20, len(lines) * 17 + 20
    rows = "".join(
        f'<text x="10" y="{n * 17 + 24}" xml:space="preserve">{escape(line)}</text>' for n, line in enumerate(lines)
    )
    style = "font-family:monospace;font-size:14px;fill:#d8dee9"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" style="{style}">'
        f'<rect width="100%" height="100%" fill="#15191f"/>{rows}</svg>\n'
    )
