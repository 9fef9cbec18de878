-- Alert rules, what they found, who was told, and what people did about it.
set local role iot_admin;

-- Rules of the agents' file as a copy for people (origin file; the file wins), and rules of tenants, which live here.
-- rule_key: ID of the file's rules, TENANT/ID of a tenant's. error: why agents cannot use it.
create sequence iot.rule_revisions;  -- one for all rules: a rule that is deleted and made anew is not the old one
create table iot.alert_rules (
  rule_key text primary key,
  tenant_id int not null references iot.tenants,
  name text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  origin text not null check (origin in ('file', 'tenant')),
  body jsonb not null,
  revision bigint not null default nextval('iot.rule_revisions'),
  updated_at timestamptz not null default clock_timestamp(),
  updated_by text not null default session_user,
  error text
);
create index alert_rules_tenant on iot.alert_rules (tenant_id);

-- A tenant's own numbers for a template of the file.
create table iot.alert_params (
  tenant_id int not null references iot.tenants,
  name text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  params jsonb not null default '{}',
  disabled boolean not null default false,
  revision bigint not null default nextval('iot.rule_revisions'),
  updated_by text not null default session_user,
  primary key (tenant_id, name)
);

-- How the evaluation of a rule goes. evaluator: the agent for what only it can see, '' for what the database knows.
-- open: instances that are not inactive; 0 lets a quiet rule be noted without looking further.
create table iot.alert_runtime (
  rule_key text not null,
  evaluator text not null,
  last_slot timestamptz not null,
  evaluated_at timestamptz not null default now(),
  agent_id text not null,
  series int not null,
  open int not null,
  refused int not null default 0,
  took_ms real not null,
  error text,
  seen jsonb,
  primary key (rule_key, evaluator)
) with (fillfactor = 50);

-- Only what is pending or firing has a row.
create table iot.alert_instances (
  rule_key text not null,
  evaluator text not null,
  fingerprint text not null,
  tenant_id int not null,
  labels jsonb not null,
  state text not null check (state in ('pending', 'firing')),
  active_at timestamptz not null,
  fired_at timestamptz,
  keep_since timestamptz,
  owes boolean not null,
  episode bigint not null,
  value float8,
  primary key (rule_key, evaluator, fingerprint)
);

-- One row for each time an alert fires, from its first to its last slot. event_id follows from rule, labels and
-- episode, so that any agent, with or without the database, gives it the same name.
create table iot.alert_episodes (
  event_id uuid primary key,
  rule_key text not null,
  fingerprint text not null,
  episode bigint not null,
  tenant_id int not null,
  alert text not null,
  severity text not null,
  labels jsonb not null,
  summary text not null,
  runbook text not null,
  value float8,
  fired_at timestamptz not null,
  ended_at timestamptz,
  end_value float8,
  end_reason text,
  repeat_seconds float8,
  acked_by text,
  acked_at timestamptz,
  ack_until timestamptz,
  ack_note text,
  told_at timestamptz,
  told int not null default 0,
  muted boolean not null default false,  -- at the last look, nobody was to be told
  settled boolean not null default false,  -- over, and everybody knows
  changed_at timestamptz not null default clock_timestamp(),
  unique (rule_key, fingerprint, episode)
);
create index alert_episodes_unsettled on iot.alert_episodes (fired_at) where not settled;
create index alert_episodes_tenant on iot.alert_episodes (tenant_id, fired_at desc);
create index alert_episodes_open on iot.alert_episodes (rule_key, fingerprint) where ended_at is null;

-- Everything that happened, once for each rule, series, episode and kind, however many agents saw it.
create table iot.alert_events (
  event_id uuid primary key,
  rule_key text not null,
  fingerprint text not null,
  episode bigint not null,
  kind text not null check (kind in ('firing', 'resolved', 'rule_changed', 'acked', 'unacked')),
  tenant_id int not null,
  at timestamptz not null,
  recorded_at timestamptz not null default clock_timestamp(),
  value float8,
  labels jsonb not null,
  detail text not null default '',
  actor text not null
);
create unique index alert_events_once on iot.alert_events (rule_key, fingerprint, episode, kind)
  where kind in ('firing', 'resolved', 'rule_changed');
