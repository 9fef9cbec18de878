"""How much was ingested, minute by minute."""

from dataclasses import dataclass
from datetime import datetime

from store.db import Db

BY_MINUTE = """
select minute, sum(inserted)::bigint as inserted, sum(duplicates)::bigint as duplicates,
       sum(dead_letters)::bigint as dead_letters
from iot.ingest_minute
where minute > now() - make_interval(mins => $1) and tenant_id = any (array(select tenant_id from iot.tenants))
group by minute order by minute"""

TODAY = """
select coalesce(sum(inserted), 0)::bigint as inserted, coalesce(sum(duplicates), 0)::bigint as duplicates,
       coalesce(sum(dead_letters), 0)::bigint as dead_letters
from iot.ingest_minute
where minute >= date_trunc('day', now()) and tenant_id = any (array(select tenant_id from iot.tenants))"""


@dataclass(frozen=True, slots=True)
class Minute:
    """Counts of one minute; a minute with no traffic has no row."""

    minute: datetime
    inserted: int
    duplicates: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class Totals:
    inserted: int = 0
    duplicates: int = 0
    dead_letters: int = 0


async def by_minute(db: Db, minutes: int) -> list[Minute]:
    """The last minutes of all tenants the session may see, oldest first."""
    return [Minute(**row) for row in await db.rows(BY_MINUTE, minutes)]


async def today(db: Db) -> Totals:
    """Since midnight of the session's time zone, which store.db sets to UTC."""
    row = await db.row(TODAY)
    assert row is not None
    return Totals(**row)
