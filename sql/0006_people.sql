-- People: who may do what is changed here, by owners, and never by a right of the console's own.
-- iot_rolemgr owns the few functions that make and change logins; nobody can log in as it or become it.
set local role none;
do $$
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'iot_rolemgr') then
    create role iot_rolemgr nologin createrole;
  end if;
end $$;
grant iot_rolemgr to current_user;
grant iot_viewer, iot_operator, iot_owner to iot_rolemgr with admin option;
create schema iot_priv authorization iot_rolemgr;

set local role iot_rolemgr;
alter default privileges revoke execute on functions from public;
revoke all on schema iot_priv from public;
grant usage on schema iot_priv to iot_admin;

-- The gate of all functions here: logins of people only, and never a plaintext password.
create function iot_priv.check_login(login text, verifier text default null) returns void
  language plpgsql immutable set search_path = '' as $$
begin
  if login !~ '^iot_u_[a-z0-9_]{1,40}$' then
    raise exception 'a person''s login is named iot_u_ and up to 40 of a-z, 0-9, _; not %', login using errcode = 'IOT01';
  end if;
  if verifier !~ '^SCRAM-SHA-256\$[0-9]{4,7}:[A-Za-z0-9+/]{20,60}={0,2}\$[A-Za-z0-9+/]{43}=:[A-Za-z0-9+/]{43}=$'
     or substring(verifier from '\$([0-9]+):')::int < 4096 then
    raise exception 'not a SCRAM-SHA-256 verifier with 4096 rounds or more' using errcode = 'IOT01';
  end if;
end $$;

-- PostgreSQL 16 separates what a membership gives; before, CREATEROLE alone is enough.
create function iot_priv.membership() returns text language sql stable set search_path = '' as $$
  select case when pg_catalog.current_setting('server_version_num')::int >= 160000 then ' with inherit true, set false' else '' end
$$;

create function iot_priv.login_make(login text, verifier text) returns void
  language plpgsql security definer set search_path = '' as $$
begin
  perform iot_priv.check_login(login, verifier);
  if pg_catalog.current_setting('server_version_num')::int >= 160000 then
    perform pg_catalog.set_config('createrole_self_grant', '', true);  -- the caller's setting would apply
  end if;
  execute format('create role %I login connection limit 4 password %L', login, verifier);
  execute format('grant %I to iot_rolemgr', login) || iot_priv.membership();  -- to end its sessions
end $$;

-- The one group that fits the highest role a person holds; none without a role.
create function iot_priv.login_group(login text, role text) returns void
  language plpgsql security definer set search_path = '' as $$
declare
  other text;
begin
  perform iot_priv.check_login(login);
  foreach other in array array['viewer', 'operator', 'owner'] loop
    continue when other = role or not exists (
      select from pg_catalog.pg_auth_members m
      where m.member = login::regrole and m.roleid = ('iot_' || other)::regrole);
    execute format('revoke %I from %I', 'iot_' || other, login);
  end loop;
  if role in ('viewer', 'operator', 'owner') then
    execute format('grant %I to %I', 'iot_' || role, login) || iot_priv.membership();
  end if;
end $$;

create function iot_priv.login_password(login text, verifier text) returns void
  language plpgsql security definer set search_path = '' as $$
begin
  perform iot_priv.check_login(login, verifier);
  execute format('alter role %I password %L', login, verifier);
end $$;

create function iot_priv.login_allow(login text, allowed boolean) returns void
  language plpgsql security definer set search_path = '' as $$
begin
  perform iot_priv.check_login(login);
  execute format('alter role %I %s', login, case when allowed then 'login' else 'nologin' end);
end $$;

create function iot_priv.login_sessions(logins text[])
  returns table (login text, application text, client text, since timestamptz)
  language sql stable security definer set search_path = '' as $$
  select a.usename::text, a.application_name, coalesce(host(a.client_addr), 'local'), a.backend_start
  from pg_catalog.pg_stat_activity a
  where a.usename = any (logins) and a.datname = current_database() and a.usename ~ '^iot_u_'
$$;

create function iot_priv.login_cut(login text) returns int
  language plpgsql security definer set search_path = '' as $$
begin
  perform iot_priv.check_login(login);
  return (select count(*) filter (where pg_catalog.pg_terminate_backend(a.pid)) from pg_catalog.pg_stat_activity a
          where a.usename = login and a.pid <> pg_catalog.pg_backend_pid());
end $$;

