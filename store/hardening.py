"""What the database's catalogue says of its own safety. Everything here may be read by any login."""

from dataclasses import dataclass
from datetime import timedelta

from store.db import Db

# logins of ours that are, or may become, more than their role
POWERFUL = """
select r.rolname::text as login, string_agg(distinct case
    when p.oid = r.oid then concat_ws(', ', case when r.rolsuper then 'superuser' end,
      case when r.rolbypassrls then 'bypassrls' end, case when r.rolcreaterole then 'createrole' end,
      case when r.rolcreatedb then 'createdb' end, case when r.rolreplication then 'replication' end)
    else 'member of ' || p.rolname end, ', ') as powers
from pg_catalog.pg_roles r
join pg_catalog.pg_roles p on p.oid = r.oid or pg_catalog.pg_has_role(r.oid, p.oid, 'member')
where (r.rolname ~ '^iot_(u|agent)_' or r.rolname in ('iot_viewer', 'iot_operator', 'iot_owner', 'iot_agent'))
  and (p.rolsuper or p.rolbypassrls or p.rolcreaterole or p.rolcreatedb or p.rolreplication
       or p.rolname in ('pg_read_all_data', 'pg_write_all_data', 'pg_execute_server_program', 'pg_read_server_files',
                        'pg_write_server_files')
       or p.oid = (select relowner from pg_catalog.pg_class where oid = 'public.telemetry'::regclass))
group by r.rolname order by 1"""
# what this session is, beyond a login of an agent
OWN = """
select session_user::text as login, r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolcreatedb as mighty,
  pg_catalog.pg_has_role(r.oid, c.relowner, 'member') as owns
from pg_catalog.pg_roles r, pg_catalog.pg_class c
where r.rolname = session_user and c.oid = 'public.telemetry'::regclass"""
UNGUARDED = """
select n.nspname || '.' || c.relname as name from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relrowsecurity
  and (n.nspname = 'iot' or (n.nspname = 'public' and c.relname = 'telemetry'))
  and c.relname not in ('migrations', 'migration_lock')  -- they hold nothing of tenants
order by 1"""
# always true: of rows of tenants for anybody but agents, who serve all of them; of others for everybody and the web
ALWAYS_TRUE = """
select p.schemaname || '.' || p.tablename || ': ' || p.policyname as name from pg_catalog.pg_policies p
where p.schemaname in ('iot', 'public', 'iot_part') and coalesce(p.qual, 'true') in ('true', '(1 = 1)')
  and p.tablename <> 'rotation_policy'  -- one row for each policy, of the service, which all may read
  and coalesce(p.with_check, 'true') in ('true', '(1 = 1)')
  and (p.roles && array['public', 'anon', 'authenticated']::name[]
       or not p.roles <@ array['iot_agent', 'iot_admin']::name[] and exists (
         select from pg_catalog.pg_attribute a
         where a.attrelid = format('%I.%I', p.schemaname, p.tablename)::regclass and a.attname = 'tenant_id'
           and not a.attisdropped))
order by 1"""
EXPOSED = """
select r.rolname || ' may ' || p.privilege || ' ' || n.nspname || '.' || c.relname as name
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join (values ('select'), ('insert'), ('update'), ('references')) as p (privilege)
join pg_catalog.pg_roles r on r.rolname in ('anon', 'authenticated', 'service_role')
where c.relkind in ('r', 'p', 'v', 'm')
  and (n.nspname in ('iot', 'iot_part') or (n.nspname = 'public' and c.relname = 'telemetry'))
  and pg_catalog.has_any_column_privilege(r.oid, c.oid, p.privilege)
  and pg_catalog.has_schema_privilege(r.oid, n.oid, 'usage')
union all
select r.rolname || ' may execute ' || f.oid::regprocedure::text
from pg_catalog.pg_proc f join pg_catalog.pg_namespace n on n.oid = f.pronamespace
join pg_catalog.pg_roles r on r.rolname in ('anon', 'authenticated', 'service_role')
where n.nspname in ('iot', 'iot_priv') and pg_catalog.has_function_privilege(r.oid, f.oid, 'execute')
  and pg_catalog.has_schema_privilege(r.oid, n.oid, 'usage')
order by 1 limit 50"""
AGENT_CAN = """
select string_agg(distinct r.rolname || ' may ' || p.privilege, ', ')
from pg_catalog.pg_class c
cross join (values ('update'), ('delete'), ('truncate')) as p (privilege)
join pg_catalog.pg_roles r on r.rolname = 'iot_agent' or pg_catalog.pg_has_role(r.oid, 'iot_agent', 'member')
where (c.oid = 'public.telemetry'::regclass or c.relnamespace = 'iot_part'::regnamespace and c.relkind = 'r')
  and not r.rolsuper and not pg_catalog.pg_has_role(r.oid, c.relowner, 'member')
  and case when p.privilege = 'update' then pg_catalog.has_any_column_privilege(r.oid, c.oid, p.privilege)
           else pg_catalog.has_table_privilege(r.oid, c.oid, p.privilege) end"""
