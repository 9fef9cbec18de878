"""Tenants and devices by name."""

from collections.abc import Collection
from dataclasses import dataclass

from store.db import Db

FIND = """
select t.slug as tenant, x.device, t.tenant_id, d.device_id, t.disabled or coalesce(d.disabled, false) as disabled
from unnest($1::text[], $2::text[]) as x(tenant, device)
join iot.tenants t on t.slug = x.tenant
left join iot.devices d on d.tenant_id = t.tenant_id and d.name = x.device"""

REGISTER = """
insert into iot.devices (tenant_id, name)
select * from unnest($1::int[], $2::text[])
on conflict (tenant_id, name) do nothing"""

CREATE_TENANT = """
insert into iot.tenants (slug, name) values ($1, $2)
on conflict (slug) do update set name = excluded.name
returning tenant_id"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a (tenant, device) pair of names stands. device_id is None when only the tenant is known."""

    tenant_id: int
    device_id: int | None
    disabled: bool


async def find(db: Db, names: Collection[tuple[str, str]]) -> dict[tuple[str, str], Place]:
    """Places of (tenant, device) names; a name whose tenant does not exist is left out."""
    rows = await db.rows(FIND, [n[0] for n in names], [n[1] for n in names])
    return {(r["tenant"], r["device"]): Place(r["tenant_id"], r["device_id"], r["disabled"]) for r in rows}


async def register(db: Db, devices: Collection[tuple[int, str]]) -> None:
    """Create devices by (tenant_id, name); those that exist stay as they are.

    Raises Rejected when a name is not of the form [a-z0-9][a-z0-9-]{0,62}.
    """
    await db.execute(REGISTER, [d[0] for d in devices], [d[1] for d in devices])


async def tenants(db: Db) -> set[str]:
    """Names of the tenants that this login can see."""
    return {row["slug"] for row in await db.rows("select slug from iot.tenants")}


async def create_tenant(db: Db, slug: str, name: str) -> int:
    """Create a tenant, or rename it; returns its id. For the owner of the database."""
    tenant_id = await db.value(CREATE_TENANT, slug, name)
    assert isinstance(tenant_id, int)
    return tenant_id
