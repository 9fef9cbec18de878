"""Where runs are conducted from: this person, this machine, this environment."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from probes import catalogue
from probes.az import Az
from probes.broker import BrokerLogin
from probes.catalogue import Listener, World
from probes.finding import Finding
from probes.redact import Redactor
from probes.tls import verifying_context
from store import alert_views, members, runs
from store.alert_views import EpisodeRow
from store.db import Db
from store.deadline import within
from store.errors import StoreError
from store.members import PLATFORM, Role
from store.target import Target
from tui import library
from tui.profile import Profile, ProfileError, probe_login
from tui.runbook import keeping
from tui.runbook.conduct import AGENT, SYNC_SECONDS, Conductor
from tui.runbook.fill import Config, Filled, known
from tui.runbook.journal import Journal, Kept
from tui.runbook.keeping import Cause
from tui.runbook.model import Probe as Asked
from tui.runbook.parse import Runbook, RunbookError, parse
from tui.runbook.perform import Hands, Place
from tui.runbook.run import folded
from tui.way import Way

PRODUCTION = "PROD"
PROVOKE_SECONDS = 20.0
EXERCISE = ("DEMO", "TEST", "STAGING", "DEV", "LAB")  # environments that a drill may change


def nowhere() -> Db | None:
    return None


@dataclass(frozen=True, slots=True)
class Listed:
    """A run, from wherever it is known. local: the database has not all of it yet."""

    run_id: str
    runbook: str
    tenant: str
    mode: str
    state: str
    owner: str
    started_at: datetime
    outcome: str
    local: bool


@dataclass
class Desk:
    """config: what runbooks may ask for. db: as it is now, None while it is away."""

    target: Target
    state_dir: Path
    environment: str = PRODUCTION
    config: Config = field(default_factory=dict)
    listener: Listener | None = None
    ssh: tuple[str, ...] = ()
    azure: Az = field(default_factory=Az)
    probe: catalogue.Probe | None = None
    db: Callable[[], Db | None] = nowhere

    def __post_init__(self) -> None:
        self.journal = Journal(self.state_dir)
        self._turn = asyncio.Lock()
        self._listed: dict[str, tuple[tuple[int, int], Listed]] = {}
        self._redact = Redactor([self.target.password] if self.target.password else [])

    @property
    def me(self) -> str:
        """The login; it is the same whether the database answers or not."""
        return self.target.user

    def world(self) -> World:
        return World(
            self.db(), self.target, self.listener, self.ssh, self.state_dir, turn=self._turn, azure=self.azure,
            probe=self.probe, provoke=self._provoke,
        )  # fmt: skip

    async def _provoke(self) -> Finding:
        """The agent's canary publishes, for another tenant than a probe of ours."""
        found = await self.hands().look([Asked(check="canary.send")], "agent", PROVOKE_SECONDS, {}, Place("", "smoke"))
        return next(iter(found.values()))

    def needs(self, book: Runbook, labels: Mapping[str, str], given: Mapping[str, str]) -> Filled:
        """Values of a runbook's variables, and those that a person has to give."""
        return known(book.front, labels, self.config, given)

    async def begin(self, book: Runbook, values: Mapping[str, str], cause: Cause) -> Conductor:
        """A new run. The alert it is for is acknowledged with it. Raises OSError when the journal cannot be written."""
        clean = {name: self._redact(value) for name, value in values.items()}
        kept = keeping.begin(self.journal, book, clean, self.me, await self._mine(cause), datetime.now(UTC))
        conductor = self.conductor(kept)
        conductor.start(cause.alert)
        await conductor.sync()
        db = self.db()
        if db is not None and cause.alert_id is not None and cause.mode == "live":
            with suppress(StoreError):  # it is over already, or somebody else's: no reason not to go on
                note = f"follows runbook {book.front.id}"
                await within(SYNC_SECONDS, alert_views.ack(db, cause.alert_id, note, None))
        return conductor

    async def _mine(self, cause: Cause) -> Cause:
        """What people of the service do belongs to the service, also for a tenant's alert: its evidence is of all."""
        db = self.db()
        if cause.tenant == PLATFORM or db is None:
            return replace(cause, tenant=PLATFORM)
        try:
            me = await within(SYNC_SECONDS, members.me(db))
        except StoreError:
            return replace(cause, tenant=PLATFORM)
        return replace(cause, tenant=PLATFORM) if me.may(Role.OPERATOR, PLATFORM) else cause

    def local_runs(self) -> dict[str, Listed]:
        """Those of this machine's journal, by id. A file is read again when it has changed."""
        found = {}
        for run_id in self.journal.ids():
            stamp = self.journal.stamp(run_id)
            seen = self._listed.get(run_id)
            if seen is None or seen[0] != stamp:
                kept = self.journal.read(run_id)
                if kept is None:
                    continue
                seen = self._listed[run_id] = (stamp, _listed_here(kept))
            found[run_id] = seen[1]
        return found

    async def runs(self) -> list[Listed]:
        """Open ones first, then the newest. What the database cannot tell now, this machine's journal does."""
        known = await asyncio.to_thread(self.local_runs)
        db = self.db()
        if db is not None:
            with suppress(StoreError):  # an older schema has none
                for row in await runs.runs(db):
                    local = row.run_id in known and known[row.run_id].local
                    known[row.run_id] = Listed(
                        row.run_id, row.runbook, row.tenant, row.mode, row.state, row.owner, row.started_at,
                        row.outcome or "", local,
                    )  # fmt: skip
        return sorted(known.values(), key=lambda one: (one.state != "open", -one.started_at.timestamp()))

    async def push_waiting(self) -> None:
        """What this machine followed while the database was away. What it refuses stays here."""
        db = self.db()
        for kept in await asyncio.to_thread(self.journal.all) if db is not None else ():
            waiting = [event.event_id for event in kept.unsynced if event.actor == self.me]
            if waiting and db is not None:
                with suppress(StoreError):
                    await within(SYNC_SECONDS, keeping.push(db, kept))
                    self.journal.settle(kept, waiting)

    async def resume(self, beginning: str) -> Conductor | None:
        """A run of this machine or of another one. Raises StoreError; ValueError when its text cannot be read."""
        try:
            kept = await keeping.fetch(self.journal, self.db(), beginning)
            return None if kept is None else self.conductor(kept)
        except RunbookError as error:
            raise ValueError(f"this version cannot read the runbook of that run: {error.mistakes[0]}") from None

    def hands(self) -> Hands:
        """To look with, outside of a run."""
        return Hands(self.world, self.config, self._redact)

    def conductor(self, kept: Kept) -> Conductor:
        mode = kept.facts.mode
        drill = mode == "drill" and self.environment not in EXERCISE
        shows_only = f"shown, not done: a drill changes nothing in {self.environment}" if drill else ""
        hands = Hands(self.world, self.config, self._redact, shows_only, mode == "manual")
        notice = (
            "" if kept.begun_here or _ours(kept) else "not a runbook of this machine: nothing of it is executed here"
        )
        return Conductor(kept, self.journal, hands, self.me, socket.gethostname(), self.db, self._redact, notice)


