-- Devices, and what they sent: rows, dead letters, and the rate per minute.
set local role iot_admin;

create table iot.devices (
  tenant_id int not null references iot.tenants,
  device_id bigint generated always as identity,
  name text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  created_at timestamptz not null default now(),
  disabled boolean not null default false,
  primary key (tenant_id, device_id),
  unique (tenant_id, name)
);
create trigger audit after insert or update or delete on iot.devices
  for each row execute function iot.audit();
-- Publishes what the agents read back from the table, to prove the whole way.
insert into iot.devices (tenant_id, name) values (0, 'canary');

-- msg_hash is blake2b-64(topic, NUL, payload), unique inside (tenant, bucket): the bucket first keeps
-- inserts at the right edge of the index. bucket comes from a clamped clock, never straight from a device.
create table public.telemetry (
  tenant_id int not null,
  bucket timestamptz not null,
  msg_hash bigint not null,
  ts timestamptz not null,
  device_id bigint not null,
  topic text not null,
  qos smallint not null,
  payload jsonb,
  payload_raw bytea,
  constraint telemetry_dedup primary key (tenant_id, bucket, msg_hash),
  constraint telemetry_has_payload check (payload is not null or payload_raw is not null)
) partition by range (bucket);
create index telemetry_device_ts on public.telemetry (tenant_id, device_id, ts desc);

-- What people query. Today the table's own policies apply; a barrier view can take its place.
create view iot.telemetry_v with (security_invoker = true) as
  select t.tenant_id, t.device_id, d.name as device, t.ts, t.topic, t.payload, t.payload_raw
  from public.telemetry t join iot.devices d using (tenant_id, device_id);

-- Counted in the statement that inserts. tenant 0 holds what no tenant could be read from.
create table iot.ingest_minute (
  tenant_id int not null,
  minute timestamptz not null,
  agent_id text not null,
  inserted bigint not null default 0,
  duplicates bigint not null default 0,
  dead_letters bigint not null default 0,
  primary key (tenant_id, minute, agent_id)
) with (fillfactor = 50);
create index ingest_minute_minute on iot.ingest_minute (minute);

create type iot.dead_letter_state as enum ('open', 'replayed', 'discarded');

-- One row for each distinct refused message: a device that repeats itself adds to times, not to rows.
create table iot.dead_letters (
  tenant_id int not null,
  dead_letter_id bigint generated always as identity,
  msg_hash bigint not null,
  first_at timestamptz not null,
  last_at timestamptz not null,
  times bigint not null default 1,
  agent_id text not null,
  topic text not null,
  qos smallint not null,
  payload bytea not null,
  reason text not null,
  detail text not null,
  state iot.dead_letter_state not null default 'open',
  closed_by text,
  closed_at timestamptz,
  primary key (tenant_id, dead_letter_id),
  constraint dead_letters_dedup unique (tenant_id, msg_hash)
);
create index dead_letters_recent on iot.dead_letters (last_at desc);

alter table iot.devices enable row level security;
alter table public.telemetry enable row level security;
alter table iot.ingest_minute enable row level security;
alter table iot.dead_letters enable row level security;

create policy agent on iot.devices to iot_agent using (true) with check (true);
create policy agent on public.telemetry to iot_agent using (true) with check (true);
create policy agent on iot.ingest_minute to iot_agent using (true) with check (true);
create policy agent on iot.dead_letters to iot_agent using (true) with check (true);
create policy people on iot.devices for select to iot_viewer
  using (tenant_id = any ((select iot.my_tenants('viewer'))::int[]));
create policy people on public.telemetry for select to iot_viewer
  using (tenant_id = any ((select iot.my_tenants('viewer'))::int[]));
create policy people on iot.ingest_minute for select to iot_viewer
  using (tenant_id = any ((select iot.my_tenants('viewer'))::int[]));
create policy people on iot.dead_letters for select to iot_viewer
  using (tenant_id = any ((select iot.my_tenants('viewer'))::int[]));

-- Old Supabase projects grant everything new in public to these roles; take it back by name.
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
grant select, insert (tenant_id, name) on iot.devices to iot_agent;
grant select, insert, update on iot.ingest_minute to iot_agent;
grant select, insert, update (last_at, times, reason, detail, state) on iot.dead_letters to iot_agent;
grant select on public.telemetry, iot.telemetry_v, iot.devices, iot.ingest_minute, iot.dead_letters to iot_viewer;

-- Daily partitions from first to last, both included. LIKE + ATTACH, because PARTITION OF needs an
-- ACCESS EXCLUSIVE lock on the parent, which one idle reader would hold up together with all inserts.
-- Bounded by the database's clock: an agent whose clock is wrong, or that is not ours, cannot litter.
create function iot.ensure_partitions(first date, last date) returns int
  language plpgsql security definer
  set search_path = '' set lock_timeout = '2s' set timezone = 'UTC' as $$
