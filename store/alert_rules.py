"""Rules in the database: the copy of the agents' file, tenants' own rules, and their numbers for templates."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from store.db import Db

CHANNEL = "iot_rules"
REVISION = """
select coalesce((select max(revision) from iot.alert_rules where origin = 'tenant'), 0)
     + coalesce((select max(revision) from iot.alert_params), 0)
     + (select count(*) from iot.alert_rules where origin = 'tenant')
     + (select count(*) from iot.tenants where not disabled) as mark"""
OF_TENANTS = """
select r.rule_key, t.slug as tenant, r.name, r.body, r.revision, r.error
from iot.alert_rules r join iot.tenants t using (tenant_id)
where r.origin = 'tenant' and not t.disabled order by r.rule_key"""
PARAMS = """
select t.slug as tenant, p.name, p.params, p.disabled from iot.alert_params p join iot.tenants t using (tenant_id)"""
TENANTS = "select slug from iot.tenants where tenant_id > 0 and not disabled order by slug"
SET_ERROR = "update iot.alert_rules set error = $2 where rule_key = $1 and error is distinct from $2"
FILE_RULES = "select rule_key, body from iot.alert_rules where origin = 'file'"
DROP_FILE = "delete from iot.alert_rules where origin = 'file' and rule_key = any($1::text[])"
PUT_FILE = """
insert into iot.alert_rules (rule_key, tenant_id, name, origin, body)
select x.rule_key, 0, x.rule_key, 'file', x.body from unnest($1::text[], $2::text[]::jsonb[]) as x(rule_key, body)
on conflict (rule_key) do nothing"""
ALL = """
select r.rule_key, r.origin, t.slug as tenant, r.name, r.body, r.revision, r.updated_at, r.updated_by, r.error,
       u.evaluator, u.evaluated_at, u.series, u.open, u.refused, u.took_ms, u.error as evaluation_error
from iot.alert_rules r join iot.tenants t using (tenant_id)
left join iot.alert_runtime u using (rule_key)
where ($1::text is null or r.rule_key = $1)
order by r.origin, r.rule_key, u.evaluator"""
PUT = "select iot.rule_put($1, $2, $3, $4)"
DELETE = "select iot.rule_delete($1, $2, $3)"
PUT_PARAMS = "select iot.param_put($1, $2, $3, $4)"
REQUEST = "select iot.rule_request($1)"
OPEN_REQUESTS = """
select request_id, rule_key from iot.rule_requests
where answered_at is null and expires_at > clock_timestamp() order by request_id"""
ANSWER = """
update iot.rule_requests set answered_at = clock_timestamp(), answered_by = $2, answer = $3
where request_id = $1 and answered_at is null"""
ANSWERED = "select answer from iot.rule_requests where request_id = $1 and answered_at is not null"


@dataclass(frozen=True, slots=True)
class TenantRule:
    """A tenant's own rule, as it was written. error: what was wrong with it when an agent last looked."""

    rule_key: str
    tenant: str
    name: str
    body: dict[str, Any]
    revision: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Numbers:
    """A tenant's numbers for a template."""

    tenant: str
    name: str
    params: dict[str, float]
    disabled: bool


@dataclass(frozen=True, slots=True)
class Evaluated:
    """How one evaluator fares with a rule. evaluator is '' for what any agent can see."""

    evaluator: str
    at: datetime
    series: int
    open: int
    refused: int
    took_ms: float
    error: str | None


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule as people see it. origin is file or tenant."""

    rule_key: str
    origin: str
    tenant: str
    name: str
    body: dict[str, Any]
    revision: int
    updated_at: datetime
    updated_by: str
    error: str | None
    evaluated: tuple[Evaluated, ...]


async def mark(db: Db) -> int:
    """Changes whenever a tenant's rule, a number or a tenant does."""
    found = await db.value(REVISION)
    return int(str(found))


