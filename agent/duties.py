"""What the agent does when a person asks: a fixed table of names. Their arguments are checked here once more."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from agent.action_settings import ActionSettings
from agent.creds.reconciler import Reconciler
from agent.ingest.link import Link
from agent.ingest.pipeline import Pipeline
from agent.looks import LOOK_SECONDS, ArgumentError, Looks, number
from agent.machine import run
from probes import catalogue
from probes.actions import ACTIONS
from probes.catalogue import CHECKS, Argument, World
from probes.finding import Finding, Outcome, failed, judged, passed, unknown
from probes.redact import Redactor

COMMAND_SECONDS = 60.0
MOST_MINUTES = 20  # the broker's queue of 200 000 lasts half an hour at 100 msg/s
LONGEST_SECONDS = 180.0  # nothing may hold up what others ask for
Duty = Callable[[Mapping[str, Argument]], Awaitable[Finding]]


@dataclass(frozen=True, slots=True)
class Parts:
    """Of the agent, that duties are about. reconciler: None where it has none."""

    world: World
    settings: ActionSettings
    link: Link
    pipeline: Pipeline
    reconciler: Reconciler | None
    looks: Looks
    redact: Redactor


class Duties:
    """perform() never raises."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._deeds: dict[str, Duty] = {
            "broker.restart": self._restart,
            "creds.apply": self._apply,
            "creds.restore": self._restore,
            "ingest.pause": self._pause,
            "ingest.resume": self._resume,
            "spool.drain": self._drain,
        }

    async def perform(self, name: str, args: Mapping[str, Argument]) -> tuple[str, Finding]:
        """(state of the request, what was found). A name that is not in the table is refused."""
        deed = self._deeds.get(name)
        if deed is not None and not self._parts.settings.enabled:
            return "refused", failed("actions are switched off on this agent: actions.enabled")
        signature = ACTIONS.get(name) or (CHECKS[name].signature if name in CHECKS else None)
        if signature is None:
            return "refused", failed(f"this agent knows no {name}; is it older than the console?")
        if not signature.required <= args.keys() <= signature.required | signature.optional:
            return "refused", failed(f"{name} does not take these parameters")
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                found = await (deed(args) if deed else self._parts.looks.ask(name, args))
        except TimeoutError:
            found = unknown(f"not over after {LONGEST_SECONDS:.0f} s: look whether it was done")
        except ArgumentError as error:
            return "refused", failed(self._parts.redact(str(error)))
        except Exception as error:  # a person waits for an answer, whatever happens
            return "failed", failed(self._parts.redact(f"{type(error).__name__}: {error}"))
        found = self._parts.looks.clean(found)
        return "failed" if deed and found.outcome is not Outcome.PASS else "done", found

    # -- deeds

    async def _restart(self, _: Mapping[str, Argument]) -> Finding:
        """Not with files that the broker would not start with, or that would leave it open."""
        files = await self._parts.looks.broker_files()
        if files.outcome is Outcome.FAIL:
            return failed(f"not restarted: {files.found}", files.evidence)
        settings = self._parts.settings
        began = time.monotonic()
        code, said = await run(settings.restart_command, COMMAND_SECONDS)
        if code != 0:
            return failed(f"actions.restart_command failed ({code}): {self._parts.redact(said).strip()[-300:]}", said)
        found = failed("not asked")
        while time.monotonic() - began < settings.restart_seconds:
            found = await catalogue.ask(self._parts.world, "mqtt.answers", {}, LOOK_SECONDS)
            if found.outcome is Outcome.PASS:
                return passed(f"restarted; devices are answered after {time.monotonic() - began:.1f} s")
            await asyncio.sleep(0.2)
        return failed(f"restarted, but devices are not answered: {found.found}")

    async def _apply(self, _: Mapping[str, Argument]) -> Finding:
        return _of(await self._reconciler().reapply())

    async def _restore(self, _: Mapping[str, Argument]) -> Finding:
        return _of(await self._reconciler().restore())

    def _reconciler(self) -> Reconciler:
        if self._parts.reconciler is None:
            raise ArgumentError("this agent does not manage the broker's credentials: creds.enabled")
        return self._parts.reconciler

    async def _pause(self, args: Mapping[str, Argument]) -> Finding:
        minutes = number(args["minutes"])
        if not 0 < minutes <= MOST_MINUTES:
            raise ArgumentError(f"minutes is more than 0 and at most {MOST_MINUTES}: the broker's queue is not endless")
        self._parts.link.pause(minutes * 60)
        return passed(f"ingest is paused for {minutes:g} minutes at most; the broker queues")

    async def _resume(self, _: Mapping[str, Argument]) -> Finding:
        self._parts.link.resume()
        return passed("ingest goes on")

    async def _drain(self, _: Mapping[str, Argument]) -> Finding:
        self._parts.pipeline.hurry()
        return passed("the database is asked at once, and the spool drains as soon as it answers")


def _of(came: tuple[bool, str]) -> Finding:
    return judged(*came)