# tables of tenants that this session may read
OF_TENANTS = """
select c.oid::regclass::text as name from pg_catalog.pg_class c
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'iot' and c.relkind in ('r', 'p', 'v', 'm')
  and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_column_privilege(c.oid, a.attnum, 'select')
order by 1"""
OURS = "select tenant_id from iot.tenants where slug = any ($1)"
LOOSE = """
select p.oid::regprocedure::text as name from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where n.nspname in ('iot', 'iot_priv') and p.prosecdef
  and not coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false) order by 1"""
HOLDINGS = """
select t.tenant_id, t.slug, exists (
  select from iot.ingest_minute m
  where m.tenant_id = t.tenant_id and m.minute > now() - $1::interval and m.inserted > 0) as rows
from iot.tenants t where not t.disabled order by t.tenant_id limit 50"""
# in the order of the index, so that the first row ends it
SEES = """
select exists (select from (
  select 1 from public.telemetry where tenant_id = $1 and bucket > now() - $2::interval
  order by bucket desc limit 1) newest)"""
FOREIGN = """
select exists (select from public.telemetry where bucket > now() - $1::interval and not tenant_id = any ($2))"""
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


async def powerful(db: Db) -> list[Powerful]:
    return [Powerful(**row) for row in await db.rows(POWERFUL)]


async def own(db: Db) -> tuple[str, bool]:
    """(login of this session, whether it is more than an agent needs)."""
    row = await db.row(OWN)
    assert row is not None
    return row["login"], row["mighty"] or row["owns"]


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


async def holdings(db: Db, within: timedelta) -> list[Holding]:
    """The tenants that this session may see."""
    return [Holding(**row) for row in await db.rows(HOLDINGS, within)]


async def sees(db: Db, tenant_id: int, within: timedelta) -> bool:
    """Whether this session sees a row of the tenant's."""
    return bool(await db.value(SEES, tenant_id, within))


async def foreign_rows(db: Db, within: timedelta, slugs: list[str]) -> bool:
    """Whether this session sees a row of another tenant than those."""
    ours = [row["tenant_id"] for row in await db.rows(OURS, slugs)]
    return bool(await db.value(FOREIGN, within, ours))


async def tables_that_show(db: Db, tenant_id: int) -> list[str]:
    """Tables in which this session sees rows of a tenant."""
    names = [row["name"] for row in await db.rows(OF_TENANTS)]  # as the server quotes them
    return [
        name
        for name in names
        if await db.value(f"select exists (select from {name} where tenant_id = $1)", tenant_id)  # noqa: S608
    ]


async def writers(db: Db) -> list[str]:
    """Roles besides the agents' that may add telemetry."""
    return [row["login"] for row in await db.rows(WRITERS)]
