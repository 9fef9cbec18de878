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
PROCESS_SECONDS = 120.0


@dataclass(slots=True)
class CloudHealth:
    """at: of the last answer, seconds since 1970. error: what could not be asked."""

    at: float | None = None
    error: str | None = None


class CloudPoll:
    """run() repeats round(). command: the program that asks, and prints JSON."""

    def __init__(self, db: Db, agent_id: str, settings: CloudSettings, command: tuple[str, ...]) -> None:
        self.health = CloudHealth()
        self._db = db
        self._agent_id = agent_id
        self._settings = settings
        self._command = command
        self._cost_at = 0.0

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
            return
        costs = time.monotonic() - self._cost_at > self._settings.cost_seconds or self._cost_at == 0
        answer = await self._ask(costs)
        if answer is None:
            return
        samples = [Stored(**sample) for sample in answer["samples"]]
        if samples:
            await series.put_stored(self._db, samples, self._agent_id)
        if costs and not any("cost" in error for error in answer["errors"]):
            self._cost_at = time.monotonic()
        if answer["errors"]:
            self._failed("; ".join(answer["errors"]))
        else:
            self.health = CloudHealth(time.time())

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

    def _failed(self, error: str) -> None:
        if error != self.health.error:
            log.warning("the cloud could not be asked", error=error)
        self.health = CloudHealth(self.health.at, error)


def command(config_file: Path | None) -> tuple[str, ...]:
    """The same program with the same settings."""
    return (sys.executable, "-m", "agent", "cloud", *(["--config", str(config_file)] if config_file else []))
