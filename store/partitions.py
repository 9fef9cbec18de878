"""Daily partitions of public.telemetry, and how long history is kept. By the database's clock, not by ours."""

from datetime import date

from store.db import Db

ENSURE = "select iot.ensure_partitions($1, $2)"
DROP_OLDEST = "select iot.drop_oldest_partition($1)"
PRUNE_INGEST = "select iot.prune_ingest_history($1)"
PRUNE_SAMPLES = "select iot.prune_agent_samples()"


async def ensure(db: Db, first: date, last: date) -> int:
    """Make the partitions of all days from first to last; returns how many were missing.

    Raises Unavailable when the days are far from the database's own date.
    """
    made = await db.value(ENSURE, first, last)
    assert isinstance(made, int)
    return made


async def drop_older(db: Db, keep_days: int) -> list[str]:
    """Drop partitions older than so many days (at least 8); returns their names.

    Raises Unavailable when a reader keeps a partition busy: call again later.
    """
    dropped: list[str] = []
    while name := await db.value(DROP_OLDEST, keep_days):
        dropped.append(str(name))
    return dropped


async def prune(db: Db, keep_days: int) -> None:
    """Remove rates and dead letters older than so many days (at least 8), and host samples older than two."""
    while await db.value(PRUNE_INGEST, keep_days):
        pass
    await db.execute(PRUNE_SAMPLES)