declare
  day date;
  part text;
  made int := 0;
begin
  if first < current_date - 400 or last > current_date + 60 then
    raise exception 'partitions from % to % are refused: today is % here', first, last, current_date;
  end if;
  for day in select generate_series(first, last, interval '1 day')::date loop
    part := 'telemetry_' || to_char(day, 'YYYYMMDD');
    continue when to_regclass('iot_part.' || part) is not null;
    execute format('create table iot_part.%I (like public.telemetry including all)', part);
    execute format('alter table public.telemetry attach partition iot_part.%I for values from (%L) to (%L)',
                   part, day::timestamptz, (day + 1)::timestamptz);
    made := made + 1;
  end loop;
  return made;
end $$;

-- Drops the oldest partition that is older than keep_days, by the database's clock, and never one of the last 8
-- days; returns its name, or null when none is left. One per call: each needs a short exclusive lock, and must
-- not hold it for the next.
create function iot.drop_oldest_partition(keep_days int) returns text
  language plpgsql security definer
  set search_path = '' set lock_timeout = '1s' set timezone = 'UTC' as $$
declare
  part text;
begin
  select c.relname into part
  from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'public.telemetry'::regclass
    and c.relname < 'telemetry_' || to_char(current_date - greatest(keep_days, 8), 'YYYYMMDD')
  order by c.relname limit 1;
  if part is not null then
    execute format('drop table iot_part.%I', part);
  end if;
  return part;
end $$;

-- Removes rates and dead letters older than keep_days, at least 8, and at most 10 000 of each; returns how many.
create function iot.prune_ingest_history(keep_days int) returns bigint
  language sql security definer set search_path = '' as $$
  with rates as (
    delete from iot.ingest_minute where ctid = any (array(
      select ctid from iot.ingest_minute
      where minute < now() - make_interval(days => greatest(keep_days, 8)) limit 10000)) returning 1),
  letters as (
    delete from iot.dead_letters where ctid = any (array(
      select ctid from iot.dead_letters
      where last_at < now() - make_interval(days => greatest(keep_days, 8)) limit 10000)) returning 1)
  select (select count(*) from rates) + (select count(*) from letters)
$$;

-- A refused batch row by row, in one round trip: stores what can be stored, and returns the positions (from 1) of
-- what cannot, with SQLSTATE and message. As the agent: no right beyond its own.
create function iot.insert_each(
    tenant_ids int[], buckets timestamptz[], msg_hashes bigint[], stamps timestamptz[], device_ids bigint[],
    topics text[], levels smallint[], payloads text[], raw_payloads bytea[], agent text,
    out inserted int, out refused int[], out states text[], out messages text[])
  language plpgsql set search_path = '' as $$
declare
  place text;
  fresh int[] := '{}';
  same int[] := '{}';
begin
  inserted := 0; refused := '{}'; states := '{}'; messages := '{}';
  for i in 1 .. coalesce(cardinality(tenant_ids), 0) loop
    begin
      insert into public.telemetry (tenant_id, bucket, msg_hash, ts, device_id, topic, qos, payload, payload_raw)
      values (tenant_ids[i], buckets[i], msg_hashes[i], stamps[i], device_ids[i], topics[i], levels[i],
              payloads[i]::jsonb, raw_payloads[i])
      on conflict do nothing;
      if found then
        inserted := inserted + 1;
        fresh := fresh || tenant_ids[i];
      else
        same := same || tenant_ids[i];
      end if;
    exception when data_exception or integrity_constraint_violation or program_limit_exceeded then
      get stacked diagnostics place = constraint_name;
      if sqlstate = '23514' and place = '' then
        raise;  -- no partition: the whole batch has to come again once it is made
      end if;
      refused := refused || i; states := states || sqlstate; messages := messages || sqlerrm;
    end;
  end loop;
  insert into iot.ingest_minute (tenant_id, minute, agent_id, inserted, duplicates)
  select t, date_trunc('minute', now()), agent, count(*) filter (where new), count(*) filter (where not new)
  from (select unnest(fresh) as t, true as new union all select unnest(same), false) counted group by t
  on conflict (tenant_id, minute, agent_id) do update
    set inserted = iot.ingest_minute.inserted + excluded.inserted,
        duplicates = iot.ingest_minute.duplicates + excluded.duplicates;
end $$;

grant execute on function iot.ensure_partitions(date, date), iot.drop_oldest_partition(int),
  iot.prune_ingest_history(int),
  iot.insert_each(int[], timestamptz[], bigint[], timestamptz[], bigint[], text[], smallint[], text[], bytea[], text)
  to iot_agent;