def _ours(kept: Kept) -> bool:
    """Its text is that of a runbook that came with this program: whoever wrote it there is trusted already."""
    try:
        return library.read(library.directory() / f"{kept.facts.runbook}.md").text == kept.text
    except RunbookError:
        return False


def made(way: Way, state_dir: Path, environment: str, profile: Profile | None, console: tuple[str, ...]) -> Desk:
    """As the profile has it; without one, only the database is known. console: the command that leads to the same."""
    if profile is None:
        return Desk(way.target, state_dir, environment, {"console": console})
    place = profile.broker
    listener = None
    if place is not None:
        ca_file = place.ca_file.expanduser() if place.ca_file else None
        listener = Listener(place.host, place.port, place.tls_name or place.host, ca_file)
    saved = profile.azure.get("saved")
    azure = Az(Path(saved).expanduser() if saved else None)
    ssh = (*(("-F", str(way.ssh_config)) if way.ssh_config else ()), way.ssh) if way.ssh else ()
    config = {**profile.values(), "console": console}
    return Desk(way.target, state_dir, environment, config, listener, ssh, azure, _probe(profile, listener))


def _probe(profile: Profile, listener: Listener | None) -> catalogue.Probe | None:
    """None also when its file cannot be used: commands that need it have said so before."""
    found = profile.probe
    if found is None or listener is None:
        return None
    try:
        username, password = probe_login(found.secret)
    except ProfileError:
        return None
    tls = verifying_context(listener.ca_file, listener.name)
    tenant, _, device = found.device.partition("/")
    root = found.topics or f"tenants/{tenant}/devices/{device}"
    return catalogue.Probe(tenant, device, BrokerLogin(listener.host, listener.port, tls, username, password), root)


def agent_of(alert: EpisodeRow | None) -> dict[str, str]:
    """The agent that an alert is about is the one that is asked."""
    agent = alert.labels.get(AGENT) if alert is not None else None
    return {AGENT: agent} if agent else {}


def _listed_here(kept: Kept) -> Listed:
    facts = kept.facts
    try:
        run = folded(facts, parse(kept.text), kept.events)
    except RunbookError:
        return Listed(facts.run_id, facts.runbook, facts.tenant, facts.mode, "unreadable", facts.started_by,
                      facts.started_at, "written by another version", bool(kept.unsynced))  # fmt: skip
    return Listed(
        facts.run_id, facts.runbook, facts.tenant, facts.mode, run.state, run.owner, facts.started_at, run.outcome,
        bool(kept.unsynced),
    )  # fmt: skip


def cause_of(alert: EpisodeRow | None, mode: str, tenant: str = "platform") -> Cause:
    """For an alert: its tenant's."""
    if alert is None:
        return Cause(tenant, mode)
    return Cause(alert.labels.get("tenant", tenant), mode, alert.event_id, alert.alert)
