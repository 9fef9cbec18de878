"""Measurements of the cloud into the database, by a process of its own every few minutes: the SDK is heavy."""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from agent.alert_settings import CloudSettings
from store import leases, series
from store.db import Db
from store.errors import StoreError
from store.series import Stored

log = structlog.get_logger()
LEASE = "cloud"
PROCESS_SECONDS = 240.0
MOST_DOUBLINGS = 4
COST_AGAIN_SECONDS = 3600.0


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
        self._cost_at = 0.0
        self._failures = 0

    async def run(self) -> None:
        while True:
            try:
                await self.round()
            except StoreError as error:
                self._failed(str(error))
            # what refuses us is asked more and more rarely
            await asyncio.sleep(self._settings.poll_seconds * 2 ** min(self._failures, MOST_DOUBLINGS))

    async def round(self) -> None:
        """One question, by one agent at a time. Raises StoreError."""
        interval = self._settings.poll_seconds
        if await leases.take(self._db, LEASE, self._agent_id, interval * 2 + 10) is None:
            return
        costs = time.monotonic() - self._cost_at > self._settings.cost_seconds or self._cost_at == 0
        answer = await self._ask(costs)
        if answer is None:
            return
        samples = [Stored(**sample) for sample in answer["samples"]]
        if samples:
            await series.put_stored(self._db, samples, self._agent_id)
        if costs:  # it costs calls of a small quota: one that fails is asked again after a while, too
            again = COST_AGAIN_SECONDS if any("cost" in error for error in answer["errors"]) else 0.0
            self._cost_at = time.monotonic() - max(0.0, self._settings.cost_seconds - again if again else 0.0)
        words = "; ".join(filter(None, map(_words, samples)))
        if answer["errors"]:
            self._failed("; ".join(answer["errors"]), words)
        else:
            self._failures = 0
            self.health = CloudHealth(time.time(), None, words)

    async def _ask(self, costs: bool) -> dict[str, list] | None:  # type: ignore[type-arg]
        argv = [*self._command, "--json", *([] if costs else ["--no-costs"])]
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
        self._failures += 1
        if error != self.health.error:
            log.warning("the cloud could not be asked", error=error)
        self.health = CloudHealth(time.time() if found else self.health.at, error, found or self.health.found)


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
