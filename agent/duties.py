"""What the agent does when a person asks: a fixed table of names. Their arguments are checked here once more."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent import hardening
from agent.action_settings import ActionSettings
from agent.canary import Canary
from agent.creds import lint
from agent.creds.files import FileStore
from agent.creds.reconciler import Reconciler
from agent.creds.verify import Verdict
from agent.ingest.link import Link
from agent.ingest.pipeline import Pipeline
from probes import catalogue, program
from probes.actions import ACTIONS
from probes.catalogue import CHECKS, Argument, World
from probes.certificates import CertificateError, from_files
from probes.finding import Finding, Outcome, failed, judged, passed, unknown
from probes.program import NotEndedError, NotStartedError
from probes.redact import Redactor
from probes.tls import verifying_context

COMMAND_SECONDS = 60.0
LOOK_SECONDS = 15.0
MOST_LINES, LINES = 200, 40
MOST_MINUTES = 20  # the broker's queue of 200 000 lasts half an hour at 100 msg/s
SERVICES = ("broker", "agent")
LONGEST_SECONDS = 180.0  # nothing may hold up what others ask for
Duty = Callable[[Mapping[str, Argument]], Awaitable[Finding]]


class ArgumentError(ValueError):
    """It cannot be done with these arguments, and nothing was begun."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Of the agent, that duties are about. reconciler, canary and files: None where it has none."""

    world: World
    settings: ActionSettings
    link: Link
    pipeline: Pipeline
    reconciler: Reconciler | None
    canary: Canary | None
    files: FileStore | None
    redact: Redactor

    def secrets(self) -> list[Path]:
        """Where the agent's own logins and spool are, and what systemd gave it."""
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        given = sorted(Path(credentials).iterdir()) if credentials else []
        return [self.world.state_dir, *(path for path in given if path.is_file())]


class Duties:
    """perform() never raises."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._looks: dict[str, Duty] = {
            "service.active": self._service,
            "broker.files": self._broker_files,
            "journal.tail": self._tail,
            "creds.enforced": self._enforced,
            "canary.send": self._canary,
            "net.listening": self._listening,
            "tls.served_file": self._served_file,
            "key.private": self._key,
            "secrets.private": self._secrets,
            "agent.unprivileged": self._unprivileged,
        }
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
        duty = deed or self._looks.get(name)
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                found = await (duty(args) if duty else catalogue.ask(self._parts.world, name, args))
        except TimeoutError:
            found = unknown(f"not over after {LONGEST_SECONDS:.0f} s: look whether it was done")
        except ArgumentError as error:
            return "refused", failed(self._parts.redact(str(error)))
        except Exception as error:  # a person waits for an answer, whatever happens
            return "failed", failed(self._parts.redact(f"{type(error).__name__}: {error}"))
        clean = self._parts.redact
        found = Finding(found.outcome, clean(found.found), clean.tail(found.evidence))
        return "failed" if deed and found.outcome is not Outcome.PASS else "done", found

    # -- looks

    async def _service(self, _: Mapping[str, Argument]) -> Finding:
        code, said = await run(self._parts.settings.status_command, LOOK_SECONDS)
        if code is None:
            return unknown(f"actions.status_command: {said}")
        last = (self._parts.redact(said).strip().splitlines() or [f"exit code {code}"])[-1]
        return judged(code == 0, last[:200])

    async def _broker_files(self, _: Mapping[str, Argument]) -> Finding:
        parts, said = self._parts, []
        if parts.files is not None:
            files = await asyncio.to_thread(parts.files.read)
            if files is None:
                return failed("the password file or the ACL file is missing or no text")
            faults = lint.problems(files)
            if faults:
                return failed(f"the broker must not load these files: {faults[0]}", "\n".join(faults[:50]))
            said.append("passwords and ACL are well formed")
        certificate, key, place = parts.settings.broker_certificate, parts.settings.broker_key, parts.world.listener
        if certificate is not None and key is not None and place is not None:
            tls = verifying_context(place.ca_file, place.name)
            try:
                served = await asyncio.to_thread(from_files, certificate, key, tls, place.name)
            except CertificateError as error:
                return failed(str(error))
            said.append(f"certificate and key fit, {served.days_left():.0f} days left")
        return passed("; ".join(said)) if said else unknown("creds.enabled and actions.broker_certificate are not set")

    async def _tail(self, args: Mapping[str, Argument]) -> Finding:
        service = str(args["service"])
        if service not in SERVICES:
            raise ArgumentError(f"service is one of {', '.join(SERVICES)}")
        lines = max(1, min(MOST_LINES, _number(args.get("lines", LINES))))
        settings = self._parts.settings
        command = settings.broker_log_command if service == "broker" else settings.agent_log_command
        code, said = await run(command, LOOK_SECONDS)
        if code != 0:
            return unknown(f"actions.{service}_log_command: {self._parts.redact(said).strip()[-200:]}")
        found = said.splitlines()[-lines:]
        return passed(f"the last {len(found)} lines", "\n".join(found))

    async def _enforced(self, _: Mapping[str, Argument]) -> Finding:
        if self._parts.reconciler is None:
            return unknown("this agent does not manage the broker's credentials: creds.enabled")
        found = await self._parts.reconciler.enforced()
        if found.verdict is Verdict.AWAY:
            return unknown(found.detail)
        return judged(found.verdict is Verdict.GOOD, found.detail)

    async def _canary(self, _: Mapping[str, Argument]) -> Finding:
        canary = self._parts.canary
        if canary is None:
            return unknown("the agent sends none: canary.password is not set")
        await canary.round()
        health = canary.health
        return (
            passed(f"there and back in {health.round_trip_ms or 0:.0f} ms")
            if not health.error
            else failed(health.error)
        )

    async def _listening(self, args: Mapping[str, Argument]) -> Finding:
        allowed = {int(port) for port in str(args.get("allowed", "22,8883")).split(",")}
        return await asyncio.to_thread(hardening.listening, allowed)

    async def _served_file(self, _: Mapping[str, Argument]) -> Finding:
        place = self._parts.world.listener
        assert place is not None
        return await hardening.served_file(place, self._parts.settings.broker_certificate)

    async def _key(self, _: Mapping[str, Argument]) -> Finding:
        key = self._parts.settings.broker_key
        return hardening.private([key] if key else [], hardening.OTHERS)

    async def _secrets(self, _: Mapping[str, Argument]) -> Finding:
        return await asyncio.to_thread(hardening.private, self._parts.secrets(), hardening.GROUP_AND_OTHERS)

    async def _unprivileged(self, _: Mapping[str, Argument]) -> Finding:
        return await asyncio.to_thread(hardening.unprivileged)

    # -- deeds

    async def _restart(self, args: Mapping[str, Argument]) -> Finding:
        """Not with files that the broker would not start with, or that would leave it open."""
        files = await self._broker_files(args)
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
        minutes = _number(args["minutes"])
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


def _number(value: Argument) -> int:
    try:
        return int(float(value))
    except ValueError:
        raise ArgumentError(f"{value!r} is no number") from None


def _of(came: tuple[bool, str]) -> Finding:
    return judged(*came)


async def run(command: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """(exit code, what it printed); no exit code when it could not be run or did not end."""
    try:
        ended = await program.run(command, seconds, merged=True)
    except (NotStartedError, NotEndedError) as error:
        return None, str(error)
    return ended.code, ended.printed
