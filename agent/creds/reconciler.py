"""Keeps a broker's credentials equal to the newest set in the database.

Woken by a notification, or by the clock when none comes. A credential that a set no longer has is cut off at once
through the kill switch, whatever else is going on; then the whole set is applied and proved.
"""

import asyncio
import contextlib
import math
import time
from dataclasses import dataclass

import structlog

from agent.creds import plan, verify
from agent.creds.applier import Applier, Surroundings
from agent.creds.bulletin import Bulletin, CredsHealth
from agent.creds.control import Control
from agent.creds.files import FileError
from agent.creds.killswitch import SINGLY, KillSwitch
from agent.creds.signals import SignalError
from agent.creds.stepback import StepBack
from agent.creds.takeover import OwnLogins
from agent.creds.verify import Access, Verdict
from probes.broker import BrokerError
from store import brokers
from store.brokers import LogEntry
from store.db import Db
from store.errors import StoreError

log = structlog.get_logger()
DEBOUNCE_SECONDS = 0.03
BUSY_SHARE = 4  # of the time, at most one part is spent on applying
LISTEN_AGAIN_SECONDS = 1.0
FIRST_CONNECT_SECONDS = 5.0
AGAIN_SECONDS = 60.0  # until a set that did not hold is tried again
MOST_PURGED = 1000
LOCAL_ERRORS = (FileError, SignalError, BrokerError, OSError)


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds between looks at the database, and between proofs of what is in force."""

    poll: float
    check: float


class Reconciler:
    """run() never ends. What is wrong is in health; nothing is raised."""

    def __init__(
        self, db: Db, broker_id: str, applier: Applier, access: Access, logins: OwnLogins, timing: Timing
    ) -> None:
        self.health = CredsHealth()
        self._bulletin = Bulletin(db, broker_id, access)
        self._db = db
        self._broker_id = broker_id
        self._applier = applier
        self._access = access
        self._logins = logins
        self._timing = timing
        self._control = Control(access, lambda: logins.identities, self._connected)
        self._kill_switch = KillSwitch(self._control, access)
        self._wake = asyncio.Event()
        self._proved_at: float | None = None  # None: what should be there has not been proved by this process
        self._rejected = (0, 0.0)  # a set that did not work, and when to try it again
        self._resumed = False
        self._wish: tuple[str, asyncio.Future[tuple[bool, str]]] | None = None
        self._held: StepBack | None = None

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._control.run(), name="broker control")
            group.create_task(self._listen(), name="credential hints")
            group.create_task(self._work(), name="credentials")

    async def _listen(self) -> None:
        while True:
            try:
                async with self._db.hints(brokers.CHANNEL) as hints:
                    self._wake.set()
                    while await hints.wait():
                        await self._cut_off()
                        self._wake.set()
            except (StoreError, BrokerError) as error:
                log.debug("no hints from the database", error=str(error))
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)

    async def _work(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_CONNECT_SECONDS):
                await self._control.connected.wait()
        while True:
            began = time.monotonic()
            self._wake.clear()
            await self.tick(time.time())
            ended = time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timing.poll):
                    await self._wake.wait()
                # what comes shortly after is taken together with it
                rested = ended + (ended - began) * (BUSY_SHARE - 1) - time.monotonic()
                await asyncio.sleep(max(DEBOUNCE_SECONDS, min(rested, self._timing.poll)))

    # -- what people ask for

    async def reapply(self) -> tuple[bool, str]:
        """The newest set again, proved; whether it is in force, and what is to be said of it."""
        return await self._wished("apply")

    async def restore(self) -> tuple[bool, str]:
        """Take out what was added since the set before the one in force; see agent.creds.stepback."""
        return await self._wished("restore")

    async def enforced(self) -> verify.Finding:
        """Whether the set in force is, by logging in."""
        return await self._applier.check()

    async def _wished(self, kind: str) -> tuple[bool, str]:
        """In the next round, or not at all."""
        if self._wish is not None:
            return False, "somebody else is asking for the same just now"
        answer: asyncio.Future[tuple[bool, str]] = asyncio.get_running_loop().create_future()
        wish = self._wish = kind, answer
        self._wake.set()
        try:
            return await answer
        finally:
            if self._wish is wish:
                self._wish = None

    async def _fulfil(self, kind: str, desired: int, now: float) -> tuple[bool, str]:
        if self._control.dynsec is None:
            return False, f"the broker does not answer its administrator: {self._control.error}"
        if kind == "restore":
            found = self._applier.before(self._applier.generation)
            if found is None:
                return False, f"no set before {self._applier.generation} is kept"
            self._held = StepBack.of(desired, *found, self._logins.identities, now)
        else:
            self._held, self._rejected = None, (0, 0.0)
        entry = await self._apply(now)
        if entry is not None and entry.outcome == "applied":
            return True, f"{entry.detail}{self._held.words if self._held else ''}"
        self._held = None
        return False, entry.detail if entry is not None else self.health.detail

    # -- rounds

    async def tick(self, now: float) -> None:
        """One look at everything."""
        try:
            await self._resume()
            if await self._logins.advance(self._control, self._proved_at is not None):
                self._proved_at = None
            await self._settle()
            self.health.desired = await brokers.head(self._db)
            await self._cut_off()
            await self._converge(self.health.desired, now)
        except StoreError as error:
            self.health.desired = None
            await self._hold(str(error), now)
        except LOCAL_ERRORS as error:
            self._say("failed", str(error))
        if self._wish is not None and not self._wish[1].done():  # never later: by then it may not be wanted any more
            self._wish[1].set_result((False, f"not done: {self.health.detail}"))
        if self._logins.under_way:
            self._wake.set()
        await self._report(now)

    def _connected(self) -> None:
        """The broker may have been started anew: look again."""
        if self._proved_at is not None:
            self._proved_at = 0.0
        self._wake.set()

    async def _resume(self) -> None:
        """Where the process before this one had come to, so that what ended since then is cut off and purged."""
        if not self._resumed:
            self._applier.generation = await brokers.applied(self._db, self._broker_id)
            self._resumed = True

    async def _settle(self) -> None:
        """Tell who logged in with what, and end what is through."""
        logins = self._control.log.flush()
        try:
            if logins:
                await brokers.note_logins(self._db, logins)
            await brokers.settle(self._db)
        except StoreError:
            self._control.log.put_back(logins)
            raise

    async def _cut_off(self) -> None:
        if not self._resumed:
            return
        gone = await brokers.removed_since(self._db, self._applier.generation, SINGLY + 1)
        if not plan.too_many(len(gone), self._applier.entries):  # that many wait for somebody's word
            await self._kill_switch.cut_off(gone)

    async def _converge(self, desired: int, now: float) -> None:
        """Apply the newest set if it is not in force; otherwise see from time to time that nothing has changed."""
        if self._held is not None and not self._held.holds(desired, now):
            self._held, self._proved_at = None, None
        if self._wish is not None:
            kind, answer = self._wish
            came = await self._fulfil(kind, desired, now)
            if not answer.done():
                answer.set_result(came)
            return
        number, again_at = self._rejected
        rejected = desired == number and now < again_at and not await brokers.confirmed(self._db, desired)
        if desired != self._applier.generation and not rejected:
            await self._apply(now)
        elif self._proved_at is None:
            await (self._repair(now) if rejected else self._apply(now))
        elif not self._applier.untouched():
            await self._note("drift", "somebody changed the files")
            await self._repair(now)
        elif now - self._proved_at >= self._timing.check:
            await self._check(now)

    async def _check(self, now: float) -> None:
        finding = await self._applier.check()
        if finding.verdict is Verdict.AWAY:
            self._say("pending", finding.detail)
            return
        self._proved_at = now
        if finding.verdict is not Verdict.GOOD:
            await self._note("drift", finding.detail)
            await self._repair(now)
        elif strangers := await self._kill_switch.tidy(self._logins.identities, ()):
            await self._note("drift", f"removed from the dynamic-security plugin: {', '.join(strangers)}")
        elif await verify.default_login_works(self._access):
            self._say("failed", "the broker lets in user admin with a default password")
        else:
            self._say(self._applier.state, self._applier.detail)

    async def _apply(self, now: float) -> LogEntry | None:
        if self._control.unknown:
            self._say("failed", self._control.error or "")
            return None
        if self._control.dynsec is None and self._applier.published == self.health.desired:
            self._say("pending", f"in the files, and the broker is away: {self._control.error}")
            return None
        wanted = await brokers.desired(self._db)
        if self._held is not None:
            wanted = self._held.within(wanted)
        gone = await brokers.removed_since(self._db, self._applier.generation, MOST_PURGED)
        entry = await self._applier.apply(wanted, self._surroundings())
        await self._finished(entry, now)
        if entry.outcome == "applied":
            strangers = await self._kill_switch.tidy(self._logins.identities, gone)
            if strangers:
                await self._note("drift", f"removed from the dynamic-security plugin: {', '.join(strangers)}")
        return entry

    async def _repair(self, now: float) -> None:
        """The last good set again, with our own logins of today."""
        if self._control.unknown:
            self._say("failed", self._control.error or "")
            return
        await self._finished(await self._applier.repair(self._surroundings()), now)

    async def _finished(self, entry: LogEntry, now: float) -> None:
        if entry.outcome in ("applied", "restored") or (entry.outcome, self._applier.state) == ("repaired", "applied"):
            self._proved_at = now
        if entry.outcome in ("refused", "restored", "failed", "stopped"):
            self._rejected = (entry.generation, math.inf if entry.outcome == "refused" else now + AGAIN_SECONDS)
        self._say(self._applier.state, entry.detail)
        if entry.outcome != "pending":
            with contextlib.suppress(StoreError):  # the log has it too
                await brokers.write_log(self._db, self._broker_id, entry)

    def _surroundings(self) -> Surroundings:
        return Surroundings(self._logins.identities, self._control.version, self._control.dynsec is not None)

    async def _hold(self, why: str, now: float) -> None:
        """Without the database: what is in force stays, and is put back when somebody changes it."""
        try:
            if self._proved_at is None or not self._applier.untouched():
                await self._repair(now)
            self._say(self._applier.state, f"{self._applier.detail}; {why}")
        except LOCAL_ERRORS as error:
            self._say("failed", str(error))

    async def _note(self, outcome: str, what: str) -> None:
        log.error("the broker differs from what it should have", difference=what)
        entry = LogEntry(self._applier.generation, outcome, what, self._applier.entries, 0.0)
        await brokers.write_log(self._db, self._broker_id, entry)

    def _say(self, state: str, detail: str) -> None:
        self.health.state, self.health.detail = state, detail
        self.health.generation, self.health.entries = self._applier.generation, self._applier.entries

    async def _report(self, now: float) -> None:
        await self._bulletin.look_at_certificate(self.health, now)
        made_at = self._logins.identities.current.made_at
        await self._bulletin.put(self.health, self._control.version, made_at)
