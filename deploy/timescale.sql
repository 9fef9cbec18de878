-- public.telemetry as a hypertable of TimescaleDB, in the place of our own partitions: docs/scale-out.md.
-- As the owner of the database, after `iot-agent migrate` and before the first agent runs.
do $$ begin
  if exists (select from public.telemetry) then
    raise exception 'public.telemetry has rows: this is for a new database';
  end if;
end $$;

begin;
set local role iot_admin;
create table iot_part.plain (like public.telemetry including all);
drop view iot.telemetry_v;
drop table public.telemetry;
alter table iot_part.plain rename to telemetry;
alter table iot_part.telemetry set schema public;

alter table public.telemetry enable row level security;
create policy agent on public.telemetry to iot_agent using (true) with check (true);
create policy people on public.telemetry for select to iot_viewer
  using (tenant_id = any ((select iot.my_tenants('viewer'))::int[]));
do $$
declare
  api_role text;
begin
  foreach api_role in array array['anon', 'authenticated', 'service_role'] loop
    if exists (select from pg_catalog.pg_roles where rolname = api_role) then
      execute format('revoke all on public.telemetry from %I', api_role);
    end if;
  end loop;
end $$;
revoke all on public.telemetry from public;
grant select, insert on public.telemetry to iot_agent;
grant select on public.telemetry to iot_viewer;
create view iot.telemetry_v with (security_invoker = true) as
  select t.tenant_id, t.device_id, d.name as device, t.ts, t.topic, t.payload, t.payload_raw
  from public.telemetry t join iot.devices d using (tenant_id, device_id);
grant select on iot.telemetry_v to iot_viewer;

-- Chunks are made and dropped by TimescaleDB.
create or replace function iot.ensure_partitions(first date, last date) returns int
  language sql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' set timezone = 'UTC' as 'select 0';
create or replace function iot.drop_oldest_partition(keep_days int) returns text
  language sql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '1s' set timezone = 'UTC' as 'select null::text';
commit;

create extension if not exists timescaledb;
select create_hypertable('public.telemetry', by_range('bucket', interval '1 day'));
select add_retention_policy('public.telemetry', drop_after => interval '90 days');
