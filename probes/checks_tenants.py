"""Whether the database keeps tenants apart: tried with a login of its own, which lives as long as the look."""

import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from probes.checks import World, check, database
from probes.finding import Finding, failed, judged, passed, unknown
from store import hardening, members
from store.db import Db, connected
from store.errors import StoreError
from store.hardening import Holding
from store.members import LOGIN_PREFIX, PLATFORM, Role
from store.target import Target

LOOK_BACK = timedelta(days=2)
NAME = "doctor: ends with the look"


@check("db.isolation")
async def db_isolation(world: World) -> Finding:
    """A person of one tenant sees its rows, and none of another tenant's."""
    db = database(world)
    me = await members.me(db)
    if not me.may(Role.OWNER, PLATFORM):
        return await _as_oneself(db)
    held = [one for one in await hardening.holdings(db, LOOK_BACK) if one.rows]
    mine = next((one for one in held if one.slug != PLATFORM), None)
    others = [one for one in held if mine is not None and one.slug != mine.slug]
    if mine is None or not others or world.target is None:
        return unknown("fewer than two tenants have rows of the last two days: there is nothing to keep apart")
    login = f"{LOGIN_PREFIX}doctor_{secrets.token_hex(4)}"
    password = await members.create(db, mine.slug, login, NAME, Role.VIEWER)
    try:
        return await _as_viewer(world.target, login, password, mine, others)
    finally:
        await members.remove(db, mine.slug, login)


async def _as_oneself(db: Db) -> Finding:
    """Somebody of a tenant need not know who else there is: whatever is not of the own tenants is too much."""
    foreign = await hardening.foreign_rows(db, LOOK_BACK)
    return judged(not foreign, "rows of other tenants are visible" if foreign else "you see no rows of other tenants")


async def _as_viewer(target: Target, login: str, password: str, mine: Holding, others: list[Holding]) -> Finding:
    _, dot, project = target.user.partition(".")  # a pooler wants the project behind the name
    as_viewer = replace(target, user=f"{login}{dot}{project}", password=password)
    async with connected(as_viewer, "iot-console doctor", 1) as db:
        for other in others:
            if await hardening.sees(db, other.tenant_id, LOOK_BACK):
                return failed(f"a viewer of {mine.slug} sees rows of {other.slug}")
        with suppress(StoreError):  # a table that is not theirs at all is as good
            if await hardening.foreign_rows(db, LOOK_BACK):
                return failed(f"a viewer of {mine.slug} sees rows of other tenants")
        if not await hardening.sees(db, mine.tenant_id, LOOK_BACK):
            return failed(f"a viewer of {mine.slug} does not see the rows of {mine.slug}")
    return passed(f"a viewer of {mine.slug} sees its rows, and none of {', '.join(one.slug for one in others)}")
