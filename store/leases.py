"""Duties that one agent at a time performs. A lease row, because any login can hold an advisory lock."""

from store.db import Db

TAKE = """
insert into iot.leases as l (name, holder, epoch, expires_at)
values ($1, $2, 1, now() + make_interval(secs => $3))
on conflict (name) do update
  set holder = excluded.holder, expires_at = excluded.expires_at,
      epoch = l.epoch + (l.holder <> excluded.holder)::int
  where l.holder = excluded.holder or l.expires_at < now()
returning epoch"""


async def take(db: Db, name: str, holder: str, seconds: float) -> int | None:
    """Take or renew a lease; returns its epoch, or None while another holds it."""
    epoch = await db.value(TAKE, name, holder, seconds)
    assert epoch is None or isinstance(epoch, int)
    return epoch
