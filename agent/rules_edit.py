"""`iot-agent rules edit` and `remove`: one rule of the file is changed, every other line and comment stays."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from agent.alert_settings import AlertSettings
from agent.alerts import rules_file
from agent.alerts.rules_file import ChangedMeanwhileError
from agent.usage import FAILED, USAGE, fail, text_of
from alerting import patch
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


def _change(path: Path, seen: str | None, edit: Callable[[str], str]) -> None:
    try:
        rules_file.change(path, seen, edit)
    except OSError as error:
        fail(f"{path}: {error.strerror}", USAGE)
    except ChangedMeanwhileError as error:
        fail(str(error), FAILED)
    except PatchError as error:
        fail(f"{path}: {error}", FAILED)
    except DocumentError as error:
        fail(f"nothing was changed; the file would be wrong:\n{error}", FAILED)
    typer.echo(f"{path} is written; agents take it over within seconds")