-- A login that owns something, such as a large object, cannot be dropped: what it was allowed is gone all the same.
create function iot_priv.login_drop(login text) returns void
  language plpgsql security definer set search_path = '' as $$
begin
  perform iot_priv.login_allow(login, false);
  execute format('alter role %I password null', login);
  perform iot_priv.login_group(login, null);
  perform iot_priv.login_cut(login);
  begin
    execute format('drop role %I', login);
  exception when dependent_objects_still_exist or object_in_use then
    null;
  end;
end $$;

-- People whose open transaction could hold up the agents: idle in it for 10 s, or at it for a minute. Returns how many
-- of them were cut off. Timeouts of a session are settings that its owner can change.
create function iot_priv.cut_stuck() returns int
  language sql security definer set search_path = '' as $$
  select count(*) filter (where pg_catalog.pg_terminate_backend(a.pid))::int
  from pg_catalog.pg_stat_activity a
  where a.datname = current_database() and a.usename ~ '^iot_u_[a-z0-9_]{1,40}$'
    and (a.state like 'idle in transaction%' and a.state_change < now() - interval '10 seconds'
         or a.xact_start < now() - interval '60 seconds')
$$;

grant execute on function iot_priv.cut_stuck(), iot_priv.check_login(text, text), iot_priv.login_make(text, text), iot_priv.login_group(text, text),
  iot_priv.login_password(text, text), iot_priv.login_allow(text, boolean), iot_priv.login_sessions(text[]),
  iot_priv.login_cut(text), iot_priv.login_drop(text) to iot_admin;

set local role none;

-- Logins of people who were here before: from now on theirs too is changed by owners.
do $$
declare
  person text;
  options text := case when current_setting('server_version_num')::int >= 160000
                       then ' with admin true, inherit true, set false' else ' with admin option' end;
begin
  for person in select l.login from iot.logins l join pg_catalog.pg_roles r on r.rolname = l.login loop
    begin
      execute format('grant %I to iot_rolemgr', person) || options;
      execute format('revoke iot_owner, iot_operator, iot_viewer from %I', person);
      perform iot_priv.login_group(person, (select max(m.role)::text from iot.members m where m.login = person));
    exception when insufficient_privilege then
      raise warning 'owners cannot manage the login %, which another role made; as that role: grant % to iot_rolemgr%',
        person, person, options;
    end;
  end loop;
end $$;

set local role iot_admin;

alter table iot.logins add column name text not null default '' check (char_length(name) <= 60);
alter table iot.logins add column seen_at timestamptz;
alter table iot.logins add column created_by text not null default session_user;
update iot.logins set name = substr(login, 7) where name = '';

-- seen_at is no change of configuration
drop trigger audit on iot.logins;
create trigger audit after insert or update of disabled, name, home_tenant_id or delete on iot.logins
  for each row execute function iot.audit();

-- People of a tenant see each other, or nobody could say whom to ask; what they did is for owners.
alter policy people on iot.members
  using (login = session_user or tenant_id = any ((select iot.my_tenants('viewer'))::int[]));
alter policy people on iot.logins
  using (login = session_user or exists (select from iot.members m where m.login = logins.login));

-- For agents, every few seconds.
create function iot.cut_stuck_people() returns int
  language sql security definer set search_path = '' as $$ select iot_priv.cut_stuck() $$;
grant execute on function iot.cut_stuck_people() to iot_agent;

-- Called by a console when it connects.
create function iot.present() returns void
  language sql security definer set search_path = '' as $$
  update iot.logins set seen_at = now() where login = session_user
    and coalesce(seen_at < now() - interval '1 minute', true)
$$;

-- Sessions of the people whose home is a tenant of mine.
create function iot.people_sessions() returns table (login text, application text, client text, since timestamptz)
  language sql stable security definer set search_path = '' as $$
  select s.* from iot_priv.login_sessions(array(
    select l.login from iot.logins l where l.home_tenant_id = any (iot.my_tenants('owner')) or l.login = session_user)) s
$$;

-- The person's home tenant, if it is mine to say what becomes of the login.
create function iot.owned_person(person text) returns int
  language plpgsql stable security definer set search_path = '' as $$
declare
  home int := (select l.home_tenant_id from iot.logins l where l.login = person);
begin
  perform iot.read_committed();
  if home = any (iot.my_tenants('owner')) then
    return home;
  end if;
  if not pg_catalog.pg_has_role(session_user, 'iot_admin', 'member') then
    raise exception 'you are no owner of the home tenant of %', person using errcode = 'insufficient_privilege';
  end if;
  if home is null then
    raise exception 'there is no login %', person using errcode = 'IOT01';
  end if;
  return home;