create index alert_events_tenant on iot.alert_events (tenant_id, at desc);

create table iot.alert_silences (
  silence_id bigint generated always as identity primary key,
  tenant_id int not null references iot.tenants,
  matchers jsonb not null check (jsonb_typeof(matchers) = 'object'),
  starts_at timestamptz not null default now(),
  ends_at timestamptz not null,
  reason text not null check (reason <> ''),
  created_by text not null default session_user,
  ended_by text,
  check (ends_at > starts_at)
);
create index alert_silences_end on iot.alert_silences (ends_at);

-- Messages on their way. message_id follows from what is said to whom: a receiver can tell a copy by it.
create table iot.alert_outbox (
  message_id uuid primary key,
  channel text not null,
  tenant_id int not null,
  body jsonb not null,
  created_at timestamptz not null default clock_timestamp(),
  status text not null default 'waiting' check (status in ('waiting', 'sent', 'dead')),
  attempts int not null default 0,
  next_at timestamptz not null default clock_timestamp(),
  claimed_by text,
  claimed_until timestamptz,
  last_error text,
  sent_at timestamptz
);
create index alert_outbox_due on iot.alert_outbox (next_at) where status = 'waiting';
create index alert_outbox_recent on iot.alert_outbox (created_at desc);

-- What was said of which episode in which message: each thing once.
create table iot.alert_mentions (
  event_id uuid not null,
  channel text not null,
  reason text not null check (reason in ('firing', 'resolved', 'repeat', 'brief')),
  seq int not null,
  message_id uuid not null,
  primary key (event_id, channel, reason, seq)
);

-- Its row lock makes one agent at a time decide what is said.
create table iot.alert_dispatch (only_one boolean primary key default true check (only_one));
insert into iot.alert_dispatch default values;

-- Measurements from outside: the cloud's metrics and bills.
create table iot.metric_samples (
  metric text not null,
  labels jsonb not null default '{}',
  at timestamptz not null,
  value float8 not null,
  agent_id text not null,
  primary key (metric, labels, at)
);
create index metric_samples_at on iot.metric_samples (metric, at desc);

-- People who want a rule evaluated now, and what came of it.
create table iot.rule_requests (
  request_id bigint generated always as identity primary key,
  tenant_id int not null,
  rule_key text not null,
  requested_by text not null default session_user,
  requested_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null default clock_timestamp() + interval '60 seconds',
  answered_at timestamptz,
  answered_by text,
  answer jsonb
);
create index rule_requests_open on iot.rule_requests (expires_at) where answered_at is null;

create trigger audit after insert or update or delete on iot.alert_rules for each row
  execute function iot.audit();
create trigger audit after insert or update or delete on iot.alert_params for each row
  execute function iot.audit();
create trigger audit after insert or update or delete on iot.alert_silences for each row
  execute function iot.audit();

do $$
declare
  named text;
