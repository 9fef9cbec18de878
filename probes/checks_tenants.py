"""Whether the database keeps tenants apart: tried with a login of its own, which lives as long as the look."""

import asyncio
import secrets
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from probes.checks import World, check, database
from probes.finding import Finding, failed, judged, passed, unknown
from store import hardening, members
from store.db import Db, connected
from store.errors import StoreError
from store.hardening import Holding
from store.members import LOGIN_PREFIX, PLATFORM, Me, Role
from store.target import Target

LOOK_BACK = timedelta(days=2)
A_MOMENT = timedelta(minutes=1)  # of all rows that are seen, which may be many
FORGOTTEN = timedelta(minutes=10)  # a login that is older was left behind
PREFIX = f"{LOGIN_PREFIX}doctor_"
NAME = "doctor: ends with the look"
_removals: set[asyncio.Task[None]] = set()


async def settled() -> None:
    """Until what was made for a look is gone again; to be waited for before the database is left."""
    while _removals:
        await asyncio.gather(*_removals, return_exceptions=True)


@check("db.isolation")
async def db_isolation(world: World) -> Finding:
    """A person of one tenant sees its rows, and none of another tenant's."""
    db = database(world)
    me = await members.me(db)
    if PLATFORM not in me.roles:
        return await _as_oneself(db, me)
    if not me.may(Role.OWNER, PLATFORM):
        return unknown("it is tried with a login of its own, which only an owner of the service can make")
    await _sweep(db)
    tenants = await hardening.holdings(db, LOOK_BACK)
    mine = next((one for one in tenants if one.rows and one.slug != PLATFORM), None)
    others = [one for one in tenants if mine is not None and one.slug != mine.slug]
    if mine is None or not any(one.rows for one in others) or world.target is None:
        return unknown("fewer than two tenants have rows of the last two days: there is nothing to keep apart")
    login = f"{PREFIX}{secrets.token_hex(4)}"
    try:
        password = await members.create(db, mine.slug, login, NAME, Role.VIEWER)
        return await _as_viewer(world.target, login, password, mine, others)
    finally:  # also when the look was cancelled while the login was made
        removal = asyncio.create_task(_removed(db, mine.slug, login), name=f"remove {login}")
        _removals.add(removal)
        removal.add_done_callback(_removals.discard)
        await asyncio.shield(removal)


async def _removed(db: Db, tenant: str, login: str) -> None:
    for _ in range(3):
        try:
            await members.remove(db, tenant, login)
            return
        except StoreError:  # it may not be there yet, or the database may be away for a moment
            await asyncio.sleep(0.5)


async def _sweep(db: Db) -> None:
    """What a look left behind that was killed."""
    for person in await members.people(db):
        if person.login.startswith(PREFIX) and datetime.now(UTC) - person.created_at > FORGOTTEN:
            for tenant in person.roles:
                with suppress(StoreError):
                    await members.remove(db, tenant, person.login)


async def _as_oneself(db: Db, me: Me) -> Finding:
    """Somebody of a tenant need not know who else there is: whatever is not of the own tenants is too much."""
    foreign = await hardening.foreign_rows(db, A_MOMENT, sorted(me.roles))
    return judged(not foreign, "rows of other tenants are visible" if foreign else "you see no rows of other tenants")


async def _as_viewer(target: Target, login: str, password: str, mine: Holding, others: list[Holding]) -> Finding:
    _, dot, project = target.user.partition(".")  # a pooler wants the project behind the name
    as_viewer = replace(target, user=f"{login}{dot}{project}", password=password)
    async with connected(as_viewer, "iot-console doctor", 1) as db:
        for other in others:
            if await hardening.sees(db, other.tenant_id, LOOK_BACK):
                return failed(f"a viewer of {mine.slug} sees rows of {other.slug}")
            shown = await hardening.tables_that_show(db, other.tenant_id) if other.slug != PLATFORM else []
            if shown:
                return failed(f"a viewer of {mine.slug} sees {shown[0]} of {other.slug}", "\n".join(shown))
        if await hardening.foreign_rows(db, A_MOMENT, [mine.slug]):
            return failed(f"a viewer of {mine.slug} sees rows of other tenants")
        if not await hardening.sees(db, mine.tenant_id, LOOK_BACK):
            return failed(f"a viewer of {mine.slug} does not see the rows of {mine.slug}")
    return passed(f"a viewer of {mine.slug} sees its rows, and none of {len(others)} other tenants")