end $$;

-- What somebody may do is looked up when it is done. In an older snapshot, rights that were taken away still stand.
create function iot.read_committed() returns void
  language plpgsql stable set search_path = '' as $$
begin
  if pg_catalog.current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    raise exception 'changes are made in READ COMMITTED transactions' using errcode = 'insufficient_privilege';
  end if;
end $$;

-- Refuses what would leave a tenant without an owner. Owners of the service may: they own every tenant themselves.
-- Takes the tenant's row first, so that two owners cannot remove each other at the same time; no lock that inserts
-- of others would wait for.
create function iot.keep_an_owner(person text, tenant int) returns void
  language plpgsql security definer set search_path = '' as $$
begin
  perform from iot.tenants t where t.tenant_id = keep_an_owner.tenant for no key update;
  if exists (select from iot.members m where m.login = person and m.tenant_id = keep_an_owner.tenant and m.role = 'owner')
     and (tenant = 0 or not 0 = any (iot.my_tenants('owner')))
     and not exists (
       select from iot.members o join iot.logins l using (login)
       where o.tenant_id = keep_an_owner.tenant and o.role = 'owner' and o.login <> person and not l.disabled) then
    raise exception '% is the last owner of %: make somebody else an owner first', person,
      (select t.slug from iot.tenants t where t.tenant_id = keep_an_owner.tenant) using errcode = 'IOT01';
  end if;
end $$;

create function iot.regroup(person text) returns void
  language sql security definer set search_path = '' as $$
  select iot_priv.login_group(person, (select max(m.role)::text from iot.members m where m.login = person))
$$;

create function iot.user_create(tenant text, person text, display text, verifier text, at_role iot.member_role)
  returns void language plpgsql security definer set search_path = '' as $$
declare
  tid int := iot.owned_tenant(tenant);
begin
  perform iot_priv.check_login(person, verifier);
  if exists (select from iot.logins l where l.login = person)
     or exists (select from pg_catalog.pg_roles r where r.rolname = person) then
    raise exception 'the login % exists already', person using errcode = 'IOT01';
  end if;
  insert into iot.logins (login, home_tenant_id, name) values (person, tid, display);
  insert into iot.members (tenant_id, login, role) values (tid, person, at_role);
  perform iot_priv.login_make(person, verifier);
  perform iot.regroup(person);
  perform pg_catalog.pg_notify('iot_people', '');
end $$;

-- Changes a role, or lets somebody of another tenant in.
create function iot.user_set_role(tenant text, person text, at_role iot.member_role) returns void
  language plpgsql security definer set search_path = '' as $$
declare
  tid int := iot.owned_tenant(tenant);
begin
  if not exists (select from iot.logins l where l.login = person) then
    raise exception 'there is no login %', person using errcode = 'IOT01';
  end if;
  if tid = 0 and (select l.home_tenant_id from iot.logins l where l.login = person) <> 0 then
    raise exception 'people of the service have a login of their own: create one in tenant platform' using errcode = 'IOT01';
  end if;
  if at_role = 'owner' and not 0 = any (iot.my_tenants('owner'))
     and (select l.home_tenant_id from iot.logins l where l.login = person) <> tid then
    raise exception '% is at home elsewhere: only an owner of the service makes an owner here', person using errcode = 'IOT01';
  end if;
  if at_role < 'owner' then
    perform iot.keep_an_owner(person, tid);
  end if;
  insert into iot.members as m (tenant_id, login, role) values (tid, person, at_role)
  on conflict (tenant_id, login) do update set role = excluded.role where m.role <> excluded.role;
  perform iot.regroup(person);
  perform pg_catalog.pg_notify('iot_people', '');
end $$;

create function iot.user_reset(person text, verifier text) returns void
  language plpgsql security definer set search_path = '' as $$
declare
  home int := iot.owned_person(person);
begin
  -- whoever sets a password can be that person: nobody may who does not own all that the person reaches
  if exists (select from iot.members m where m.login = person and m.tenant_id <> all (iot.my_tenants('owner')))
     and not pg_catalog.pg_has_role(session_user, 'iot_admin', 'member') then
    raise exception '% belongs to other tenants, too: only an owner of the service may', person
      using errcode = 'insufficient_privilege';
  end if;
  if person <> session_user then
    perform iot_priv.login_cut(person);  -- or an open transaction of theirs could hold this up
  end if;
  perform iot_priv.login_password(person, verifier);
  insert into iot.audit_log (tenant_id, action, subject) values (home, 'reset password', person);
