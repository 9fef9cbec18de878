"""What the database's catalogue says of its own safety. Everything here may be read by any login."""

from dataclasses import dataclass
from datetime import timedelta

from store.db import Db

TLS = "select coalesce((select ssl from pg_catalog.pg_stat_ssl where pid = pg_backend_pid()), false)"
# logins that are one of ours, with an attribute that would let them out of their role
POWERFUL = """
select r.rolname::text as login, concat_ws(', ', case when r.rolsuper then 'superuser' end,
  case when r.rolbypassrls then 'bypassrls' end, case when r.rolcreaterole then 'createrole' end,
  case when r.rolcreatedb then 'createdb' end, case when r.rolreplication then 'replication' end) as powers
from pg_catalog.pg_roles r
where (r.rolname ~ '^iot_(u|agent)_' or r.rolname in ('iot_viewer', 'iot_operator', 'iot_owner', 'iot_agent'))
  and (r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb or r.rolreplication)
order by 1"""
UNGUARDED = """
select n.nspname || '.' || c.relname as name from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relrowsecurity
  and (n.nspname = 'iot' or (n.nspname = 'public' and c.relname = 'telemetry'))
  and c.relname not in ('migrations', 'migration_lock')  -- they hold nothing of tenants
order by 1"""
# open to everybody: a policy for public, or for Supabase's web roles, that is always true
ALWAYS_TRUE = """
select schemaname || '.' || tablename || ': ' || policyname as name from pg_catalog.pg_policies
where schemaname in ('iot', 'public') and roles && array['public', 'anon', 'authenticated']::name[]
  and coalesce(qual, 'true') = 'true' order by 1"""
EXPOSED = """
select r.rolname || ' may ' || p.privilege || ' ' || n.nspname || '.' || c.relname as name
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join (values ('select'), ('insert'), ('update'), ('delete')) as p (privilege)
join pg_catalog.pg_roles r on r.rolname in ('anon', 'authenticated')
where c.relkind in ('r', 'p', 'v') and (n.nspname in ('iot', 'iot_part') or (n.nspname = 'public' and c.relname = 'telemetry'))
  and pg_catalog.has_table_privilege(r.oid, c.oid, p.privilege)
  and pg_catalog.has_schema_privilege(r.oid, n.oid, 'usage') order by 1 limit 50"""
AGENT_CAN = """
select string_agg(p.privilege, ', ') from (values ('update'), ('delete'), ('truncate')) as p (privilege)
where pg_catalog.has_table_privilege('iot_agent', 'public.telemetry', p.privilege)"""
LOOSE = """
select p.oid::regprocedure::text as name from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where n.nspname in ('iot', 'iot_priv') and p.prosecdef
  and not coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false) order by 1"""
TIMEOUTS = """
select name from pg_catalog.pg_settings
where name in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout') and setting = '0' order by 1"""

HOLDINGS = """
select t.tenant_id, t.slug, exists (
  select from public.telemetry m where m.tenant_id = t.tenant_id and m.bucket > now() - $1::interval) as rows
from iot.tenants t where not t.disabled order by t.tenant_id limit 50"""
SEES = "select exists (select from public.telemetry where tenant_id = $1 and bucket > now() - $2::interval)"
FOREIGN = """
select exists (select from public.telemetry where bucket > now() - $1::interval
               and not tenant_id = any (array(select tenant_id from iot.tenants)))"""
# who may add rows besides the agents: neither the table's owner nor those who can become it
WRITERS = """
select r.rolname::text as login from pg_catalog.pg_roles r, pg_catalog.pg_class c
where c.oid = 'public.telemetry'::regclass and not r.rolsuper and not r.rolname like 'pg\\_%'
  and pg_catalog.has_table_privilege(r.oid, c.oid, 'insert')
  and not pg_catalog.pg_has_role(r.oid, c.relowner, 'member') and not pg_catalog.pg_has_role(r.oid, 'iot_agent', 'member')
order by 1"""


@dataclass(frozen=True, slots=True)
class Holding:
    """A tenant, and whether it has rows of late."""

    tenant_id: int
    slug: str
    rows: bool


@dataclass(frozen=True, slots=True)
class Powerful:
    """A login of ours with an attribute that it must not have."""

    login: str
    powers: str


async def tls(db: Db) -> bool:
    """Whether this session is encrypted."""
    return bool(await db.value(TLS))


async def powerful(db: Db) -> list[Powerful]:
    return [Powerful(**row) for row in await db.rows(POWERFUL)]


async def unguarded(db: Db) -> list[str]:
    """Tables without row level security."""
    return [row["name"] for row in await db.rows(UNGUARDED)]


async def always_true(db: Db) -> list[str]:
    return [row["name"] for row in await db.rows(ALWAYS_TRUE)]


async def exposed(db: Db) -> list[str]:
    """What Supabase's web roles may do with our tables."""
    return [row["name"] for row in await db.rows(EXPOSED)]


async def agent_can(db: Db) -> str:
    """What an agent may do to rows of telemetry besides adding them."""
    return str(await db.value(AGENT_CAN) or "")


async def loose(db: Db) -> list[str]:
    """Functions with their owner's rights that search where the caller says."""
    return [row["name"] for row in await db.rows(LOOSE)]


async def without_timeout(db: Db) -> list[str]:
    return [row["name"] for row in await db.rows(TIMEOUTS)]


async def holdings(db: Db, within: timedelta) -> list[Holding]:
    """The tenants that this session may see."""
    return [Holding(**row) for row in await db.rows(HOLDINGS, within)]


async def sees(db: Db, tenant_id: int, within: timedelta) -> bool:
    """Whether this session sees a row of the tenant's."""
    return bool(await db.value(SEES, tenant_id, within))


async def foreign_rows(db: Db, within: timedelta) -> bool:
    """Whether this session sees a row of a tenant that it does not see."""
    return bool(await db.value(FOREIGN, within))


async def writers(db: Db) -> list[str]:
    """Roles besides the agents' that may add telemetry."""
    return [row["login"] for row in await db.rows(WRITERS)]
