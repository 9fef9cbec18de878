"""`iot-agent rules edit` and `remove`: one rule of the file is changed, every other line and comment stays."""

import fcntl
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from agent.alert_settings import AlertSettings
from agent.usage import FAILED, USAGE, fail, text_of
from alerting import patch, rules
from alerting.document import DocumentError
from alerting.patch import PatchError

RULES = AlertSettings().file
RulesPath = Annotated[Path, typer.Option("--rules", help="The file of rules.")]


def edit(
    rule_id: str,
    rule_file: Annotated[Path, typer.Argument(help="YAML of the rule, beginning with id:")],
    group: Annotated[str | None, typer.Option(help="Add it to this group, if it is new.")] = None,
    rules_path: RulesPath = RULES,
    seen: Annotated[str | None, typer.Option(help="SHA-256 of the file you saw; otherwise refuse.")] = None,
) -> None:
    """Replace a rule of the file, or add one; the whole file is checked before it is written.

    Example: iot-agent rules edit vm-cpu vm-cpu.yaml --rules /etc/iot-agent/alerts.yaml
    """
    text = text_of(rule_file)
    if group is None:
        _change(rules_path, seen, lambda before: patch.replace(before, rule_id, text))
    else:
        _change(rules_path, seen, lambda before: patch.add(before, group, text))


def remove(rule_id: str, rules_path: RulesPath = RULES, seen: str | None = None) -> None:
    """Remove a rule and the comments directly above it.

    Example: iot-agent rules remove vm-load --rules /etc/iot-agent/alerts.yaml
    """
    _change(rules_path, seen, lambda before: patch.remove(before, rule_id))


def _change(path: Path, seen: str | None, change: Callable[[str], str]) -> None:
    """Under a lock, from the text as it is now; a reader sees the old file or the new one, never half of it."""
    try:
        with path.open("r+") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            before = path.read_text()
            if seen is not None and hashlib.sha256(before.encode()).hexdigest() != seen:
                fail(f"{path} was changed by somebody else meanwhile: look at it again", FAILED)
            after = change(before)
            rules.load(after)
            _write(path, after)
    except OSError as error:
        fail(f"{path}: {error.strerror}", USAGE)
    except PatchError as error:
        fail(f"{path}: {error}", FAILED)
    except DocumentError as error:
        fail(f"nothing was changed; the file would be wrong:\n{error}", FAILED)
    typer.echo(f"{path} is written; agents take it over within seconds")


def _write(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    with temporary.open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.chmod(path.stat().st_mode & 0o777)
    temporary.rename(path)
