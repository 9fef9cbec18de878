"""What others see of a broker's credentials: the agent's status, and a row in the database."""

from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from agent.creds.verify import Access
from probes.certificates import Served, served
from store import brokers
from store.brokers import Broker
from store.db import Db
from store.errors import StoreError

log = structlog.get_logger()
CERTIFICATE_SECONDS = 60.0


@dataclass(slots=True)
class CredsHealth:
    """For the status row. desired: the newest set, None while the database is away."""

    state: str = "pending"
    detail: str = "not looked yet"
    generation: int = 0
    desired: int | None = None
    entries: int = 0
    certificate: Served | None = None
    certificate_error: str | None = None


class Bulletin:
    """Of one broker."""

    def __init__(self, db: Db, broker_id: str, access: Access) -> None:
        self._db = db
        self._broker_id = broker_id
        self._device = access.device
        self._looked_at = 0.0

    async def look_at_certificate(self, health: CredsHealth, now: float) -> None:
        """Once a minute, as a device sees it."""
        if now - self._looked_at < CERTIFICATE_SECONDS:
            return
        self._looked_at = now
        device = self._device
        try:
            health.certificate = await served(device.host, device.port, device.tls)
            health.certificate_error = None
        except (OSError, TimeoutError) as error:
            health.certificate_error = str(error) or "no answer"

    async def put(self, health: CredsHealth, version: str | None, identity_made_at: float) -> None:
        """Into the database; when that is away, it is written the next time."""
        certificate = health.certificate
        row = Broker(
            broker_id=self._broker_id,
            generation=health.generation,
            state=health.state,
            detail=health.detail,
            entries=health.entries,
            version=version,
            identity_since=_moment(identity_made_at),
            certificate_until=_moment(certificate.until if certificate else None),
            ca_until=_moment(certificate.ca_until if certificate else None),
        )
        try:
            await brokers.put(self._db, row)
        except StoreError as error:
            log.debug("broker row not written", error=str(error))


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
