-- Runs of runbooks, kept first on the machine of the person who follows one, and what people ask agents to look at or do.
set local role iot_admin;

-- One row a run; its id is made by the console, so that a run can begin without us. content: the runbook as it was then.
create table iot.runbook_runs (
  run_id uuid primary key,
  tenant_id int not null references iot.tenants,
  runbook text not null check (runbook ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  content_sha256 text not null check (content_sha256 ~ '^[0-9a-f]{64}$'),
  content text not null check (octet_length(content) <= 65536),
  vars jsonb not null check (jsonb_typeof(vars) = 'object' and octet_length(vars::text) <= 8192),
  alert_id uuid,
  mode text not null check (mode in ('live', 'drill', 'manual')),
  started_by text not null default session_user,
  started_at timestamptz not null,
  recorded_at timestamptz not null default clock_timestamp(),
  owner text not null default session_user,
  state text not null default 'open' check (state in ('open', 'done', 'abandoned')),
  closed_at timestamptz,
  outcome text
);
create index runbook_runs_newest on iot.runbook_runs (recorded_at desc);

-- One row a step, changed by whoever knows its version: two people never overwrite each other.
create table iot.runbook_steps (
  run_id uuid not null references iot.runbook_runs,
  step_id text not null,
  state text not null check (state in ('running', 'pass', 'fail', 'unknown', 'done', 'skipped')),
  version int not null,
  actor text not null,
  at timestamptz not null default clock_timestamp(),
  claim_until timestamptz,
  primary key (run_id, step_id)
);

-- The timeline. Only ever added to; a correction is an event that supersedes another one.
create table iot.runbook_events (
  event_id uuid primary key,
  run_id uuid not null references iot.runbook_runs,
  step_id text not null default '',
  at timestamptz not null,
  recorded_at timestamptz not null default clock_timestamp(),
  actor text not null default session_user,
  origin text not null check (char_length(origin) <= 100),
  kind text not null check (kind in ('started', 'checked', 'begun', 'did', 'done', 'skipped', 'decided', 'answered', 'noted',
    'went', 'handed', 'accepted', 'taken', 'left', 'corrected', 'ended')),
  body jsonb not null check (jsonb_typeof(body) = 'object' and octet_length(body::text) <= 32768),
  supersedes uuid
);
create index runbook_events_run on iot.runbook_events (run_id, at);

-- What a person wants an agent to look at or do. The agent knows the names; a request that waits too long is void.
create table iot.agent_requests (
  request_id uuid primary key,
  agent_id text not null,
  run_id uuid,
  step_id text,
  name text not null check (name ~ '^[a-z]+\.[a-z_]+$'),
  args jsonb not null check (jsonb_typeof(args) = 'object' and octet_length(args::text) <= 4096),
  changes boolean not null,
  requested_by text not null default session_user,
  requested_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  state text not null default 'queued'
    check (state in ('queued', 'running', 'done', 'failed', 'refused', 'expired', 'withdrawn')),
  taken_at timestamptz,
  finished_at timestamptz,
  result jsonb
);
create index agent_requests_open on iot.agent_requests (agent_id, expires_at) where state in ('queued', 'running');
create index agent_requests_time on iot.agent_requests (requested_at);

alter table iot.runbook_runs enable row level security;
alter table iot.runbook_steps enable row level security;
alter table iot.runbook_events enable row level security;
alter table iot.agent_requests enable row level security;
create policy people on iot.runbook_runs for select to iot_viewer
  using (tenant_id = any (iot.my_tenants('viewer')));
create policy people on iot.runbook_steps for select to iot_viewer
  using (exists (select from iot.runbook_runs r where r.run_id = runbook_steps.run_id));
create policy people on iot.runbook_events for select to iot_viewer
  using (exists (select from iot.runbook_runs r where r.run_id = runbook_events.run_id));
create policy people on iot.agent_requests for select to iot_viewer
  using (0 = any (iot.my_tenants('viewer')));
create policy agent on iot.agent_requests to iot_agent using (true) with check (true);
grant select on iot.runbook_runs, iot.runbook_steps, iot.runbook_events, iot.agent_requests to iot_viewer;
grant select, update (state, taken_at, finished_at, result) on iot.agent_requests to iot_agent;

-- Adds a run, if it is not there, and those of the events that are not there. An event that changes a step carries in its
-- body `state` and `expected`, the version it was made from; where somebody was faster, the step stays as that person left
-- it and is named in the answer: {"owner", "state", "conflicts": [{"step", "state", "version", "actor"}]}.
create function iot.run_record(run jsonb, events jsonb) returns jsonb
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  id uuid := run ->> 'run_id';
  place int := iot.tenant_with(run ->> 'tenant', 'operator');
  known iot.runbook_runs;
  event jsonb;
  fresh boolean;
  conflicts jsonb := '[]';
begin
  insert into iot.runbook_runs (run_id, tenant_id, runbook, content_sha256, content, vars, alert_id, mode, started_at)
  values (id, place, run ->> 'runbook', encode(sha256(convert_to(run ->> 'content', 'UTF8')), 'hex'), run ->> 'content',
          run -> 'vars', (run ->> 'alert_id')::uuid, run ->> 'mode', (run ->> 'started_at')::timestamptz)
  on conflict do nothing;
  select * into known from iot.runbook_runs r where r.run_id = id for update;
  if known.tenant_id <> place then
    raise exception 'run % belongs to another tenant', id using errcode = 'insufficient_privilege';
  end if;
  for event in select value from jsonb_array_elements(events) loop
    insert into iot.runbook_events (event_id, run_id, step_id, at, origin, kind, body, supersedes)
    values ((event ->> 'event_id')::uuid, id, coalesce(event ->> 'step_id', ''), (event ->> 'at')::timestamptz,
            event ->> 'origin', event ->> 'kind', event -> 'body', (event ->> 'supersedes')::uuid)
    on conflict do nothing;
    get diagnostics fresh = row_count;
    continue when not fresh;
    if event ->> 'kind' in ('taken', 'accepted') then  -- by the events' own times, as everybody folds them
      update iot.runbook_runs r set owner = iot.run_owner(id, 'infinity') where r.run_id = id and r.state = 'open';
    elsif iot.run_owner(id, (event ->> 'at')::timestamptz) <> session_user then
      if event #>> '{body,state}' is not null then  -- somebody else had it by then: it stands in the timeline only
        conflicts := conflicts || (
          select jsonb_build_array(jsonb_build_object('step', event ->> 'step_id', 'state', coalesce(max(s.state), 'open'),
                                                      'version', coalesce(max(s.version), 0), 'actor', known.owner))
          from iot.runbook_steps s where s.run_id = id and s.step_id = event ->> 'step_id');
      end if;
      continue;
    elsif event ->> 'kind' = 'ended' then
      update iot.runbook_runs r set state = event #>> '{body,state}', outcome = event #>> '{body,outcome}',
        closed_at = clock_timestamp() where r.run_id = id and r.state = 'open';
    end if;
    if event #>> '{body,state}' is not null and coalesce(event ->> 'step_id', '') <> '' then
      conflicts := conflicts || iot.step_put(id, event ->> 'step_id', event #>> '{body,state}',
                                             coalesce((event #>> '{body,expected}')::int, 0));
    end if;
  end loop;
  select * into known from iot.runbook_runs r where r.run_id = id;
  return jsonb_build_object('owner', known.owner, 'state', known.state, 'conflicts', conflicts);
end $$;

-- Who had a run at a time, by what has been written of it so far.
create function iot.run_owner(run uuid, moment timestamptz) returns text
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select coalesce(
    (select e.actor from iot.runbook_events e where e.run_id = run and e.kind in ('taken', 'accepted') and e.at <= moment
     order by e.at desc, e.event_id desc limit 1),
    (select r.started_by from iot.runbook_runs r where r.run_id = run))
$$;

-- One step, if it still has the version that the caller saw; otherwise, what it is now. The caller has checked the right.
create function iot.step_put(run uuid, step text, to_state text, expected int) returns jsonb
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  now_is iot.runbook_steps;
begin
  insert into iot.runbook_steps as s (run_id, step_id, state, version, actor)
  values (run, step, to_state, 1, session_user)
  on conflict (run_id, step_id) do update set state = to_state, version = s.version + 1, actor = session_user,
    at = clock_timestamp(), claim_until = null
  where s.version = expected or (s.actor = session_user and s.claim_until is not null);
  if found then
    return '[]';
  end if;
  select * into now_is from iot.runbook_steps s where s.run_id = run and s.step_id = step;
  return jsonb_build_array(jsonb_build_object(
    'step', step, 'state', now_is.state, 'version', now_is.version, 'actor', now_is.actor));
end $$;

-- Before something is changed: whoever claims a step first does it. Returns the step's new version.
create function iot.step_claim(run uuid, step text, expected int, seconds int) returns int
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  known iot.runbook_runs;
  claimed iot.runbook_steps;
begin
  select * into known from iot.runbook_runs r where r.run_id = run;
  perform iot.tenant_with((select t.slug from iot.tenants t where t.tenant_id = known.tenant_id), 'operator');
  if known.state <> 'open' then
    raise exception 'this run is % since %', known.state, known.closed_at using errcode = 'IOT01';
  end if;
  if known.owner <> session_user then
    raise exception '% has this run now: take it over first', known.owner using errcode = 'IOT01';
  end if;
  insert into iot.runbook_steps as s (run_id, step_id, state, version, actor, claim_until)
  values (run, step, 'running', 1, session_user, clock_timestamp() + make_interval(secs => least(seconds, 900)))
  on conflict (run_id, step_id) do update set state = 'running', version = s.version + 1, actor = session_user,
    at = clock_timestamp(), claim_until = excluded.claim_until
  where s.version = expected and (s.claim_until is null or s.claim_until < clock_timestamp())
  returning * into claimed;
  if claimed.version is null then
    select * into claimed from iot.runbook_steps s where s.run_id = run and s.step_id = step;
    raise exception '% was faster: % is % since %', claimed.actor, step, claimed.state,
      to_char(claimed.at at time zone 'UTC', 'HH24:MI:SS') || 'Z' using errcode = 'IOT01';
  end if;
  return claimed.version;
end $$;

-- Ask an agent. The same id twice is one request. changes: it is an action, and is written down as one.
create function iot.request_put(
  id uuid, agent text, what text, arguments jsonb, run uuid, step text, is_action boolean, seconds int) returns void
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  fresh boolean;
begin
  perform iot.tenant_with('platform', 'operator');
  if seconds not between 1 and 120 then
    raise exception 'a request waits between 1 and 120 s' using errcode = 'IOT01';
  end if;
  if not exists (select from iot.agents a where a.agent_id = agent) then
    raise exception 'there is no agent %', agent using errcode = 'IOT01';
  end if;
  insert into iot.agent_requests (request_id, agent_id, run_id, step_id, name, args, changes, expires_at)
  values (id, agent, run, step, what, arguments, is_action, clock_timestamp() + make_interval(secs => seconds))
  on conflict do nothing;
  get diagnostics fresh = row_count;
  if fresh and is_action then
    insert into iot.audit_log (tenant_id, action, subject, detail)
    values (0, 'request action', what, jsonb_build_object('agent', agent, 'args', arguments, 'run', run, 'step', step));
  end if;
end $$;

-- One's own, as long as no agent has begun with it; true when it will not happen.
create function iot.request_withdraw(id uuid) returns boolean
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  update iot.agent_requests q set state = 'withdrawn', finished_at = clock_timestamp()
  where q.request_id = id and q.state = 'queued' and q.requested_by = session_user;
  return found;
end $$;

-- Requests that are over, after keep_days; returns how many. Runs stay.
create function iot.prune_requests(keep_days int) returns bigint
  language sql security definer set search_path = pg_catalog, pg_temp as $$
  with gone as (delete from iot.agent_requests where requested_at < now() - make_interval(days => greatest(keep_days, 1))
                returning 1)
  select count(*) from gone
$$;

revoke all on function iot.run_record(jsonb, jsonb), iot.step_put(uuid, text, text, int), iot.prune_requests(int),
  iot.run_owner(uuid, timestamptz),
  iot.step_claim(uuid, text, int, int), iot.request_withdraw(uuid),
  iot.request_put(uuid, text, text, jsonb, uuid, text, boolean, int) from public;
grant execute on function iot.run_record(jsonb, jsonb), iot.step_claim(uuid, text, int, int), iot.request_withdraw(uuid),
  iot.request_put(uuid, text, text, jsonb, uuid, text, boolean, int) to iot_operator;
grant execute on function iot.prune_requests(int) to iot_agent;
