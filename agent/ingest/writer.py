"""A batch of deliveries into the database: decode, drop what is stored already, insert, dead-letter the rest."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from agent.ingest.decode import Limits, Reason, Refusal, claimed_bucket, decode, moment
from agent.ingest.delivery import Delivery
from agent.ingest.places import Places
from agent.ingest.topics import Route, TopicTemplate, matches
from store import dead_letters, partitions, telemetry
from store.db import Db
from store.dead_letters import DeadLetter
from store.directory import Place
from store.errors import NoPartition, Rejected
from store.message import message_hash
from store.telemetry import Reading, Refused

log = structlog.get_logger()
MOST_TOPICS = 100_000
DAY = timedelta(days=1)
MOST_DAYS_BACK = 400  # as far as partitions go


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch: counts that add up to its length."""

    inserted: int
    duplicates: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class Names:
    """How an agent and one process of it are called in the database: "iot-agent vm-1", "iot-agent vm-1 4711"."""

    agent_id: str
    process: str

    @property
    def session_prefix(self) -> str:
        return f"iot-agent {self.agent_id} "

    @property
    def session_name(self) -> str:
        return f"{self.session_prefix}{self.process}"


class Writer:
    """Stateless but for its caches. A call that raises Unavailable may be repeated: rows are stored once."""

    def __init__(
        self, db: Db, names: Names, template: TopicTemplate, raw_channels: Sequence[str], limits: Limits, places: Places
    ) -> None:
        self._db = db
        self._agent_id = names.agent_id
        self._session_prefix = names.session_prefix
        self._session_name = names.session_name
        self._template = template
        self._raw_channels = tuple(raw_channels)
        self._limits = limits
        self._places = places
        self._routes: dict[str, Route | None] = {}
        self._former_ended = False

    async def probe(self) -> None:
        """See whether the database takes writes. Raises Unavailable or Misconfigured."""
        await telemetry.probe(self._db)

    async def write(self, batch: Sequence[Delivery]) -> Outcome:
        """Store a batch. Raises Unavailable or Misconfigured: part may be stored, all of it must come again."""
        readings, letters, suspects = await self._decode(batch)
        known = await self._known(readings, suspects)
        fresh = [r for i, r in enumerate(readings) if i not in known] if known else readings
        inserted = await self._insert(fresh, letters)
        if known:
            await telemetry.count_duplicates(self._db, [readings[i].tenant_id for i in known], self._agent_id)
        if letters:
            await dead_letters.put(self._db, letters, self._agent_id)
        return Outcome(inserted, len(batch) - inserted - len(letters), len(letters))

    async def write_one(self, delivery: Delivery) -> DeadLetter | None:
        """Store one message that is known already as a dead letter; returns it when it is refused again."""
        readings, letters, suspects = await self._decode([delivery])
        known = await self._known(readings, suspects)
        if readings and not known:
            await self._insert(readings, letters)
        return letters[0] if letters else None

    async def _decode(self, batch: Sequence[Delivery]) -> tuple[list[Reading], list[DeadLetter], dict[int, Delivery]]:
        """Readings, dead letters, and by index into the readings the deliveries that may be stored already."""
        targets = await self._targets({delivery.topic for delivery in batch})
        readings: list[Reading] = []
        letters: list[DeadLetter] = []
        suspects: dict[int, Delivery] = {}
        limits = self._limits
        for delivery in batch:
            target = targets[delivery.topic]
            result = decode(delivery, target[0], target[1], limits) if type(target) is tuple else target
            if type(result) is Reading:
                if delivery.since is not None:
                    suspects[len(readings)] = delivery
                readings.append(result)
            else:
                assert isinstance(result, Refusal)
                place = target[1] if type(target) is tuple else None
                letters.append(self._letter(delivery, place, result))
        return readings, letters, suspects

    async def _targets(self, topics: Collection[str]) -> dict[str, tuple[Route, Place] | Refusal]:
        """Where the messages of each topic go, or why they go nowhere. Once a topic and batch, not once a message."""
        routes = {topic: self._route(topic) for topic in topics}
        names = {(route.tenant, route.device) for route in routes.values() if route is not None}
        places = await self._places.find(names, time.monotonic())
        targets: dict[str, tuple[Route, Place] | Refusal] = {}
        for topic, route in routes.items():
            place = places[route.tenant, route.device] if route is not None else None
            if route is None:
                targets[topic] = Refusal(Reason.TOPIC, f"does not fit the topic template {self._template.text}")
            elif place is None:
                targets[topic] = Refusal(Reason.UNKNOWN_TENANT, f"there is no tenant {route.tenant}")
            else:
                targets[topic] = (route, place)
        return targets

    def _route(self, topic: str) -> Route | None:
        try:
            return self._routes[topic]
        except KeyError:
            pass
        found = self._template.match(topic)
        route = None
        if found is not None:
            tenant, device, channel = found
            route = Route(tenant, device, channel, any(matches(f, channel) for f in self._raw_channels))
        if len(self._routes) >= MOST_TOPICS:
            self._routes.clear()
        self._routes[topic] = route
        return route

    async def _known(self, readings: Sequence[Reading], suspects: dict[int, Delivery]) -> set[int]:
        """Indexes of the readings that are stored, under whatever bucket they had the first time."""
        probes: dict[tuple[int, datetime, int], int] = {}
        for i, reading in enumerate(readings):
            if reading.sequenced or i in suspects:
                for bucket in self._earlier_buckets(reading, suspects.get(i)):
                    probes[reading.tenant_id, bucket, reading.msg_hash] = i
        if not probes and not suspects:
            return set()
        if suspects:
            await self._alone()
        stored = await telemetry.stored_in_buckets(self._db, probes.keys())
        known = {i for (tenant_id, _, msg_hash), i in probes.items() if (tenant_id, msg_hash) in stored}
        if suspects:
            keys = {i: (readings[i].tenant_id, readings[i].msg_hash) for i in suspects}
            first = min(min(d.since, d.received_at) for d in suspects.values() if d.since is not None)
            last = max(d.received_at for d in suspects.values())
            width = timedelta(seconds=self._limits.bucket_seconds)
            stored = await telemetry.stored_between(self._db, set(keys.values()), moment(first) - width, moment(last))
            known |= {i for i, key in keys.items() if key in stored}
        return known

    def _earlier_buckets(self, reading: Reading, suspect: Delivery | None) -> set[datetime]:
        """Buckets outside the arrival range in which an earlier copy can be: other days, and the time it claims."""
        buckets: set[datetime] = set()
        first_day = reading.bucket - DAY
        if suspect is not None:
            claimed = claimed_bucket(suspect.payload, self._limits)
            if claimed is not None and claimed != reading.bucket:
                buckets.add(claimed)
            if suspect.since is not None:
                first_day = min(first_day, moment(suspect.since // 86_400 * 86_400))
        if reading.sequenced:
            days = (reading.bucket - first_day).days
            buckets |= {reading.bucket - DAY * n for n in range(1, min(days, MOST_DAYS_BACK) + 1)}
        return buckets

    async def _alone(self) -> None:
        """Once: end what a killed process of this agent may still be writing, which our reads could not see."""
        if not self._former_ended:
            await telemetry.end_former_sessions(self._db, self._session_prefix, self._session_name)
            self._former_ended = True

    async def _insert(self, readings: Sequence[Reading], letters: list[DeadLetter]) -> int:
        """Insert; what the database refuses for good becomes a dead letter, and its neighbours are stored."""
        if not readings:
            return 0
        try:
            return await telemetry.insert(self._db, readings, self._agent_id)
        except NoPartition:
            await self._make_partitions(readings)
            return await self._insert_each(readings, letters)
        except Rejected:
            return await self._insert_each(readings, letters)

    async def _insert_each(self, readings: Sequence[Reading], letters: list[DeadLetter]) -> int:
        inserted, refused = await telemetry.insert_each(self._db, readings, self._agent_id)
        if refused:
            log.warning("rows refused by the database", count=len(refused), first=refused[0].message)
        letters += [self._refused(readings[item.index], item) for item in refused]
        return inserted

    async def _make_partitions(self, readings: Sequence[Reading]) -> None:
        days = [reading.bucket.date() for reading in readings]
        made = await partitions.ensure(self._db, min(days), max(days))
        log.warning("partitions were missing and have been made", first=str(min(days)), last=str(max(days)), made=made)

    def _letter(self, delivery: Delivery, place: Place | None, refusal: Refusal) -> DeadLetter:
        return DeadLetter(
            tenant_id=place.tenant_id if place is not None else 0,
            msg_hash=message_hash(delivery.topic, delivery.payload),
            at=moment(delivery.received_at),
            topic=delivery.topic,
            qos=delivery.qos,
            payload=delivery.payload,
            reason=refusal.reason,
            detail=refusal.detail,
        )

    def _refused(self, reading: Reading, refused: Refused) -> DeadLetter:
        payload = reading.payload_raw if reading.payload is None else reading.payload.encode()
        assert payload is not None
        return DeadLetter(
            tenant_id=reading.tenant_id,
            msg_hash=reading.msg_hash,
            at=datetime.now(UTC),
            topic=reading.topic,
            qos=reading.qos,
            payload=payload,
            reason=Reason.DATABASE,
            detail=f"{refused.message} (SQLSTATE {refused.sqlstate})",
        )
