-- What agents say of themselves, and which of them holds which duty.
set local role iot_admin;

-- One row an agent. beat_at is the agent's clock, seen_at the database's: they tell a late row from a wrong clock.
create table iot.agents (
  agent_id text primary key check (agent_id ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
  version text not null,
  started_at timestamptz not null,
  beat_at timestamptz not null,
  seen_at timestamptz not null default now(),
  status jsonb not null
) with (fillfactor = 50);

-- One row an agent and beat, kept for two days. Written late after an outage with the time it was measured.
create table iot.agent_samples (
  agent_id text not null,
  at timestamptz not null,
  cpu_percent real not null,
  memory_percent real not null,
  disk_percent real not null,
  load_1m real not null,
  spool_rows bigint not null,
  errors bigint not null,
  write_p95_ms real,
  canary_ms real,
  primary key (agent_id, at)
);
create index agent_samples_at on iot.agent_samples (at);

-- epoch grows with every change of holder: a write that carries an old epoch comes from a former holder.
create table iot.leases (
  name text primary key,
  holder text not null,
  epoch bigint not null,
  expires_at timestamptz not null
);

alter table iot.agents enable row level security;
alter table iot.agent_samples enable row level security;
alter table iot.leases enable row level security;

create policy agent on iot.agents to iot_agent using (true) with check (true);
create policy agent on iot.agent_samples to iot_agent using (true) with check (true);
create policy agent on iot.leases to iot_agent using (true) with check (true);
create policy people on iot.agents for select to iot_viewer using (true);
create policy people on iot.agent_samples for select to iot_viewer using (true);

grant select, insert, update on iot.agents, iot.leases to iot_agent;
grant select, insert on iot.agent_samples to iot_agent;
grant select on iot.agents, iot.agent_samples to iot_viewer;

-- Removes measurements older than two days; returns how many.
create function iot.prune_agent_samples() returns bigint
  language sql security definer set search_path = '' as $$
  with gone as (delete from iot.agent_samples where at < now() - interval '2 days' returning 1)
  select count(*) from gone
$$;
grant execute on function iot.prune_agent_samples() to iot_agent;