end $$;

-- Returns how many sessions were ended. They are ended first: an open transaction of theirs could hold this up.
create function iot.user_set_disabled(person text, off boolean) returns int
  language plpgsql security definer set search_path = '' as $$
declare
  home int := iot.owned_person(person);
  ended int := 0;
begin
  if off and person = session_user then
    raise exception 'you cannot disable yourself: ask another owner' using errcode = 'IOT01';
  end if;
  if off then
    perform iot.keep_an_owner(person, home);
    ended := iot_priv.login_cut(person);
  end if;
  perform iot_priv.login_allow(person, not off);
  update iot.logins l set disabled = off where l.login = person and l.disabled <> off;
  perform pg_catalog.pg_notify('iot_people', '');
  return ended + case when off then iot_priv.login_cut(person) else 0 end;
end $$;

-- From the home tenant: the login is gone. From another one: only the membership.
create function iot.user_remove(tenant text, person text) returns void
  language plpgsql security definer set search_path = '' as $$
declare
  tid int := iot.owned_tenant(tenant);
  at_home boolean := (select l.home_tenant_id = tid from iot.logins l where l.login = person);
begin
  if not exists (select from iot.members m where m.login = person and m.tenant_id = tid) then
    raise exception '% is not among the people of tenant %', person, tenant using errcode = 'IOT01';
  end if;
  if person = session_user then
    raise exception 'you cannot remove yourself: ask another owner' using errcode = 'IOT01';
  end if;
  perform iot.keep_an_owner(person, tid);
  if at_home then
    perform iot_priv.login_cut(person);  -- or an open transaction of theirs could hold this up
    delete from iot.logins l where l.login = person;
    perform iot_priv.login_drop(person);
  else
    delete from iot.members m where m.login = person and m.tenant_id = tid;
    perform iot.regroup(person);
  end if;
  perform pg_catalog.pg_notify('iot_people', '');
end $$;

create function iot.user_end_sessions(person text) returns int
  language plpgsql security definer set search_path = '' as $$
declare
  home int := iot.owned_person(person);
  ended int := iot_priv.login_cut(person);
begin
  insert into iot.audit_log (tenant_id, action, subject, detail)
  values (home, 'end sessions', person, jsonb_build_object('ended', ended));
  return ended;
end $$;

grant execute on function iot.present() to iot_viewer;
grant execute on function iot.people_sessions(), iot.user_create(text, text, text, text, iot.member_role),
  iot.user_set_role(text, text, iot.member_role), iot.user_reset(text, text), iot.user_set_disabled(text, boolean),
  iot.user_remove(text, text), iot.user_end_sessions(text) to iot_owner;

-- Devices as on-call staff see them: when a credential was made and used last, but neither its name nor its hash.
create function iot.device_list() returns table (
    tenant text, device text, device_id bigint, tenant_id int, disabled boolean, created_at timestamptz,
    credentials int, issued_at timestamptz, issued_in bigint, first_login_at timestamptz, last_login_at timestamptz,
    old_ends_at timestamptz)
  language sql stable security definer set search_path = '' as $$
  select t.slug, d.name, d.device_id, d.tenant_id, d.disabled or t.disabled, d.created_at, coalesce(c.live, 0)::int,
         c.issued_at, c.issued_in, c.first_login_at, c.last_login_at, c.old_ends_at
  from iot.devices d
  join iot.tenants t using (tenant_id)
  left join (
    select m.tenant_id, m.device_id, count(*) as live, max(k.created_at) as issued_at,
           max(m.from_generation) as issued_in, (array_agg(k.first_login_at order by k.credential_id desc))[1] as first_login_at,
           max(k.last_login_at) as last_login_at, min(k.ends_at) as old_ends_at
    from iot.credential_members m join iot.credentials k using (tenant_id, credential_id)
    where m.to_generation is null group by m.tenant_id, m.device_id) c
    on c.tenant_id = d.tenant_id and c.device_id = d.device_id
  where d.tenant_id > 0 and d.tenant_id = any (iot.my_tenants('viewer'))
$$;
grant execute on function iot.device_list() to iot_viewer;

-- Dead letters again: an agent takes those with a replay_at through the same checks as a message that has just come.
alter table iot.dead_letters add column replay_at timestamptz;
alter table iot.dead_letters add column replay_by text;
create index dead_letters_replay on iot.dead_letters (replay_at) where replay_at is not null;
grant update (replay_at, closed_by, closed_at, first_at) on iot.dead_letters to iot_agent;