async def of_tenants(db: Db) -> list[TenantRule]:
    return [TenantRule(**dict(row) | {"body": orjson.loads(row["body"])}) for row in await db.rows(OF_TENANTS)]


async def numbers(db: Db) -> list[Numbers]:
    return [Numbers(**dict(row) | {"params": orjson.loads(row["params"])}) for row in await db.rows(PARAMS)]


async def live_tenants(db: Db) -> list[str]:
    """Slugs of tenants that are not disabled, the service itself left out."""
    return [row["slug"] for row in await db.rows(TENANTS)]


async def set_error(db: Db, rule_key: str, error: str | None) -> None:
    await db.execute(SET_ERROR, rule_key, error)


async def mirror_file(db: Db, bodies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Make the copy of the file's rules equal to these; returns the keys that are gone or are another rule now."""
    async with db.transaction() as same:
        known = {row["rule_key"]: orjson.loads(row["body"]) for row in await same.rows(FILE_RULES)}
        stale = [key for key, body in known.items() if body != bodies.get(key)]
        fresh = {key: body for key, body in bodies.items() if key not in known or key in stale}
        if stale:
            await same.execute(DROP_FILE, stale)
        if fresh:
            texts = [orjson.dumps(body).decode() for body in fresh.values()]
            await same.execute(PUT_FILE, list(fresh), texts)
    return stale


async def all_rules(db: Db, rule_key: str | None = None) -> list[RuleRow]:
    """The rules this login may see, with how each evaluator fares."""
    found: dict[str, RuleRow] = {}
    for row in await db.rows(ALL, rule_key):
        known = found.get(row["rule_key"])
        evaluated = known.evaluated if known else ()
        if row["evaluator"] is not None:
            seen = Evaluated(row["evaluator"], row["evaluated_at"], row["series"], row["open"], row["refused"],
                             row["took_ms"], row["evaluation_error"])  # fmt: skip
            evaluated = (*evaluated, seen)
        found[row["rule_key"]] = RuleRow(
            row["rule_key"], row["origin"], row["tenant"], row["name"], orjson.loads(row["body"]), row["revision"],
            row["updated_at"], row["updated_by"], row["error"], evaluated,
        )  # fmt: skip
    return list(found.values())


async def put(db: Db, tenant: str, name: str, body: Mapping[str, Any], expected: int) -> int:
    """Create (expected 0) or change a tenant's rule; returns its revision. Raises Conflict, Denied."""
    return int(str(await db.value(PUT, tenant, name, orjson.dumps(body).decode(), expected)))


async def delete(db: Db, tenant: str, name: str, expected: int) -> None:
    await db.execute(DELETE, tenant, name, expected)


async def put_numbers(db: Db, tenant: str, template: str, params: Mapping[str, float], disabled: bool) -> None:
    await db.execute(PUT_PARAMS, tenant, template, orjson.dumps(params).decode(), disabled)


async def request(db: Db, rule_key: str) -> int:
    """Ask for an evaluation now; returns the request's number."""
    return int(str(await db.value(REQUEST, rule_key)))


async def open_requests(db: Db) -> list[tuple[int, str]]:
    """(number, rule key) of requests that wait."""
    return [(row["request_id"], row["rule_key"]) for row in await db.rows(OPEN_REQUESTS)]


async def answer(db: Db, request_id: int, agent_id: str, found: Mapping[str, Any]) -> None:
    await db.execute(ANSWER, request_id, agent_id, orjson.dumps(found).decode())


async def answered(db: Db, request_id: int) -> dict[str, Any] | None:
    found = await db.value(ANSWERED, request_id)
    return None if found is None else dict(orjson.loads(str(found)))


async def wait_for_answer(db: Db, request_id: int, seconds: float) -> dict[str, Any] | None:
    """What an agent found; None when none answered in time."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        found = await answered(db, request_id)
        if found is not None:
            return found
        await asyncio.sleep(0.1)
    return None
