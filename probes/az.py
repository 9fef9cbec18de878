"""What Azure says, by the `az` program and the rights of whoever is logged in; or from files that somebody with the
rights has saved: `az ... -o json > NAME.json`, the questions of QUERIES. Each is asked once.
"""

import asyncio
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probes import program
from probes.program import NotEndedError, NotStartedError

SECONDS = 40.0
OLDEST_DAYS = 31.0  # a file that is older says nothing of today
QUERIES: dict[str, tuple[str, ...]] = {
    "vm": ("vm", "show", "-g", "{rg}", "-n", "{vm}"),
    "instance-view": ("vm", "get-instance-view", "-g", "{rg}", "-n", "{vm}"),
    "nics": ("network", "nic", "list"),
    "vnets": ("network", "vnet", "list"),
    "nsgs": ("network", "nsg", "list"),
    "roles": ("role", "assignment", "list", "--all"),
    "metric-alerts": ("monitor", "metrics", "alert", "list"),
    "action-groups": ("monitor", "action-group", "list"),
    "locks": ("lock", "list"),
    "snapshots": ("snapshot", "list"),
    "function": ("functionapp", "show", "-g", "{rg}", "-n", "{function}"),
    "function-config": ("functionapp", "config", "show", "-g", "{rg}", "-n", "{function}"),
}


class AzError(Exception):
    """az could not answer; the message says why."""


@dataclass
class Az:
    """saved: a directory with NAME.json files; None asks the program."""

    saved: Path | None = None
    _known: dict[tuple[str, ...], asyncio.Future[Any]] = field(default_factory=dict)

    async def ask(self, name: str, **values: str) -> Any:
        """The answer to a question of QUERIES, parsed. Raises AzError."""
        if self.saved is not None:
            return await asyncio.to_thread(_read, self.saved / f"{name}.json")  # it ages by its file's time
        words = tuple(word.format(**values) for word in QUERIES[name])
        if words not in self._known:
            self._known[words] = asyncio.ensure_future(run(*words))
        return await asyncio.shield(self._known[words])


def _read(path: Path) -> Any:
    try:
        if time.time() - path.stat().st_mtime > OLDEST_DAYS * 86_400:
            raise AzError(f"{path.name} is older than {OLDEST_DAYS:.0f} days: save it again")
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise AzError(f"{path} is missing: iot-console doctor --azure-commands prints how to save it") from None
    except (OSError, ValueError) as error:
        raise AzError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def commands(directory: str, values: dict[str, str]) -> list[str]:
    """Lines for a shell that save every answer. Values that are not known stay as {NAME}."""
    known = {"rg": "{rg}", "vm": "{vm}", "function": "{function}"} | values
    wanted = {name: words for name, words in QUERIES.items() if known["function"] != "none" or "function" not in name}
    lines = [f"mkdir -p {directory}"]
    for name, words in wanted.items():
        lines.append(f"az {' '.join(words).format(**known)} -o json --only-show-errors > {directory}/{name}.json")
    return lines


async def run(*arguments: str) -> Any:
    """What `az ... -o json` prints. Raises AzError."""
    if shutil.which("az") is None:
        raise AzError("az is not installed on this machine")
    try:
        ended = await program.run(("az", *arguments, "-o", "json", "--only-show-errors"), SECONDS)
    except (NotStartedError, NotEndedError) as error:
        raise AzError(str(error)) from error
    if ended.code:
        raise AzError(f"az: {program.last_line(ended.complaint, 'no reason given')[:200]}")
    try:
        return json.loads(ended.printed)
    except ValueError as error:
        raise AzError(f"az printed no JSON: {error}") from None
