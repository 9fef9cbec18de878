"""What alerting does in the database: copies the book, evaluates common rules, answers people, tends the outbox."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from agent.alerts.book import Book
from agent.alerts.dispatcher import Dispatcher
from agent.alerts.evaluator import SHARED, Evaluator
from agent.alerts.loader import Loader
from agent.alerts.slots import Slots
from agent.alerts.sources import Sources
from alerting.catalogue import Scope
from store import alert_rules, alerts, leases, notifications
from store.alerts import Runtime
from store.db import Db

log = structlog.get_logger()
LEASE = "alerts"
LEASE_SECONDS = 10.0
RELOAD_SECONDS = 5.0


class Clerk:
    """sources: makes the values as of a slot. runtimes: how own rules fare, to be copied. round() raises StoreError."""

    def __init__(
        self, db: Db, agent_id: str, loader: Loader, book: Book, evaluator: Evaluator, dispatcher: Dispatcher,
        sources: Callable[[float], Sources],
    ) -> None:  # fmt: skip
        self.slots = Slots()
        self.runtimes: dict[str, Runtime] = {}
        self.hinted = True  # somebody changed a rule, a silence or an acknowledgement
        self._db = db
        self._agent_id = agent_id
        self._loader = loader
        self._book = book
        self._evaluator = evaluator
        self._dispatcher = dispatcher
        self._sources = sources
        self._looked_at = 0.0
        self._ended_for: object = None

    async def round(self, now: float) -> None:
        """Everything that is due at `now`, the database's time. Raises StoreError."""
        await self._copy()
        if self.hinted or time.monotonic() - self._looked_at > RELOAD_SECONDS:
            self.hinted = False
            self._looked_at = time.monotonic()
            await self._loader.read_tenants(self._db)
            await self._loader.mirror(self._db)
            await self._answer_requests(now)
        await self._end_removed(now)
        await self._evaluate(now)
        await self._dispatcher.step(self._loader.in_force.file, now)

    async def _evaluate(self, now: float) -> None:
        rules = [rule for rule in self._loader.in_force.all() if rule.scope is not Scope.AGENT]
        due = self.slots.due(rules, now)
        if due and await leases.take(self._db, LEASE, self._agent_id, LEASE_SECONDS) is not None:
            for slot, members in due:
                await self._evaluator.shared(members, self._sources(slot))

    async def _copy(self) -> None:
        """What the book knows and the database does not, in order and in one transaction."""
        pages = self._book.pages
        changes, sent, settled, told = list(pages.pending), list(pages.sent), list(pages.settled), dict(pages.told)
        runtimes, self.runtimes = self.runtimes, {}
        if runtimes:
            await alerts.put_runtime(self._db, self._agent_id, list(runtimes.values()))
        if not (changes or sent or settled):
            return
        async with self._db.transaction() as tx:
            for change in changes:
                await alerts.apply(tx, self._agent_id, change)
            for message in sent:
                await notifications.put_message(tx, message.message, sent_at=message.at)
            for episode, (at, _) in told.items():
                await notifications.note_told(tx, [episode], at)
            await notifications.settle(tx, settled)
        self._book.copied(changes, sent, settled)
        if any(change.events for change in changes) or sent or settled:
            self._book.save()

    async def _end_removed(self, now: float) -> None:
        """Rules that are gone end what they have open."""
        in_force = self._loader.in_force
        if in_force is self._ended_for:
            return
        keys = [rule.key for rule in in_force.all()]
        for key in set(self._book.pages.memories) - set(keys):
            self._evaluator.close_own(key, now)
        for key, evaluator in await alerts.keys_besides(self._db, [SHARED, self._agent_id], keys):
            if evaluator == SHARED:
                await self._evaluator.close_shared(key, now)
            else:
                await alerts.drop_runtime(self._db, key, evaluator)
        self._evaluator.health.keep(keys)
        self._ended_for = in_force

    async def _answer_requests(self, now: float) -> None:
        known = {rule.key: rule for rule in self._loader.in_force.all()}
        for request_id, key in await alert_rules.open_requests(self._db):
            rule = known.get(key)
            answer: Mapping[str, Any] = {"rule": key, "error": f"there is no rule {key}"}
            if rule is not None:
                answer = await self._evaluator.now(rule, self._sources(now - rule.eval_delay))
            await alert_rules.answer(self._db, request_id, self._agent_id, answer)
