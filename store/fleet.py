"""Devices as on-call staff see them: when each was last heard, how much it sends, where its credential stands."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from store.db import Db

AT_ONCE = 500  # rows
DEVICES = "select * from iot.device_list() order by tenant, device"
# Device by device along (tenant_id, device_id, ts), newest first. $1: how many days back to look.
HEARD = """
select d.device_id, s.ts as seen_at, coalesce(m.count, 0) as last_minute
from iot.devices d
left join lateral (
  select t.ts from public.telemetry t
  where t.tenant_id = d.tenant_id and t.device_id = d.device_id
    and t.bucket > now() - make_interval(days => $1) and t.bucket <= now() + interval '1 day'
  order by t.ts desc limit 1) s on true
left join lateral (
  select count(*) from public.telemetry t
  where t.tenant_id = d.tenant_id and t.device_id = d.device_id and t.ts > now() - interval '1 minute'
    and t.bucket > now() - interval '1 day 1 minute' and t.bucket <= now() + interval '1 day') m
  on s.ts > now() - interval '1 minute'
where d.tenant_id > 0 and s.ts is not null"""
READINGS = """
select t.ts, t.topic, coalesce(left(t.payload::text, 200), '(' || length(t.payload_raw) || ' bytes)') as payload
from public.telemetry t
where t.tenant_id = $1 and t.device_id = $2 and t.bucket > now() - interval '8 days'
order by t.ts desc limit $3"""
GENERATION = "select coalesce(min(generation), 0) from iot.brokers where checked_at > now() - interval '5 minutes'"


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """credentials: how many are live, two while it moves to a new one. issued_in: the set that brought the newest one.

    old_ends_at: deadline of the old one. first_login_at: of the newest one.
    """

    tenant: str
    device: str
    device_id: int
    tenant_id: int
    disabled: bool
    created_at: datetime
    credentials: int
    issued_at: datetime | None
    issued_in: int | None
    first_login_at: datetime | None
    last_login_at: datetime | None
    old_ends_at: datetime | None

    @property
    def moving(self) -> bool:
        """It has a new credential and still logs in with the old one."""
        return self.credentials > 1 and self.first_login_at is None

    @property
    def name(self) -> str:
        return f"{self.tenant}/{self.device}"


@dataclass(frozen=True, slots=True)
class Heard:
    """last_minute: messages of the last minute."""

    seen_at: datetime
    last_minute: int


@dataclass(frozen=True, slots=True)
class DeviceReading:
    ts: datetime
    topic: str
    payload: str


async def devices(db: Db) -> list[DeviceRow]:
    """Every device of the tenants this login may see, by tenant and name."""
    rows = await db.rows(DEVICES)
    found: list[DeviceRow] = []
    for start in range(0, len(rows), AT_ONCE):
        found += [DeviceRow(**row) for row in rows[start : start + AT_ONCE]]
        await asyncio.sleep(0)  # ten thousand take a tenth of a second, and a key waits for no more than one round
    return found


async def heard(db: Db, days: int) -> dict[int, Heard]:
    """By device id, those that sent something within so many days."""
    rows = await db.rows(HEARD, days)
    return {row["device_id"]: Heard(row["seen_at"], row["last_minute"]) for row in rows}


async def readings(db: Db, tenant_id: int, device_id: int, limit: int) -> Sequence[DeviceReading]:
    """The newest ones first."""
    return [DeviceReading(**row) for row in await db.rows(READINGS, tenant_id, device_id, limit)]


async def generation_in_force(db: Db) -> int:
    """The set that every living broker has."""
    return int(str(await db.value(GENERATION)))