begin
  foreach named in array array['alert_rules', 'alert_params', 'alert_runtime', 'alert_instances', 'alert_episodes',
      'alert_events', 'alert_silences', 'alert_outbox', 'alert_mentions', 'alert_dispatch', 'metric_samples',
      'rule_requests'] loop
    execute format('alter table iot.%I enable row level security', named);
    execute format('create policy agent on iot.%I to iot_agent using (true) with check (true)', named);
  end loop;
  foreach named in array array['alert_rules', 'alert_params', 'alert_instances', 'alert_episodes', 'alert_events',
      'alert_silences', 'alert_outbox', 'rule_requests'] loop
    execute format('create policy people on iot.%I for select to iot_viewer
                    using (tenant_id = any ((select iot.my_tenants(''viewer''))::int[]))', named);
    execute format('grant select on iot.%I to iot_viewer', named);
  end loop;
end $$;
create policy people on iot.alert_runtime for select to iot_viewer
  using (exists (select from iot.alert_rules r where r.rule_key = alert_runtime.rule_key)
         or 0 = any ((select iot.my_tenants('viewer'))::int[]));
create policy people on iot.metric_samples for select to iot_viewer
  using (0 = any ((select iot.my_tenants('viewer'))::int[]));
grant select on iot.alert_runtime, iot.metric_samples to iot_viewer;

-- An agent keeps the copy of its file's rules, and cannot touch those of tenants.
create policy file_only on iot.alert_rules as restrictive for insert to iot_agent with check (origin = 'file');
create policy file_only_delete on iot.alert_rules as restrictive for delete to iot_agent using (origin = 'file');
grant select, insert (rule_key, tenant_id, name, origin, body), delete on iot.alert_rules to iot_agent;
grant update (error) on iot.alert_rules to iot_agent;
grant usage on sequence iot.rule_revisions to iot_agent;
grant select on iot.alert_params, iot.alert_silences to iot_agent;
grant select, insert, update, delete on iot.alert_runtime, iot.alert_instances to iot_agent;
grant select, insert, update on iot.alert_episodes, iot.alert_outbox, iot.alert_dispatch to iot_agent;
grant select, insert on iot.alert_events, iot.alert_mentions, iot.metric_samples to iot_agent;
grant update (value) on iot.metric_samples to iot_agent;
grant select, update (answered_at, answered_by, answer) on iot.rule_requests to iot_agent;

-- The tenant's id, if the person behind this session has at least this role there. The database's owner may do all.
create function iot.tenant_with(tenant text, at_least iot.member_role) returns int
  language plpgsql stable security definer set search_path = '' as $$
declare
  found_id int := (select t.tenant_id from iot.tenants t where t.slug = tenant);
begin
  if found_id = any (iot.my_tenants(at_least)) then
    return found_id;
  end if;
  if not pg_catalog.pg_has_role(session_user, 'iot_admin', 'member') then
    raise exception 'you are no % of tenant %', at_least, tenant using errcode = 'insufficient_privilege';
  end if;
  if found_id is null then
    raise exception 'there is no tenant %', tenant using errcode = 'IOT01';
  end if;
  return found_id;
end $$;

create function iot.episode_for_operator(event uuid) returns iot.alert_episodes
  language plpgsql security definer set search_path = '' as $$
declare
  found iot.alert_episodes;
begin
  select * into found from iot.alert_episodes e where e.event_id = event for update;
  if not found.tenant_id = any (iot.my_tenants('operator'))
      and not pg_catalog.pg_has_role(session_user, 'iot_admin', 'member') then
    raise exception 'you are no operator of this alert''s tenant' using errcode = 'insufficient_privilege';
  end if;
  if found.event_id is null then
    raise exception 'there is no alert %', event using errcode = 'IOT01';
  end if;
  return found;
end $$;

-- Somebody takes care of it: reminders stop until `until`, its end is still told.
create function iot.alert_ack(event uuid, note text, until timestamptz default null) returns void
  language plpgsql security definer set search_path = '' as $$
declare
  known iot.alert_episodes := iot.episode_for_operator(event);
begin
  if known.ended_at is not null then
    raise exception 'alert % is over since %', known.alert, known.ended_at using errcode = 'IOT01';
  end if;
  if until <= clock_timestamp() then
    raise exception 'the end of the acknowledgement is in the past' using errcode = 'IOT01';
  end if;
  update iot.alert_episodes e set acked_by = session_user, acked_at = clock_timestamp(), ack_until = until,
    ack_note = note, changed_at = clock_timestamp() where e.event_id = event;
  insert into iot.alert_events (event_id, rule_key, fingerprint, episode, kind, tenant_id, at, labels, detail, actor)
  values (gen_random_uuid(), known.rule_key, known.fingerprint, known.episode, 'acked', known.tenant_id,
          clock_timestamp(), known.labels, note, session_user);
  perform pg_catalog.pg_notify('iot_alerts', '');
end $$;

create function iot.alert_unack(event uuid) returns void
  language plpgsql security definer set search_path = '' as $$
declare
  known iot.alert_episodes := iot.episode_for_operator(event);
begin
  if known.acked_by is null then
    raise exception 'alert % is not acknowledged', known.alert using errcode = 'IOT01';
  end if;
  update iot.alert_episodes e set acked_by = null, acked_at = null, ack_until = null, ack_note = null,
    changed_at = clock_timestamp() where e.event_id = event;
  insert into iot.alert_events (event_id, rule_key, fingerprint, episode, kind, tenant_id, at, labels, actor)
  values (gen_random_uuid(), known.rule_key, known.fingerprint, known.episode, 'unacked', known.tenant_id,
          clock_timestamp(), known.labels, session_user);
  perform pg_catalog.pg_notify('iot_alerts', '');
end $$;

-- Mutes what fits the matchers; tenant 'platform' mutes alerts of every tenant.
create function iot.silence_create(tenant text, matchers jsonb, lasts interval, reason text) returns bigint
  language plpgsql security definer set search_path = '' as $$
declare
  tid int := iot.tenant_with(tenant, 'operator');
  made bigint;
begin
  if matchers = '{}' then
    raise exception 'a silence without matchers would mute everything: name the alert at least' using errcode = 'IOT01';
  end if;
  if lasts <= interval '0' or lasts > interval '90 days' then
    raise exception 'a silence lasts at most 90 days' using errcode = 'IOT01';
  end if;
  insert into iot.alert_silences (tenant_id, matchers, ends_at, reason)
  values (tid, silence_create.matchers, now() + lasts, silence_create.reason) returning silence_id into made;
  perform pg_catalog.pg_notify('iot_alerts', '');
  return made;
end $$;

create function iot.silence_end(silence bigint) returns void
  language plpgsql security definer set search_path = '' as $$
declare
  place int := (select s.tenant_id from iot.alert_silences s where s.silence_id = silence);
begin
  perform iot.tenant_with((select t.slug from iot.tenants t where t.tenant_id = place), 'operator');
  update iot.alert_silences s set ends_at = greatest(now(), s.starts_at + interval '1 microsecond'),
    ended_by = session_user
  where s.silence_id = silence and s.ends_at > now();
  if not found then
    raise exception 'silence % is over already', silence using errcode = 'IOT01';
  end if;
  perform pg_catalog.pg_notify('iot_alerts', '');
end $$;

-- Creates (expected 0) or changes a tenant's rule; refuses when somebody else changed it meanwhile. Agents compile it and
-- say in `error` when they cannot.
create function iot.rule_put(tenant text, id text, rule jsonb, expected bigint) returns bigint
  language plpgsql security definer set search_path = '' as $$
declare
  tid int := iot.tenant_with(tenant, 'owner');
  key text := tenant || '/' || id;
  made bigint := nextval('iot.rule_revisions');
begin
  if expected = 0 then
    insert into iot.alert_rules (rule_key, tenant_id, name, origin, body, revision)
    values (key, tid, id, 'tenant', rule, made) on conflict (rule_key) do nothing;
    if not found then
      raise exception 'rule % exists already', key using errcode = 'IOT01';
    end if;
  else
    update iot.alert_rules r set body = rule, revision = made, updated_at = clock_timestamp(),
      updated_by = session_user, error = null
    where r.rule_key = key and r.revision = expected;
    if not found then
      raise exception 'rule % was changed by somebody else meanwhile, or is gone: look at it again', key
        using errcode = 'IOT01';
    end if;
  end if;
  perform pg_catalog.pg_notify('iot_rules', key);
  return made;
end $$;

create function iot.rule_delete(tenant text, id text, expected bigint) returns void
  language plpgsql security definer set search_path = '' as $$
begin
  perform iot.tenant_with(tenant, 'owner');
  delete from iot.alert_rules r
  where r.rule_key = tenant || '/' || id and r.revision = expected and r.origin = 'tenant';
  if not found then
    raise exception 'rule %/% was changed by somebody else meanwhile, or is gone: look at it again', tenant, id
      using errcode = 'IOT01';
  end if;
  perform pg_catalog.pg_notify('iot_rules', tenant || '/' || id);
end $$;

-- A tenant's own numbers for a template, or no alert from it at all.
create function iot.param_put(tenant text, template text, numbers jsonb, off boolean default false) returns bigint
  language plpgsql security definer set search_path = '' as $$
declare
  tid int := iot.tenant_with(tenant, 'owner');
  made bigint := nextval('iot.rule_revisions');
begin
  insert into iot.alert_params (tenant_id, name, params, disabled, revision)
  values (tid, template, numbers, off, made)
  on conflict (tenant_id, name) do update
    set params = excluded.params, disabled = excluded.disabled, revision = made, updated_by = session_user;
  perform pg_catalog.pg_notify('iot_rules', tenant || '/' || template);
  return made;
end $$;

-- Asks the agents to evaluate a rule now. Of a tenant's rule by its operators, of the file's by those of the service.
create function iot.rule_request(key text) returns bigint
  language plpgsql security definer set search_path = '' as $$
declare
  place text := coalesce(nullif(split_part(key, '/', 1), key), 'platform');
  made bigint;
begin
  insert into iot.rule_requests (tenant_id, rule_key)
  values (iot.tenant_with(place, 'operator'), key) returning request_id into made;
  perform pg_catalog.pg_notify('iot_rules', key);
  return made;
end $$;

-- Removes what is older than keep_days, at least 8: history of alerts, messages and measurements. Returns how much.
create function iot.prune_alert_history(keep_days int) returns bigint
  language plpgsql security definer set search_path = '' as $$
declare
  before_that timestamptz := now() - make_interval(days => greatest(keep_days, 8));
  done bigint;
  total bigint := 0;
begin
  delete from iot.alert_mentions m using iot.alert_episodes e
  where e.event_id = m.event_id and e.settled and e.ended_at < before_that;
  delete from iot.alert_episodes where settled and ended_at < before_that;
  get diagnostics done = row_count; total := total + done;
  delete from iot.alert_events where at < before_that;
  get diagnostics done = row_count; total := total + done;
  delete from iot.alert_outbox where status <> 'waiting' and created_at < before_that;
  get diagnostics done = row_count; total := total + done;
  delete from iot.metric_samples where at < now() - make_interval(days => greatest(keep_days, 60));
  delete from iot.rule_requests where requested_at < now() - interval '1 day';
  delete from iot.alert_silences where ends_at < before_that;
  return total;
end $$;

grant execute on function iot.alert_ack(uuid, text, timestamptz), iot.alert_unack(uuid),
  iot.silence_create(text, jsonb, interval, text), iot.silence_end(bigint), iot.rule_request(text) to iot_operator;
grant execute on function iot.rule_put(text, text, jsonb, bigint), iot.rule_delete(text, text, bigint),
  iot.param_put(text, text, jsonb, boolean) to iot_owner;
grant execute on function iot.prune_alert_history(int) to iot_agent;

-- How many secrets and certificates are past their rotation date, for agents, which may not read the policy's view.
create function iot.rotations_overdue() returns table (policy text, overdue bigint)
  language sql stable security definer set search_path = '' as $$
  select d.policy, count(*) filter (where d.due_at <= now()) from iot.rotation_due d group by d.policy
$$;
grant execute on function iot.rotations_overdue() to iot_agent;
