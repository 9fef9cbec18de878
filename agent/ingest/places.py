"""Names of tenants and devices to ids, remembered for a while."""

from collections.abc import Collection
from enum import StrEnum

from store import directory
from store.db import Db
from store.directory import Place
from store.errors import Rejected

Name = tuple[str, str]  # (tenant, device)
MOST_NAMES = 200_000


class UnknownDevices(StrEnum):
    """What becomes of messages of a device that a known tenant does not have."""

    REJECT = "reject"
    REGISTER = "register"


class Places:
    """A cache in front of store.directory: for `ttl` seconds what exists, for `missing_ttl` what does not."""

    def __init__(self, db: Db, unknown: UnknownDevices, ttl: float = 60.0, missing_ttl: float = 5.0) -> None:
        self._db = db
        self._unknown = unknown
        self._ttl = ttl
        self._missing_ttl = missing_ttl
        self._known: dict[Name, tuple[Place | None, float]] = {}

    async def find(self, names: Collection[Name], now: float) -> dict[Name, Place | None]:
        """Places of names; None for a tenant that does not exist. Raises Unavailable when it has to ask and cannot."""
        result: dict[Name, Place | None] = {}
        missing = []
        for name in names:
            entry = self._known.get(name)
            if entry is None or entry[1] < now:
                missing.append(name)
            else:
                result[name] = entry[0]
        return result | await self._ask(missing, now) if missing else result

    async def _ask(self, names: Collection[Name], now: float) -> dict[Name, Place | None]:
        found = await directory.find(self._db, names)
        if self._unknown is UnknownDevices.REGISTER:
            new = {(place.tenant_id, name[1]) for name, place in found.items() if place.device_id is None}
            if new and await self._registered(new):
                found = await directory.find(self._db, names)
        if len(self._known) + len(names) > MOST_NAMES:
            self._known.clear()
        for name in names:
            place = found.get(name)
            complete = place is not None and place.device_id is not None
            self._known[name] = (place, now + (self._ttl if complete else self._missing_ttl))
        return {name: found.get(name) for name in names}

    async def _registered(self, devices: set[tuple[int, str]]) -> bool:
        """One name that breaks the rules must not keep the others from being registered."""
        try:
            await directory.register(self._db, devices)
            return True
        except Rejected:
            if len(devices) == 1:
                return False
        done = [await self._registered({device}) for device in sorted(devices)]
        return any(done)
