"""Measurements of the cloud into the database, by a process of its own every few minutes: the SDK is heavy."""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from agent.alert_settings import QUESTIONS, CloudSettings
from store import leases, series
from store.db import Db
from store.errors import StoreError
from store.series import Stored

log = structlog.get_logger()
LEASE = "cloud"
PROCESS_SECONDS = 240.0
COST_AGAIN_SECONDS = 3600.0
LONGEST_REST = 4 * 3600.0


@dataclass(slots=True)
class CloudHealth:
    """at: of the last answer, seconds since 1970. error: what could not be asked. found: the newest values in words."""

    at: float | None = None
    error: str | None = None
    found: str = ""


class CloudPoll:
    """run() repeats round(). command: the program that asks, and prints JSON."""

    def __init__(self, db: Db, agent_id: str, settings: CloudSettings, command: tuple[str, ...]) -> None:
        self.health = CloudHealth()
        self._db = db
        self._agent_id = agent_id
        self._settings = settings
        self._command = command
        self._failures: dict[str, int] = {}  # of each question, in a row
        self._not_before: dict[str, float] = {}  # by the monotonic clock

    async def run(self) -> None:
        while True:
            try:
                await self.round()
            except StoreError as error:
                self._failed(str(error))
            await asyncio.sleep(self._settings.poll_seconds)

    async def round(self) -> None:
        """One question, by one agent at a time. Raises StoreError."""
        interval = self._settings.poll_seconds
        if await leases.take(self._db, LEASE, self._agent_id, interval * 2 + 10) is None:
            self.health = CloudHealth(time.time(), None, "another agent asks")
            return
        resting = [name for name, at in self._not_before.items() if at > time.monotonic()]
        answer = await self._ask(resting)
        if answer is None:
            self._rest("costs", failed="costs" not in resting)  # it may have been asked for, and its quota is small
            return
        for name in QUESTIONS:
            if name not in resting:
                self._rest(name, failed=name in answer["errors"])
        samples = list({_key(one): one for one in (Stored(**found) for found in answer["samples"])}.values())
        if samples:
            await series.put_stored(self._db, samples, self._agent_id)
        words = "; ".join(filter(None, map(_words, samples)))
        if answer["errors"]:
            self._failed("; ".join(answer["errors"].values()), words)
        else:
            self.health = CloudHealth(time.time(), None, words or self.health.found)

    def _rest(self, name: str, failed: bool) -> None:
        """What refuses us is asked more and more rarely, and the bill, which changes once a day, rarely anyway."""
        self._failures[name] = self._failures.get(name, 0) + 1 if failed else 0
        wait = self._settings.cost_seconds if name == "costs" and not failed else 0.0
        if failed:
            first = COST_AGAIN_SECONDS if name == "costs" else self._settings.poll_seconds
            wait = min(LONGEST_REST, first * 2 ** (self._failures[name] - 1))
        self._not_before[name] = time.monotonic() + wait

    async def _ask(self, without: list[str]) -> dict[str, Any] | None:
        argv = [*self._command, "--json", *(("--without", ",".join(without)) if without else ())]
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(PROCESS_SECONDS):
                out, err = await process.communicate()
            found = json.loads(out)
            assert isinstance(found, dict)
            return found
        except (TimeoutError, ValueError):
            self._failed(f"no answer: {err.decode()[-300:]}" if process.returncode else "no answer in time")
            return None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def _failed(self, error: str, found: str = "") -> None:
        if error != self.health.error:
            log.warning("the cloud could not be asked", error=error)
        self.health = CloudHealth(time.time() if found else self.health.at, error, found or self.health.found)


def _key(sample: Stored) -> tuple[str, str, float]:
    """A statement cannot store two values of one series and time."""
    return sample.metric, json.dumps(sample.labels, sort_keys=True), sample.at


def _words(sample: Stored) -> str:
    """For the Overview; what is not of today, such as a bill, is no news."""
    match sample.metric:
        case "azure.vm.cpu_credits":
            return f"{sample.value:.0f} CPU credits"
        case "azure.vm.available" if sample.value < 1:
            return "the platform says that the VM is not available"
        case "azure.function.error_percent":
            return f"{sample.value:.1f} % of the function's requests fail"
        case "azure.vm.maintenance_seconds":
            return f"{sample.labels.get('kind', 'maintenance')} in {sample.value / 60:.0f} min"
    return ""


def command(config_file: Path | None) -> tuple[str, ...]:
    """The same program with the same settings."""
    return (sys.executable, "-m", "agent", "cloud", *(["--config", str(config_file)] if config_file else []))
