"""Decides what is said, writes it into the outbox, and delivers what is there; without the database, directly.

One agent at a time decides; each thing is said of an episode once. Delivery is at least once: a crash between delivery
and note repeats the message under the same id.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from agent.alerts.book import Book, Sent
from agent.alerts.channels import Channel, DeliveryError
from alerting import grouping, message
from alerting.grouping import Alert, Message, Policy, Reason
from alerting.message import Story
from alerting.routing import Silence
from alerting.rules import RuleSet
from store import notifications
from store.alerts import EventRow
from store.db import Db
from store.notifications import Claimed, Episode, MentionRow, Outgoing

log = structlog.get_logger()
LEASE_SECONDS = 60.0
AT_ONCE = 10
FIRST_DELAY, LONGEST_DELAY = 5.0, 300.0
GIVE_UP_SECONDS = 86_400.0
FAILING_ATTEMPTS = 3
NOW = (Reason.NEW, Reason.REPEAT)


@dataclass(slots=True)
class DispatchHealth:
    """failing: messages that could not be delivered for a while. error: of the last delivery that failed."""

    failing: int = 0
    error: str | None = None


class Dispatcher:
    """rules() gives the routes in force. step() is called again and again; it raises StoreError."""

    def __init__(
        self, db: Db, agent_id: str, book: Book, channels: Mapping[str, Channel], retry_seconds: float = FIRST_DELAY
    ) -> None:
        self.health = DispatchHealth()
        self._db = db
        self._agent_id = agent_id
        self._book = book
        self._channels = channels
        self._retry_seconds = retry_seconds
        self._mark: object = None  # what the last decision was made of
        self._next_at: float | None = None
        self._silences: tuple[Silence, ...] = ()
        self._direct_muted: frozenset[str] = frozenset()
        self._direct_at: dict[str, tuple[float, int]] = {}  # message to (next try, tries), while the database is away

    async def step(self, rules: RuleSet, now: float) -> None:
        """Decide and deliver. Raises StoreError."""
        await self._decide(rules, now)
        claimed = await notifications.claim(self._db, self._agent_id, LEASE_SECONDS, AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for one in claimed:
                group.create_task(self._deliver(one), name="delivery")
        self.health.failing = await notifications.failing(self._db, FAILING_ATTEMPTS)

    async def _decide(self, rules: RuleSet, now: float) -> None:
        self._silences = _silences(await notifications.silences(self._db))
        mark = (await notifications.unsettled_mark(self._db), self._silences, id(rules))
        if mark == self._mark and (self._next_at is None or now < self._next_at):
            return  # nothing happened, and nothing is due
        async with self._db.transaction() as tx:
            if not await notifications.take_turn(tx):
                return
            episodes = {found.event_id: found for found in await notifications.unsettled(tx)}
            plan = grouping.plan(map(_alert, episodes.values()), _policy(rules, self._silences), now)
            stories = {key: _story(episode) for key, episode in episodes.items()}
            for said in plan.messages:
                tenant_id = episodes[said.mentions[0].alert.event_id].tenant_id
                await notifications.put_message(tx, self._outgoing(said, stories, tenant_id, now))
            told = {m.alert.event_id for said in plan.messages for m in said.mentions if m.reason in NOW}
            await notifications.note_told(tx, sorted(told), now)
            await notifications.note_muted(tx, plan.muted)
            await notifications.settle(tx, plan.done)
        self._mark = (await notifications.unsettled_mark(self._db), self._silences, id(rules))
        acks = [e.ack_until for e in episodes.values() if e.acked and e.ack_until is not None]
        self._next_at = min([*acks, *([] if plan.next_at is None else [plan.next_at])], default=None)

    def _outgoing(self, said: Message, stories: Mapping[str, Story], tenant_id: int, now: float) -> Outgoing:
        mentions = tuple(MentionRow(m.alert.event_id, str(m.reason), m.seq) for m in said.mentions)
        body = message.body(said, stories, self._agent_id, now)
        return Outgoing(body["id"], said.channel, tenant_id, body, mentions)

    async def _deliver(self, claimed: Claimed) -> None:
        error = await self._try(claimed.channel, claimed.message_id, claimed.body)
        if error is None:
            await notifications.mark_sent(self._db, claimed.message_id)
            return
        give_up = claimed.age > GIVE_UP_SECONDS
        delay = backoff(claimed.attempts, self._retry_seconds)
        await notifications.mark_failed(self._db, claimed.message_id, delay, error, give_up)

    async def _try(self, channel: str, message_id: str, body: Mapping[str, object]) -> str | None:
        """None when it was delivered, otherwise why not."""
        known = self._channels.get(channel)
        error = f"there is no channel {channel}: add [alerts.channels.{channel}] to the settings"
        if known is not None:
            try:
                await known.deliver(message_id, body)
                self.health.error = None
                return None
            except (DeliveryError, TimeoutError) as failure:
                error = str(failure) or "no answer in time"
        if self.health.error != error:
            log.warning("a notification could not be delivered", channel=channel, message_id=message_id, error=error)
        self.health.error = error
        return error

    # -- without the database

    async def direct(self, rules: RuleSet, now: float) -> None:
        """Tell people of what waits in the book. Called while the database is away; copied to it afterwards."""
        pages = self._book.pages
        episodes = _waiting(self._book.waiting(), pages.told)
        open_now = [
            replace(alert, muted=alert.event_id in self._direct_muted)
            for alert, _ in episodes.values()
            if alert.event_id not in pages.settled
        ]
        plan = grouping.plan(open_now, _policy(rules, self._silences), now)
        self._direct_muted = frozenset(plan.muted)
        stories = {key: story for key, (_, story) in episodes.items()}
        failed: set[str] = set()
        for said in plan.messages:
            outgoing = self._outgoing(said, stories, 0, now)
            if any(sent.message.message_id == outgoing.message_id for sent in pages.sent):
                continue
            if await self._direct(outgoing, now):
                pages.sent.append(Sent(outgoing, now))
            else:
                failed |= {m.alert.event_id for m in said.mentions}
        for said in plan.messages:
            for mention in said.mentions:
                if mention.reason in NOW and mention.alert.event_id not in failed:
                    pages.told[mention.alert.event_id] = (now, mention.alert.told + 1)
        pages.settled += [key for key in plan.done if key not in failed and key not in pages.settled]
        if plan.messages:
            self._book.save()

    async def _direct(self, outgoing: Outgoing, now: float) -> bool:
        at, tries = self._direct_at.get(outgoing.message_id, (0.0, 0))
        if now < at:
            return False
        error = await self._try(outgoing.channel, outgoing.message_id, outgoing.body)
        if error is None:
            self._direct_at.pop(outgoing.message_id, None)
            return True
        self._direct_at[outgoing.message_id] = (now + backoff(tries + 1, self._retry_seconds), tries + 1)
        return False


def backoff(attempts: int, first: float = FIRST_DELAY) -> float:
    """Seconds until the next try: doubled each time, with jitter so that agents do not try together."""
    return min(LONGEST_DELAY, first * 2.0 ** min(attempts - 1, 10)) * random.uniform(0.75, 1.0)


def _policy(rules: RuleSet, silences: Sequence[Silence]) -> Policy:
    return Policy(rules.routes, rules.inhibitions, silences)


def _silences(rows: Sequence[notifications.SilenceRow]) -> tuple[Silence, ...]:
    return tuple(Silence(r.silence_id, r.matchers, r.starts_at, r.ends_at, r.tenant) for r in rows)


def _alert(found: Episode) -> Alert:
    return Alert(
        found.event_id, found.labels, found.fired_at, found.ended_at, found.told_at, found.told, found.acked,
        found.repeat_seconds, found.muted,
    )  # fmt: skip


def _story(found: Episode) -> Story:
    value = found.value if found.ended_at is None else found.end_value
    return Story(found.alert, found.severity, found.summary, found.runbook, value, found.rule_key)


def _waiting(events: Sequence[EventRow], told: Mapping[str, tuple[float, int]]) -> dict[str, tuple[Alert, Story]]:
    """Episodes from events that the database does not have. One that began before was told of through the database."""
    found: dict[str, tuple[Alert, Story]] = {}
    for event in events:
        key = event.episode_id
        story = Story(event.alert, event.severity, event.summary, event.runbook, event.value, "")
        at, times = told.get(key, (None, 0))
        if event.kind == "firing":
            alert = Alert(key, event.labels, event.at, None, at, times, False, event.repeat_seconds)
            found[key] = (alert, story)
        elif event.kind == "resolved":
            began = event.episode / 1000
            known = found.get(key, (Alert(key, event.labels, began, None, began, 1), story))[0]
            found[key] = (replace(known, ended_at=event.at), story)
    return found
