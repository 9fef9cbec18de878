"""Does what a step says: asks checks here or through an agent, runs an argv here, has an agent act.

Nothing is raised: what could not be done is a finding that says so.
"""

import asyncio
import shlex
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from alerting import durations
from probes import catalogue, program
from probes.catalogue import Argument, World
from probes.finding import Finding, Outcome, failed, passed, unknown
from probes.program import NotEndedError, NotStartedError
from probes.redact import Redactor
from store import agents, requests
from store.errors import Denied, StoreError
from tui.runbook import fill
from tui.runbook.fill import Config, MissingError, Values
from tui.runbook.model import Command, Front, Probe, Wait
from tui.runbook.parse import Runbook

AGENT_SILENT_SECONDS = 20.0
WAITS_SECONDS = 60  # a request for an agent is void after that
VERIFY_SECONDS = 20.0
AGAIN_SECONDS = 1.0
Said = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """In a run: for what an agent is asked. agent: which one, "" when it does not matter or there is only one."""

    run_id: str
    step: str
    agent: str = ""


class Hands:
    """world: as it is now, its database None while that is away. shows_only: why commands are not executed, or ""."""

    def __init__(
        self, world: Callable[[], World], config: Config, redact: Redactor, shows_only: str = "", manual: bool = False
    ) -> None:
        self._world = world
        self._config = config
        self._redact = redact
        self.stop = asyncio.Event()  # set: waiting ends at the next look
        self._shows_only = shows_only
        self._manual = manual

    async def look(
        self, probes: Sequence[Probe], where: str, seconds: float, values: Values, place: Place
    ) -> dict[str, Finding]:
        """Each probe's finding, by its id."""
        asked = [self._one(probe, where, seconds, values, place) for probe in probes]
        found = await asyncio.gather(*asked) if where == "console" else [await one for one in asked]
        return {probe.id or probe.check: one for probe, one in zip(probes, found, strict=True)}

    async def _one(self, probe: Probe, where: str, seconds: float, values: Values, place: Place) -> Finding:
        if self._manual:
            return unknown("not asked: this run executes nothing; look by hand")
        try:
            arguments = fill.arguments(probe.arguments, values)
        except MissingError as error:
            return unknown(f"not known: {error}")
        if where == "both":
            here = await self._here(probe.check, arguments, seconds)
            there = await self._ask_agent(probe.check, arguments, seconds, place, changes=False)
            worse = min((here, there), key=lambda one: ORDER.index(one.outcome))
            return Finding(worse.outcome, f"from here: {here.found}; from the VM: {there.found}", there.evidence)
        if where == "agent":
            return await self._ask_agent(probe.check, arguments, seconds, place, changes=False)
        return await self._here(probe.check, arguments, seconds)

    async def _here(self, name: str, arguments: Mapping[str, Argument], seconds: float) -> Finding:
        return self._clean(await catalogue.ask(self._world(), name, arguments, seconds))

    def _clean(self, found: Finding) -> Finding:
        return Finding(found.outcome, self._redact(found.found), self._redact.tail(found.evidence))

    def words(self, argv: tuple[str, ...], book: Runbook, values: Values) -> list[str]:
        """The argv for reading; what is not known stands there by its name."""
        try:
            return [shlex.quote(self._redact(word)) for word in fill.argv(argv, book.front, values, self._config)]
        except MissingError:
            return [fill.shown(word, values) for word in argv]

    async def until(self, wait: Wait, values: Values, place: Place, say: Said) -> dict[str, Finding]:
        """Ask again and again, until it is so or the time is over."""
        ends_at = time.monotonic() + durations.seconds(wait.timeout)
        every = durations.seconds(wait.every)
        self.stop.clear()
        while True:
            found = await self.look([wait.until], wait.where, every + AGENT_SILENT_SECONDS, values, place)
            one = next(iter(found.values()))
            left = ends_at - time.monotonic()
            if one.outcome is Outcome.PASS or left <= 0 or self._manual:
                return found
            say(f"{one.found}; {left:.0f} s left")
            with suppress(TimeoutError):
                async with asyncio.timeout(min(every, left)):
                    await self.stop.wait()
            if self.stop.is_set():
                return found

    async def act(self, command: Command, front: Front, values: Values, place: Place, undo: bool = False) -> Finding:
        """Do it, then verify it."""
        seconds = durations.seconds(command.timeout)
        if self._shows_only:
            return unknown(self._shows_only)
        try:
            if command.where == "agent" and not undo:
                arguments = fill.arguments(command.arguments, values)
                assert command.action is not None
                found = await self._ask_agent(command.action, arguments, seconds, place, changes=True)
            else:
                argv = fill.argv(command.undo if undo else command.run, front, values, self._config)
                found = self._clean(await executed(argv, seconds, self._redact))
        except MissingError as error:
            return unknown(f"not known: {error}; do it by hand")
        if found.outcome is not Outcome.PASS or command.verify is None or undo:
            return found
        checked = await self.verified(command, values, place)
        assert checked is not None
        return Finding(checked.outcome, f"{found.found}; {checked.found}", found.evidence)

    async def verified(self, command: Command, values: Values, place: Place) -> Finding | None:
        """Whether it was done; None when nothing verifies it. It may take a moment until it shows."""
        if command.verify is None:
            return None
        ends_at = time.monotonic() + VERIFY_SECONDS
        while True:
            found = await self._one(command.verify, command.where, VERIFY_SECONDS, values, place)
            if found.outcome is Outcome.PASS or time.monotonic() > ends_at:
                return found
            await asyncio.sleep(AGAIN_SECONDS)

    async def _ask_agent(
        self, name: str, arguments: Mapping[str, Argument], seconds: float, place: Place, changes: bool
    ) -> Finding:
        db = self._world().db
        if db is None:
            return unknown("the agent cannot be asked: the database is away, and the two talk through it")
        request_id = str(uuid.uuid4())
        try:
            live = [r.agent_id for r in await agents.all_agents(db) if r.age_seconds <= AGENT_SILENT_SECONDS]
            if not live or (place.agent and place.agent not in live):
                return unknown(f"the agent cannot be asked: {place.agent or 'none'} has not reported lately")
            if changes and not place.agent and len(live) > 1:
                return unknown(f"which of {', '.join(sorted(live))}? Begin the run for the alert of one; do it by hand")
            agent = place.agent or live[0]
            for_run = (place.run_id, place.step) if place.run_id else None
            await requests.put(db, request_id, agent, name, arguments, for_run, WAITS_SECONDS, changes)
            answer = await requests.answer(db, request_id, max(seconds, 5.0))
        except Denied as error:
            return unknown(f"you may not ask the agent: {error}")
        except StoreError as error:
            return unknown(f"the agent was asked, and the database went away: look whether it was done ({error})")
        if answer.result is not None:
            found = answer.result
            return self._clean(Finding(Outcome(found["outcome"]), found["found"], found.get("evidence", "")))
        if answer.state == "running":
            return unknown(f"{agent} began and has not answered within {seconds:.0f} s: look whether it was done")
        return unknown(f"{agent} did not take it within {seconds:.0f} s; it will not do it any more")


ORDER = (Outcome.FAIL, Outcome.UNKNOWN, Outcome.PASS)


async def executed(argv: Sequence[str], seconds: float, redact: Redactor) -> Finding:
    """A program of this machine, without a shell and without input. Its output is the evidence."""
    try:
        ended = await program.run(argv, seconds, merged=True)
    except NotStartedError as error:
        return unknown(f"{error}; do it by hand")
    except NotEndedError as error:
        return unknown(f"{error} and was stopped: look whether it was done")
    said = redact(ended.printed)
    last = program.last_line(said)[:200]
    if ended.code:
        return failed(f"{argv[0]} failed ({ended.code}): {last}", said)
    return passed(f"{argv[0]} succeeded{f': {last}' if last else ''}", said)
