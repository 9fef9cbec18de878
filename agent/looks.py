"""What an agent answers when it is asked to look: a fixed table of names, on top of the catalogue's own checks."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from agent import broker_files, hardening, machine, root_looks, secrecy
from agent.action_settings import ActionSettings
from agent.canary import Canary
from agent.creds import lint, verify
from agent.creds.bootstrap import DYNSEC_FILE
from agent.creds.files import FileStore
from agent.creds.render import ACL_FILE, PASSWORD_FILE
from agent.creds.verify import Verdict
from probes import catalogue
from probes.catalogue import Argument, Probe, World
from probes.certificates import CertificateError, from_files
from probes.finding import Finding, failed, judged, passed, unknown
from probes.mosquitto_conf import Configuration
from probes.program import last_line
from probes.redact import Redactor
from probes.tls import verifying_context
from store import brokers
from store.errors import StoreError

LOOK_SECONDS = 15.0
MOST_LINES, LINES = 200, 40
SERVICES = ("broker", "agent")
NOT_MANAGED = "this agent does not manage the broker's credentials: creds.enabled"
Look = Callable[[Mapping[str, Argument]], Awaitable[Finding]]


class ArgumentError(ValueError):
    """It cannot be done with these arguments, and nothing was begun."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What is looked with. files, proved and canary: None where the agent has none. private: files and directories
    that only it may read; own: where its secrets belong; probe: its own device; broker_id: whose files these are."""

    world: World
    settings: ActionSettings
    files: FileStore | None
    redact: Redactor
    private: list[Path]
    own: tuple[Path, ...]
    broker_id: str
    probe: Callable[[], Probe | None]
    proved: Callable[[], Awaitable[verify.Finding]] | None = None
    canary: Canary | None = None


class Looks:
    """ask() answers with a finding; what it raises is a mistake of the one who asks."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        settings = sight.settings
        self._table: dict[str, Look] = {
            "service.active": self._service,
            "broker.files": self._broker_files,
            "broker.files_private": lambda _: asyncio.to_thread(self._files_private),
            "broker.acl_narrow": lambda _: asyncio.to_thread(self._acl_narrow),
            "broker.limits": lambda _: self._configured(broker_files.limits),
            "broker.persistent": lambda _: self._configured(broker_files.persistent),
            "broker.reload_safe": self._reload_safe,
            "broker.current": lambda _: broker_files.current(),
            "rollback.kept": lambda _: asyncio.to_thread(self._kept),
            "journal.tail": self._tail,
            "creds.enforced": self._enforced,
            "smoke.publish_denied": self._publish_denied,
            "smoke.read_denied": self._read_denied,
            "canary.send": self._canary,
            "net.listening": self._listening,
            "tls.served_file": self._served_file,
            "tls.renewal": lambda _: machine.renewal(settings),
            "tls.no_insecure": lambda _: asyncio.to_thread(secrecy.no_insecure, settings.script_directories, sight.own),
            "key.private": lambda _: asyncio.to_thread(self._key),
            "secrets.private": lambda _: asyncio.to_thread(
                hardening.private, dict.fromkeys(sight.private, hardening.GROUP_AND_OTHERS)
            ),
            "secrets.unseen": self._unseen,
            "secrets.no_argument": lambda _: asyncio.to_thread(secrecy.no_argument, sight.redact),
            "agent.unprivileged": lambda _: asyncio.to_thread(hardening.unprivileged, sight.world.state_dir),
            "unit.sandbox": lambda _: machine.sandbox(settings),
            "ssh.hardened": lambda _: machine.ssh(settings),
            "updates.automatic": lambda _: machine.updates(),
        }

    async def ask(self, name: str, args: Mapping[str, Argument]) -> Finding:
        """From the table, or from the catalogue. What this process may not see, root may have seen lately."""
        own = self._table.get(name)
        if own is None:
            return await self._of_catalogue(name, args)
        try:
            found = await own(args)
        except ArgumentError:
            raise
        except StoreError as error:
            found = unknown(f"the database cannot be asked: {error}")
        except Exception as error:  # of files and programs of a machine that is not well
            found = unknown(f"{name}: {type(error).__name__}: {error}")
        return root_looks.joined(found, self._sight.world.state_dir, name, time.time())

    async def _of_catalogue(self, name: str, args: Mapping[str, Argument]) -> Finding:
        return await catalogue.ask(replace(self._sight.world, probe=self._sight.probe()), name, args)

    def clean(self, found: Finding) -> Finding:
        """Without secrets, for a screen or a file."""
        redact = self._sight.redact
        return Finding(found.outcome, redact(found.found), redact.tail(found.evidence))

    async def broker_files(self) -> Finding:
        """Whether the broker could start with what it has."""
        return await self._broker_files({})

    async def _service(self, _: Mapping[str, Argument]) -> Finding:
        code, said = await machine.run(self._sight.settings.status_command, LOOK_SECONDS)
        if code is None:
            return unknown(f"actions.status_command: {said}")
        return judged(code == 0, last_line(self._sight.redact(said), f"exit code {code}")[:200])

    # -- the broker's files

    async def _broker_files(self, _: Mapping[str, Argument]) -> Finding:
        sight, said = self._sight, []
        if sight.files is not None:
            files = await asyncio.to_thread(sight.files.read)
            if files is None:
                return failed("the password file or the ACL file is missing or no text")
            faults = lint.problems(files)
            if faults:
                return failed(f"the broker must not load these files: {faults[0]}", "\n".join(faults[:50]))
            said.append("passwords and ACL are well formed")
            loaded = await self._loaded()
            if loaded is not None:
                return loaded
        certificate, key, place = sight.settings.broker_certificate, sight.settings.broker_key, sight.world.listener
        if certificate is not None and key is not None and place is not None:
            tls = verifying_context(place.ca_file, place.name)
            try:
                served = await asyncio.to_thread(from_files, certificate, key, tls, place.name)
            except CertificateError as error:
                return failed(str(error))
            said.append(f"certificate and key fit, {served.days_left():.0f} days left")
        return passed("; ".join(said)) if said else unknown("creds.enabled and actions.broker_certificate are not set")

    async def _loaded(self) -> Finding | None:
        """Why the broker may not have loaded the files as they are; None when nothing speaks for it."""
        sight = self._sight
        log, closed = await self._log("long")
        if closed is not None:
            return closed
        complaint = broker_files.complaint(log)
        if not complaint:
            return None
        if sight.proved is None:
            return unknown(f"the broker complained, and only the running agent can prove what holds now: {complaint}")
        if (await sight.proved()).verdict is Verdict.GOOD:
            return None  # that was before
        return failed(f"the broker could not read them when it loaded them last: {complaint}")

    def _files_private(self) -> Finding:
        files = self._sight.files
        if files is None:
            return unknown(NOT_MANAGED)
        place = files.directory
        seen = hardening.private(
            {place: 0o007, place / DYNSEC_FILE: 0o007, place / PASSWORD_FILE: 0o027, place / ACL_FILE: 0o027}
        )
        found = files.read()
        plain = [fault for fault in lint.problems(found) if "USER:HASH" in fault] if found else []
        return failed(plain[0]) if plain else seen

    def _acl_narrow(self) -> Finding:
        files = self._sight.files
        found = files.read() if files else None
        if found is None:
            return unknown(NOT_MANAGED if files is None else "there is no ACL file")
        wide = [fault for fault in lint.problems(found) if fault.startswith("acl")]
        rules = sum(line.startswith(("topic", "pattern")) for line in found.acl.splitlines())
        return failed(wide[0], "\n".join(wide[:50])) if wide else passed(f"{rules} rights, all within their own tenant")

    async def _configured(self, judge: Callable[[Configuration], Finding]) -> Finding:
        path = self._sight.settings.broker_config
        try:
            return judge(await asyncio.to_thread(broker_files.configuration, path))
        except (OSError, ValueError) as error:
            return unknown(f"actions.broker_config: {path}: {getattr(error, 'strerror', None) or error}")

    async def _reload_safe(self, _: Mapping[str, Argument]) -> Finding:
        rows = await brokers.all_brokers(catalogue.database(self._sight.world))
        mine = (row.broker.version for row in rows if row.broker.broker_id == self._sight.broker_id)
        version = next(mine, None) or ""
        files = self._sight.files
        dynsec = files.directory / DYNSEC_FILE if files else None
        return await self._configured(lambda found: broker_files.reload_safe(found, version, dynsec))

    def _kept(self) -> Finding:
        files = self._sight.files
        return unknown(NOT_MANAGED) if files is None else broker_files.kept(files)

    # -- logs and secrets

    async def _tail(self, args: Mapping[str, Argument]) -> Finding:
        service = str(args["service"])
        if service not in SERVICES:
            raise ArgumentError(f"service is one of {', '.join(SERVICES)}")
        lines = max(1, min(MOST_LINES, number(args.get("lines", LINES))))
        log, closed = await self._log(service)
        if closed is not None:
            return closed
        found = log.splitlines()[-lines:]
        return passed(f"the last {len(found)} lines", "\n".join(found))

    async def _unseen(self, _: Mapping[str, Argument]) -> Finding:
        log, closed = await self._log("long")
        return await asyncio.to_thread(self._search, log) if closed is None else closed

    async def _log(self, which: str) -> tuple[str, Finding | None]:
        """By actions.WHICH_log_command: (what it printed, why it cannot be read)."""
        setting = f"{which}_log_command"
        code, said = await machine.run(getattr(self._sight.settings, setting), LOOK_SECONDS)
        closed = None if code == 0 else unknown(f"actions.{setting}: {self._sight.redact(said).strip()[-200:]}")
        return said, closed

    def _search(self, log: str) -> Finding:
        settings = self._sight.settings
        scripts = secrecy.scripts(settings.script_directories, self._sight.own)
        histories, closed = secrecy.histories(settings.home_directories)
        return secrecy.unseen(self._sight.redact, log, [*histories, *scripts], closed)

    # -- tenants, messages

    async def _enforced(self, _: Mapping[str, Argument]) -> Finding:
        proved = self._sight.proved
        if proved is None:
            return unknown(NOT_MANAGED)
        found = await proved()
        if found.verdict is Verdict.AWAY:
            return unknown(found.detail)
        return judged(found.verdict is Verdict.GOOD, found.detail)

    async def _publish_denied(self, args: Mapping[str, Argument]) -> Finding:
        return await self._boundary("smoke.publish_denied", verify.READ)

    async def _read_denied(self, args: Mapping[str, Argument]) -> Finding:
        return await self._boundary("smoke.read_denied", verify.PUBLISH)

    async def _boundary(self, name: str, other: str) -> Finding:
        """One direction of the border between tenants; a leak in the other one is told there."""
        proved = self._sight.proved
        if proved is None:
            return await self._of_catalogue(name, {})
        found = await proved()
        if found.verdict is not Verdict.OPEN:
            return judged(True, found.detail) if found.verdict is Verdict.GOOD else unknown(found.detail)
        if found.direction != other:
            return failed(found.detail)
        return passed("denied") if other == verify.READ else unknown(f"not tried: {found.detail}")

    async def _canary(self, _: Mapping[str, Argument]) -> Finding:
        canary = self._sight.canary
        if canary is None:
            return unknown("the agent sends none: canary.password is not set")
        await canary.round()
        health = canary.health
        if health.error:
            return failed(health.error)
        return passed(f"there and back in {health.round_trip_ms or 0:.0f} ms")

    # -- machine

    async def _listening(self, args: Mapping[str, Argument]) -> Finding:
        allowed = {int(port) for port in str(args.get("allowed", "22,8883")).split(",")}
        return await asyncio.to_thread(hardening.listening, allowed)

    async def _served_file(self, _: Mapping[str, Argument]) -> Finding:
        place = self._sight.world.listener
        assert place is not None
        return await hardening.served_file(place, self._sight.settings.broker_certificate)

    def _key(self) -> Finding:
        key = self._sight.settings.broker_key
        return hardening.private({key: hardening.OTHERS} if key else {})


def number(value: Argument) -> int:
    """Raises ArgumentError."""
    try:
        return int(float(value))
    except ValueError:
        raise ArgumentError(f"{value!r} is no number") from None
