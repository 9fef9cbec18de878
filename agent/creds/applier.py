"""One credential set into the broker: checked before, proved after, undone when the proof fails."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from agent.creds import lint, plan, render, verify
from agent.creds.files import FileStore, fingerprint
from agent.creds.identity import Identities
from agent.creds.render import Files
from agent.creds.signals import SignalError, Signals
from agent.creds.verify import Access, Finding, Probes, Verdict
from store.brokers import Desired, LogEntry

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an apply needs to know of the broker. version: None before the broker was ever reached."""

    identities: Identities
    version: str | None
    reachable: bool


class Applier:
    """state: applied, pending, refused, failed or stopped, of the last set. on_step is told the name of each step
    before the next one begins."""

    def __init__(
        self, files: FileStore, signals: Signals, access: Access, on_step: Callable[[str], None] = lambda _: None
    ) -> None:
        self.state = "pending"
        self.detail = "nothing applied yet"
        self.generation = 0  # of the set that was proved in force
        self.entries = 0
        self._files = files
        self._signals = signals
        self._access = access
        self._on_step = on_step
        self._probes: Probes | None = None
        self.published = -1  # the set in the files
        self._fingerprint = ""

    async def apply(self, desired: Desired, around: Surroundings) -> LogEntry:
        """Bring a set into force, or say why not.

        Raises FileError, SignalError: nothing can be changed; what was in force stays.
        """
        began = time.monotonic()
        probes = verify.new_probes(desired.generation)
        files = self._rendered(desired, probes, around)
        before = self._files.read()
        fault = "; ".join(lint.problems(files)[:3]) or plan.refusal(before, desired)
        if fault:
            return self._done("refused", "refused", fault, desired.generation, began)
        self._on_step("rendered")
        finding = await self._enforce(files, probes, around)
        self.entries = len(desired.lines)
        match finding.verdict:
            case Verdict.GOOD:
                self.generation = desired.generation
                self._files.keep(files, desired.generation)
                self._on_step("kept")
                return self._done("applied", "applied", finding.detail, desired.generation, began)
            case Verdict.AWAY | Verdict.STALE if not around.reachable:  # away, or just starting
                return self._done("pending", "pending", finding.detail, desired.generation, began)
        return await self._undo(before, finding, desired.generation, around, began)

    def before(self, generation: int) -> tuple[int, Files] | None:
        """Number and files of the last good set that is older. Raises FileError."""
        return self._files.kept(generation)

    async def repair(self, around: Surroundings) -> LogEntry:
        """Put the last good set back without asking the database: after somebody's edit, or at a start without it."""
        began = time.monotonic()
        good = self._last_good(self._files.read())
        if good is None:
            return self._done("pending", "pending", "there is no set yet and the database is away", 0, began)
        generation, files = good
        finding = await self._put_back(generation, files, around)
        match finding.verdict:
            case Verdict.GOOD:
                return self._done("applied", "repaired", finding.detail, generation, began)
            case Verdict.OPEN:
                return await self._stop(finding, generation, began)
            case Verdict.AWAY | Verdict.STALE if not around.reachable:
                state = "stopped" if self.state == "stopped" else "pending"
                return self._done(state, "pending", finding.detail, generation, began)
        return self._done("failed", "failed", finding.detail, generation, began)

    async def check(self) -> Finding:
        """Whether what was applied is still in force. Raises FileError."""
        if self._probes is None or fingerprint(self._files.read()) != self._fingerprint:
            return Finding(Verdict.STALE, "the files are not those that were written")
        return await verify.prove(self._access, self._probes)

    def untouched(self) -> bool:
        """Whether the files on disk are the ones that we wrote. Raises FileError."""
        return bool(self._fingerprint) and fingerprint(self._files.read()) == self._fingerprint

    def _rendered(self, desired: Desired, probes: Probes, around: Surroundings) -> Files:
        own = [*(login for identity in around.identities.valid() for login in identity.logins()), *probes.logins()]
        per_user = render.per_user_blocks(around.version or "")
        return render.render(own, desired.lines, desired.grants, per_user)

    async def _enforce(self, files: Files, probes: Probes, around: Surroundings) -> Finding:
        self._files.publish(files)
        self._fingerprint, self._probes, self.published = fingerprint(files), probes, probes.generation
        self._on_step("published")
        try:
            await self._signals.reload()
        except SignalError:
            if around.reachable:
                raise  # otherwise it reads the files when it starts
        self._on_step("reloaded")
        finding = await verify.prove(self._access, probes, verify.IN_FORCE_SECONDS if around.reachable else 0.0)
        self._on_step("verified")
        return finding

    async def _undo(
        self, before: Files | None, finding: Finding, generation: int, around: Surroundings, began: float
    ) -> LogEntry:
        """The set did not prove itself: the former one comes back; if even that leaks, the broker must stop."""
        log.error("a credential set does not hold, restoring the former one", set=generation, reason=finding.detail)
        good = self._last_good(before)
        if good is not None:
            again = await self._put_back(*good, around)
            if again.verdict is Verdict.GOOD:
                return self._done("failed", "restored", f"{finding.detail}; set {good[0]} is back", generation, began)
            finding = again
        if finding.verdict is Verdict.OPEN:
            return await self._stop(finding, generation, began)
        return self._done("failed", "failed", finding.detail, generation, began)

    async def _stop(self, finding: Finding, generation: int, began: float) -> LogEntry:
        await self._signals.stop()
        self._on_step("stopped")
        return self._done("stopped", "stopped", f"{finding.detail}; the broker was stopped", generation, began)

    def _last_good(self, otherwise: Files | None) -> tuple[int, Files] | None:
        return self._files.kept() or (None if otherwise is None else (self.generation, otherwise))

    async def _put_back(self, generation: int, good: Files, around: Surroundings) -> Finding:
        """An older set with our own logins of today."""
        own = tuple(login for identity in around.identities.valid() for login in identity.logins())
        lines = tuple(render.device_lines(good.passwd))
        old = Desired(generation, True, lines, tuple(render.grants_of(good.acl, own)))
        probes = verify.new_probes(generation)
        files = self._rendered(old, probes, around)
        if lint.problems(files):
            return Finding(Verdict.SHUT, "the former set is damaged")
        finding = await self._enforce(files, probes, around)
        if finding.verdict is Verdict.GOOD:
            self.generation, self.entries = generation, len(lines)
        return finding

    def _done(self, state: str, outcome: str, detail: str, generation: int, began: float) -> LogEntry:
        self.state, self.detail = state, detail
        entry = LogEntry(generation, outcome, detail, self.entries, (time.monotonic() - began) * 1000)
        write = log.info if state == "applied" else log.error
        write(f"credential set {outcome}", set=generation, detail=detail, took_ms=round(entry.took_ms, 1))
        return entry