-- what: replay, discard or reopen. Returns how many were changed; those that are closed already are left alone.
create function iot.dead_letters_handle(letters bigint[], what text) returns int
  language plpgsql security definer set search_path = '' as $$
declare
  mine int[] := iot.my_tenants('operator');
  changed int;
begin
  perform iot.read_committed();
  if exists (select from iot.dead_letters d where d.dead_letter_id = any (letters) and d.tenant_id <> all (mine)) then
    raise exception 'you are no operator of the tenant of these dead letters' using errcode = 'insufficient_privilege';
  end if;
  if what = 'replay' then
    update iot.dead_letters d set replay_at = clock_timestamp(), replay_by = session_user
    where d.dead_letter_id = any (letters) and d.state = 'open' and d.replay_at is null;
  elsif what = 'discard' then
    update iot.dead_letters d set state = 'discarded', closed_by = session_user, closed_at = clock_timestamp(), replay_at = null
    where d.dead_letter_id = any (letters) and d.state = 'open';
  elsif what = 'reopen' then
    update iot.dead_letters d set state = 'open', closed_by = null, closed_at = null, replay_at = null
    where d.dead_letter_id = any (letters) and (d.state = 'discarded' or d.replay_at is not null);
  else
    raise exception 'replay, discard or reopen; not %', what using errcode = 'IOT01';
  end if;
  get diagnostics changed = row_count;
  insert into iot.audit_log (tenant_id, action, subject, detail)
  select d.tenant_id, what || ' dead letters', count(*)::text, jsonb_build_object('ids', jsonb_agg(d.dead_letter_id))
  from iot.dead_letters d where d.dead_letter_id = any (letters) group by d.tenant_id;
  perform pg_catalog.pg_notify('iot_dead_letters', '');
  return changed;
end $$;
grant execute on function iot.dead_letters_handle(bigint[], text) to iot_operator;

-- What was said of an alert: for whoever may see the alert.
create policy people on iot.alert_mentions for select to iot_viewer
  using (exists (select from iot.alert_episodes e where e.event_id = alert_mentions.event_id));
grant select on iot.alert_mentions to iot_viewer;

-- A device may be named b: its user name TENANT/devices/b is one of slot a all the same.
alter table iot.credentials drop constraint credentials_check;
alter table iot.credentials add constraint credentials_username
  check (username ~ '^[a-z0-9][a-z0-9-]{0,62}/devices/[a-z0-9][a-z0-9-]{0,62}(/b)?$');
alter table iot.credentials add constraint credentials_slot
  check ((slot = 'b') = (username ~ '^[^/]+/devices/[^/]+/b$'));

-- As before, and in READ COMMITTED only.
create or replace function iot.owned_tenant(tenant text) returns int
  language sql stable security definer set search_path = '' as $$ select iot.tenant_with(tenant, 'owner') $$;

create or replace function iot.tenant_with(tenant text, at_least iot.member_role) returns int
  language plpgsql stable security definer set search_path = '' as $$
declare
  found_id int := (select t.tenant_id from iot.tenants t where t.slug = tenant);
begin
  perform iot.read_committed();
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

create or replace function iot.episode_for_operator(event uuid) returns iot.alert_episodes
  language plpgsql security definer set search_path = '' as $$
declare
  found iot.alert_episodes;
begin
  perform iot.read_committed();
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

-- With an empty search_path the temporary schema is still searched, and for types it comes first: a person's own
-- pg_temp.text would run the person's code with the rights of these functions. Named last, it is searched last.
do $$
declare
  found record;
begin
  for found in select p.oid::regprocedure as name from pg_catalog.pg_proc p
               where p.pronamespace = 'iot'::regnamespace loop
    execute format('alter function %s set search_path = pg_catalog, pg_temp', found.name);
  end loop;
end $$;
set local role iot_rolemgr;
do $$
declare
  found record;
begin
  for found in select p.oid::regprocedure as name from pg_catalog.pg_proc p
               where p.pronamespace = 'iot_priv'::regnamespace loop
    execute format('alter function %s set search_path = pg_catalog, pg_temp', found.name);
  end loop;
end $$;
set local role none;
-- Nobody of ours needs temporary objects. Only the database's owner can say so.
do $$
begin
  execute format('revoke temporary on database %I from public', current_database());
exception when insufficient_privilege then
  raise warning 'as the owner of the database: revoke temporary on database % from public', current_database();
end $$;
