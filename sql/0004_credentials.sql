-- What devices log in with at the broker: credentials, topic grants, and their numbered sets.
set local role iot_admin;

-- The newest set. Every change takes this row's lock, so sets are made one after the other.
create table iot.credential_head (
  only_one boolean primary key default true check (only_one),
  generation bigint not null
);
insert into iot.credential_head (generation) values (0);

create table iot.credential_sets (
  generation bigint primary key,
  tenant_id int not null references iot.tenants,
  created_at timestamptz not null default clock_timestamp(),
  created_by text not null default session_user,
  reason text not null,
  confirmed_by text  -- who allows agents to take many devices away with this set
);
create index credential_sets_tenant on iot.credential_sets (tenant_id, generation desc);

-- The secret is made and hashed by the client; only the hash comes here. One PBKDF2 round, because the secret is
-- 256 random bits: more rounds would protect nothing, and the broker repeats them for every client at each reload.
-- A device has two slots, with one user name each, so that old and new are valid together while it moves.
create table iot.credentials (
  tenant_id int not null,
  credential_id bigint generated always as identity,
  device_id bigint not null,
  slot text not null check (slot in ('a', 'b')),
  username text not null
    check (username ~ '^[a-z0-9][a-z0-9-]{0,62}/devices/[a-z0-9][a-z0-9-]{0,62}(/b)?$' and (slot = 'b') = (username ~ '/b$')),
  password_hash text not null check (password_hash ~ '^\$7\$1\$[A-Za-z0-9+/]{16}\$[A-Za-z0-9+/]{86}==$'),
  created_at timestamptz not null default clock_timestamp(),
  created_by text not null default session_user,
  ends_at timestamptz,          -- deadline of the old one while a device moves to the new one
  revoked_at timestamptz,       -- compromised: no rollback brings it back
  revoke_reason text,
  suspended boolean not null default false,  -- taken out because the device is disabled
  first_login_at timestamptz,
  last_login_at timestamptz,
  primary key (tenant_id, credential_id),
  foreign key (tenant_id, device_id) references iot.devices
);
create index credentials_device on iot.credentials (tenant_id, device_id);
create index credentials_username on iot.credentials (username);

-- Set N holds the credentials with from_generation <= N and no to_generation up to N. A row is only ever closed.
create table iot.credential_members (
  tenant_id int not null,
  credential_id bigint not null,
  device_id bigint not null,
  slot text not null,
  from_generation bigint not null references iot.credential_sets,
  to_generation bigint references iot.credential_sets,
  primary key (tenant_id, credential_id, from_generation),
  foreign key (tenant_id, credential_id) references iot.credentials,
  check (to_generation > from_generation)
);
create unique index credential_members_live on iot.credential_members (tenant_id, device_id, slot)
  where to_generation is null;
create index credential_members_ended on iot.credential_members (to_generation) where to_generation is not null;

create type iot.acl_access as enum ('read', 'write', 'readwrite');

-- Beyond its own subtree a device may do this. Members of sets as credentials are.
create table iot.acl_grants (
  tenant_id int not null,
  grant_id bigint generated always as identity,
  device_id bigint not null,
  access iot.acl_access not null,
  topic_filter text not null check (topic_filter ~ '^[A-Za-z0-9_$+#/.:@-]{1,200}$'),
  from_generation bigint not null references iot.credential_sets,
  to_generation bigint references iot.credential_sets,
  primary key (tenant_id, grant_id),
  foreign key (tenant_id, device_id) references iot.devices,
  check (to_generation > from_generation)
);

-- What each broker has, as its agent saw it last.
create table iot.brokers (
  broker_id text primary key check (broker_id ~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$'),
  generation bigint not null,        -- the newest set that is proved to be in force
  state text not null check (state in ('applied', 'pending', 'refused', 'failed', 'stopped')),
  detail text not null,
  entries int not null,
  checked_at timestamptz not null default now(),
  version text,
  identity_since timestamptz,
  certificate_until timestamptz,
  ca_until timestamptz
);
create table iot.broker_log (
  broker_id text not null,
  entry_id bigint generated always as identity,
  at timestamptz not null default clock_timestamp(),
  generation bigint not null,
  outcome text not null,             -- applied, refused, restored, stopped, drift, repaired
  detail text not null,
  entries int not null,
  took_ms real not null,
  primary key (broker_id, entry_id)
);

-- When secrets and certificates are due. Certificates: so many days before they expire.
create table iot.rotation_policy (
  tenant_id int not null default 0 references iot.tenants,
  name text primary key,
  days int not null check (days > 0)
);
insert into iot.rotation_policy (name, days) values
  ('device-credential', 365), ('agent-identity', 90), ('server-certificate', 21), ('server-ca', 90);

create trigger audit after insert or update of ends_at, revoked_at, suspended or delete on iot.credentials
  for each row execute function iot.audit();
create trigger audit after insert or update on iot.credential_sets for each row execute function iot.audit();
create trigger audit after insert or update or delete on iot.acl_grants
  for each row execute function iot.audit();
create trigger audit after insert or update or delete on iot.rotation_policy
  for each row execute function iot.audit();

alter table iot.credential_head enable row level security;
alter table iot.credential_sets enable row level security;
alter table iot.credentials enable row level security;
alter table iot.credential_members enable row level security;
alter table iot.acl_grants enable row level security;
alter table iot.brokers enable row level security;
alter table iot.broker_log enable row level security;
alter table iot.rotation_policy enable row level security;

create policy agent on iot.credential_head for select to iot_agent using (true);
create policy agent on iot.credential_sets for select to iot_agent using (true);
create policy agent on iot.credentials for select to iot_agent using (true);
create policy agent on iot.credential_members for select to iot_agent using (true);
create policy agent on iot.acl_grants for select to iot_agent using (true);
create policy agent on iot.brokers to iot_agent using (true) with check (true);
create policy agent on iot.broker_log to iot_agent using (true) with check (true);
create policy people on iot.credential_head for select to iot_viewer using (true);
create policy people on iot.brokers for select to iot_viewer using (true);
create policy people on iot.broker_log for select to iot_viewer using (true);
create policy people on iot.rotation_policy for select to iot_viewer using (true);
create policy owners on iot.rotation_policy for update to iot_owner
  using (0 = any ((select iot.my_tenants('owner'))::int[]));
create policy owners on iot.credential_sets for select to iot_owner
  using (tenant_id = any ((select iot.my_tenants('owner'))::int[]));
create policy owners on iot.credentials for select to iot_owner
  using (tenant_id = any ((select iot.my_tenants('owner'))::int[]));
create policy owners on iot.credential_members for select to iot_owner
  using (tenant_id = any ((select iot.my_tenants('owner'))::int[]));
create policy owners on iot.acl_grants for select to iot_owner
  using (tenant_id = any ((select iot.my_tenants('owner'))::int[]));

grant select on iot.credential_head, iot.credential_sets, iot.credentials, iot.credential_members, iot.acl_grants
  to iot_agent;
grant select, insert, update on iot.brokers to iot_agent;
grant select, insert on iot.broker_log to iot_agent;
grant select on iot.credential_head, iot.brokers, iot.broker_log, iot.rotation_policy to iot_viewer;
grant update (days) on iot.rotation_policy to iot_owner;
grant select on iot.credential_sets, iot.credential_members, iot.acl_grants to iot_owner;
-- every column but password_hash
grant select (tenant_id, credential_id, device_id, slot, username, created_at, created_by, ends_at, revoked_at,
  revoke_reason, suspended, first_login_at, last_login_at) on iot.credentials to iot_owner;

-- When what is due: one row for each live credential, and for each broker's identity, certificate and CA.
create view iot.rotation_due with (security_invoker = true) as
  select p.name as policy, c.tenant_id, c.username as subject, c.created_at + make_interval(days => p.days) as due_at
  from iot.credential_members m join iot.credentials c using (tenant_id, credential_id)
  join iot.rotation_policy p on p.name = 'device-credential'
  where m.to_generation is null and c.ends_at is null
  union all
  select p.name, 0, b.broker_id, b.identity_since + make_interval(days => p.days)
  from iot.brokers b join iot.rotation_policy p on p.name = 'agent-identity' where b.identity_since is not null
  union all
  select p.name, 0, b.broker_id, b.certificate_until - make_interval(days => p.days)
  from iot.brokers b join iot.rotation_policy p on p.name = 'server-certificate' where b.certificate_until is not null
  union all
  select p.name, 0, b.broker_id, b.ca_until - make_interval(days => p.days)
  from iot.brokers b join iot.rotation_policy p on p.name = 'server-ca' where b.ca_until is not null;
grant select on iot.rotation_due to iot_owner;

-- Functions for owners. SQLSTATE IOT01: the request is understood and cannot be done; the message says why.

-- The tenant's id, if the person behind this session owns it. The database's owner may act for everyone.
create function iot.owned_tenant(tenant text) returns int
  language plpgsql stable security definer set search_path = '' as $$
declare
  found_id int := (select t.tenant_id from iot.tenants t where t.slug = tenant);
begin
  if found_id = any (iot.my_tenants('owner')) then
    return found_id;
  end if;
  if not pg_catalog.pg_has_role(session_user, 'iot_admin', 'member') then
    raise exception 'you are no owner of tenant %', tenant using errcode = 'insufficient_privilege';
  end if;
  if found_id is null then
    raise exception 'there is no tenant %', tenant using errcode = 'IOT01';
  end if;
  return found_id;
end $$;

-- The next set, begun: the caller closes and opens members. Agents hear of it when the transaction commits.
create function iot.begin_set(tenant int, why text) returns bigint
  language plpgsql security definer set search_path = '' as $$
declare
  made bigint;
begin
  update iot.credential_head set generation = generation + 1 returning generation into made;
  insert into iot.credential_sets (generation, tenant_id, reason) values (made, tenant, why);
  perform pg_catalog.pg_notify('iot_credentials', made::text);
  return made;
end $$;

create function iot.live_device(tenant int, device text, out device_id bigint, out disabled boolean)
  language plpgsql stable security definer set search_path = '' as $$
begin
  select d.device_id, d.disabled into live_device.device_id, live_device.disabled
  from iot.devices d where d.tenant_id = tenant and d.name = device;
  if not found then
    raise exception 'there is no device %', device using errcode = 'IOT01';
  end if;
end $$;

create function iot.put_credential(tenant int, device bigint, in_slot text, name text, hash text, set_number bigint)
  returns void language sql security definer set search_path = '' as $$
  with made as (
    insert into iot.credentials (tenant_id, device_id, slot, username, password_hash)
    values (tenant, device, in_slot, name, hash) returning credential_id)
  insert into iot.credential_members (tenant_id, credential_id, device_id, slot, from_generation)
  select tenant, credential_id, device, in_slot, set_number from made
$$;

-- After many changes at once. Otherwise plans that sessions keep from the time of small tables go on until autovacuum
-- comes, and take time that grows with the square of the fleet.
create function iot.many_changed(how_many bigint) returns void
  language plpgsql security definer set search_path = '' as $$
begin
  if how_many > 100 then
    analyze iot.devices, iot.credentials, iot.credential_members;
  end if;
end $$;

-- Creates devices with a credential each; all or none. Returns the new set's number.
create function iot.device_create(tenant text, devices text[], hashes text[]) returns bigint
  language plpgsql security definer set search_path = '' as $$
declare
  tid int := iot.owned_tenant(tenant);
  taken text;
  made bigint;
begin
  if cardinality(devices) = 0 or cardinality(devices) <> cardinality(hashes) then
    raise exception 'as many hashes as devices are needed, and one at least' using errcode = 'IOT01';
  end if;
  select string_agg(d.name, ', ' order by d.name) into taken
  from iot.devices d where d.tenant_id = tid and d.name = any (devices);
  if taken is not null then
    raise exception 'exists already: %', left(taken, 500) using errcode = 'IOT01';
  end if;
  made := iot.begin_set(tid, case cardinality(devices) when 1 then 'create ' || devices[1]
                             else 'create ' || cardinality(devices) || ' devices' end);
  with wanted as (
    select * from unnest(devices, hashes) as w(name, hash)
  ), born as (
    insert into iot.devices (tenant_id, name) select tid, name from wanted returning device_id, name
  ), given as (
    insert into iot.credentials (tenant_id, device_id, slot, username, password_hash)
    select tid, b.device_id, 'a', tenant || '/devices/' || b.name, w.hash from born b join wanted w using (name)
    returning credential_id, device_id)
  insert into iot.credential_members (tenant_id, credential_id, device_id, slot, from_generation)
  select tid, credential_id, device_id, 'a', made from given;
  perform iot.many_changed(cardinality(devices));
  return made;
end $$;

-- Gives a device a new credential. Without one yet, in slot a. With one, in the other slot, and the old one stays
-- until the device has logged in with the new one, or until the deadline. While a rotation is under way, its new
-- credential is replaced: the secret was lost. keep_username: in the same slot, which cuts the device off at once.
create function iot.credential_rotate(
    tenant text, device text, hash text, overlap interval, keep_username boolean default false,
    out username text, out generation bigint, out old_ends_at timestamptz)
  language plpgsql security definer set search_path = '' as $$
declare
  tid int := iot.owned_tenant(tenant);
  place record;
  newest record;
  older bigint;
  to_slot text;
begin
  place := iot.live_device(tid, device);
  if place.disabled then
    raise exception 'device % is disabled: enable it first', device using errcode = 'IOT01';
  end if;
  generation := iot.begin_set(tid, 'rotate ' || device);
  select m.credential_id, m.slot into newest from iot.credential_members m
  where m.tenant_id = tid and m.device_id = place.device_id and m.to_generation is null
  order by m.credential_id desc limit 1;
  select m.credential_id into older from iot.credential_members m
  where m.tenant_id = tid and m.device_id = place.device_id and m.to_generation is null
    and m.credential_id < newest.credential_id;
  to_slot := case when newest.slot is null then 'a'
                  when keep_username or older is not null then newest.slot
                  when newest.slot = 'a' then 'b' else 'a' end;
  if newest.slot is not null and (keep_username or older is not null or overlap <= interval '0') then
    update iot.credential_members m set to_generation = credential_rotate.generation
    where m.tenant_id = tid and m.device_id = place.device_id and m.to_generation is null
      and (m.credential_id = newest.credential_id or overlap <= interval '0' or keep_username);
  end if;
  update iot.credentials c set ends_at = clock_timestamp() + overlap
  from iot.credential_members m
  where m.tenant_id = tid and m.device_id = place.device_id and m.to_generation is null
    and c.tenant_id = tid and c.credential_id = m.credential_id
  returning c.ends_at into old_ends_at;
  username := tenant || '/devices/' || device || case to_slot when 'b' then '/b' else '' end;
  perform iot.put_credential(tid, place.device_id, to_slot, username, hash, generation);
end $$;

-- Ends a device's credentials now and for ever: no rollback brings one back. only_slot: that one; otherwise all,
-- those of the past included.
create function iot.credential_revoke(tenant text, device text, why text, only_slot text default null) returns bigint
  language plpgsql security definer set search_path = '' as $$
declare
  tid int := iot.owned_tenant(tenant);
  place record;
  made bigint;
begin
  place := iot.live_device(tid, device);
  if not exists (select from iot.credentials c where c.tenant_id = tid and c.device_id = place.device_id
                   and c.revoked_at is null and (only_slot is null or c.slot = only_slot)) then
    raise exception 'device % has no credential that could be revoked', device using errcode = 'IOT01';
  end if;
  made := iot.begin_set(tid, 'revoke ' || device || ': ' || why);
  update iot.credential_members m set to_generation = made
  where m.tenant_id = tid and m.device_id = place.device_id and m.to_generation is null
    and (only_slot is null or m.slot = only_slot);
  update iot.credentials c set revoked_at = clock_timestamp(), revoke_reason = why, suspended = false
  where c.tenant_id = tid and c.device_id = place.device_id and c.revoked_at is null
    and (only_slot is null or c.slot = only_slot);
  return made;
end $$;

-- A disabled device cannot log in, and its messages are refused; enabling gives back what was taken.
create function iot.device_set_disabled(tenant text, device text, disable boolean) returns bigint
  language plpgsql security definer set search_path = '' as $$
declare
  tid int := iot.owned_tenant(tenant);
  place record;
  made bigint;
begin
  place := iot.live_device(tid, device);
  if place.disabled = disable then
    raise exception 'device % is % already', device, case when disable then 'disabled' else 'enabled' end
      using errcode = 'IOT01';
  end if;
  made := iot.begin_set(tid, case when disable then 'disable ' else 'enable ' end || device);
  update iot.devices d set disabled = disable where d.tenant_id = tid and d.device_id = place.device_id;
  if disable then
    with gone as (
      update iot.credential_members m set to_generation = made
      where m.tenant_id = tid and m.device_id = place.device_id and m.to_generation is null returning credential_id)
    update iot.credentials c set suspended = true from gone
    where c.tenant_id = tid and c.credential_id = gone.credential_id;
  else
    with back as (
      update iot.credentials c set suspended = false
      where c.tenant_id = tid and c.device_id = place.device_id and c.suspended and c.revoked_at is null
      returning c.credential_id, c.slot)
    insert into iot.credential_members (tenant_id, credential_id, device_id, slot, from_generation)
    select tid, credential_id, place.device_id, slot, made from back;
  end if;
  return made;
end $$;

-- A new set in which this tenant has what it had in set `target`, without what was revoked since and without
-- disabled devices. Other tenants stay as they are.
create function iot.credentials_rollback(
    tenant text, target bigint, out generation bigint, out restored int, out ended int, out left_out int)
  language plpgsql security definer set search_path = '' as $$
declare
  tid int := iot.owned_tenant(tenant);
  wanted bigint[];
begin
  if not exists (select from iot.credential_sets s where s.generation = target) then
    raise exception 'there is no set %', target using errcode = 'IOT01';
  end if;
  generation := iot.begin_set(tid, 'rollback to set ' || target);
  select array_agg(m.credential_id) filter (where c.revoked_at is null and not d.disabled),
         count(*) filter (where c.revoked_at is not null or d.disabled)
  into wanted, left_out
  from iot.credential_members m
  join iot.credentials c using (tenant_id, credential_id)
  join iot.devices d on d.tenant_id = m.tenant_id and d.device_id = m.device_id
  where m.tenant_id = tid and m.from_generation <= target and (m.to_generation is null or m.to_generation > target);
  wanted := coalesce(wanted, '{}');

  update iot.credential_members m set to_generation = credentials_rollback.generation
  where m.tenant_id = tid and m.to_generation is null and m.credential_id <> all (wanted);
  get diagnostics ended = row_count;
  insert into iot.credential_members (tenant_id, credential_id, device_id, slot, from_generation)
  select tid, c.credential_id, c.device_id, c.slot, credentials_rollback.generation
  from iot.credentials c
  where c.tenant_id = tid and c.credential_id = any (wanted)
    and not exists (select from iot.credential_members m where m.tenant_id = tid
                      and m.credential_id = c.credential_id and m.to_generation is null);
  get diagnostics restored = row_count;
  perform iot.many_changed(restored + ended);
  -- of two credentials of a device, the older one has a deadline; a single one has none
  update iot.credentials c
  set ends_at = case when exists (select from iot.credential_members n where n.tenant_id = tid
      and n.device_id = c.device_id and n.to_generation is null and n.credential_id > c.credential_id)
    then greatest(c.ends_at, clock_timestamp() + interval '7 days') end
  where c.tenant_id = tid and c.credential_id = any (wanted);

  update iot.acl_grants g set to_generation = credentials_rollback.generation
  where g.tenant_id = tid and g.to_generation is null and g.from_generation > target;
  insert into iot.acl_grants (tenant_id, device_id, access, topic_filter, from_generation)
  select g.tenant_id, g.device_id, g.access, g.topic_filter, credentials_rollback.generation
  from iot.acl_grants g
  where g.tenant_id = tid and g.from_generation <= target and g.to_generation > target
    and g.to_generation < credentials_rollback.generation;
end $$;

-- Lets a device do more than its own subtree: inside its tenant's topics, or anywhere for the service itself.
create function iot.acl_grant(tenant text, device text, access iot.acl_access, topic_filter text) returns bigint
  language plpgsql security definer set search_path = '' as $$
declare
  tid int := iot.owned_tenant(tenant);
  place record;
  made bigint;
begin
  place := iot.live_device(tid, device);
  if topic_filter !~ '^([^+#/]*|[+])(/([^+#/]*|[+]))*(/#)?$' and topic_filter <> '#' then
    raise exception '% is no topic filter: + stands for a whole level, # only at the end', topic_filter
      using errcode = 'IOT01';
  end if;
  if tid <> 0 and not starts_with(topic_filter, 'tenants/' || tenant || '/') then
    raise exception 'the filter must begin with tenants/%/', tenant using errcode = 'IOT01';
  end if;
  if topic_filter ~ '^[$]' and topic_filter !~ '^[$]SYS/' then
    raise exception 'of the topics that begin with $, only $SYS/ can be granted' using errcode = 'IOT01';
  end if;
  made := iot.begin_set(tid, 'grant ' || device || ' ' || access || ' ' || topic_filter);
  insert into iot.acl_grants (tenant_id, device_id, access, topic_filter, from_generation)
  values (tid, place.device_id, access, topic_filter, made);
  return made;
end $$;

create function iot.acl_withdraw(tenant text, device text, topic_filter text) returns bigint
  language plpgsql security definer set search_path = '' as $$
declare
  tid int := iot.owned_tenant(tenant);
  place record;
  made bigint;
begin
  place := iot.live_device(tid, device);
  made := iot.begin_set(tid, 'withdraw ' || device || ' ' || topic_filter);
  update iot.acl_grants g set to_generation = made
  where g.tenant_id = tid and g.device_id = place.device_id and g.topic_filter = acl_withdraw.topic_filter
    and g.to_generation is null;
  if not found then
    raise exception 'device % has no grant for %', device, topic_filter using errcode = 'IOT01';
  end if;
  return made;
end $$;

-- Agents refuse a set that takes most devices away, until an owner of the service confirms it.
create function iot.credentials_confirm(target bigint) returns void
  language plpgsql security definer set search_path = '' as $$
begin
  perform iot.owned_tenant('platform');
  update iot.credential_sets s set confirmed_by = session_user where s.generation = target;
  if not found then
    raise exception 'there is no set %', target using errcode = 'IOT01';
  end if;
  perform pg_catalog.pg_notify('iot_credentials', target::text);
end $$;

-- Functions for agents.

-- Ends old credentials whose device has moved to the new one, or whose deadline is over; returns how many.
create function iot.credentials_settle() returns int
  language plpgsql security definer set search_path = '' as $$
declare
  tid int;
  made bigint;
  done int;
  total int := 0;
begin
  for tid in
    select distinct c.tenant_id from iot.credential_members m join iot.credentials c using (tenant_id, credential_id)
    where m.to_generation is null and c.ends_at is not null and (c.ends_at <= now() or exists (
      select from iot.credential_members n join iot.credentials nc using (tenant_id, credential_id)
      where n.tenant_id = m.tenant_id and n.device_id = m.device_id and n.to_generation is null
        and n.credential_id > m.credential_id and nc.first_login_at is not null))
  loop
    made := iot.begin_set(tid, 'end of rotation');
    update iot.credential_members m set to_generation = made
    from iot.credentials c
    where m.tenant_id = tid and m.to_generation is null
      and c.tenant_id = tid and c.credential_id = m.credential_id
      and c.ends_at is not null and (c.ends_at <= now() or exists (
        select from iot.credential_members n join iot.credentials nc using (tenant_id, credential_id)
        where n.tenant_id = tid and n.device_id = m.device_id and n.to_generation is null
          and n.credential_id > m.credential_id and nc.first_login_at is not null));
    get diagnostics done = row_count;
    perform iot.many_changed(done);
    total := total + done;
  end loop;
  return total;
end $$;

-- Notes logins that a broker reported, each under the set that was in force then (no clock is compared); at most one
-- write a minute and credential.
create function iot.credential_logins(usernames text[], generations bigint[]) returns void
  language sql security definer set search_path = '' as $$
  update iot.credentials c set first_login_at = coalesce(c.first_login_at, now()), last_login_at = now()
  from (select distinct u.name, u.number from unnest(usernames, generations) as u(name, number)) seen
  where c.username = seen.name and (c.last_login_at is null or c.last_login_at < now() - interval '1 minute')
    and exists (select from iot.credential_members m where m.tenant_id = c.tenant_id
                  and m.credential_id = c.credential_id and m.from_generation <= seen.number
                  and (m.to_generation is null or m.to_generation > seen.number))
$$;

grant execute on function iot.device_create(text, text[], text[]),
  iot.credential_rotate(text, text, text, interval, boolean), iot.credential_revoke(text, text, text, text),
  iot.device_set_disabled(text, text, boolean), iot.credentials_rollback(text, bigint), iot.credentials_confirm(bigint),
  iot.acl_grant(text, text, iot.acl_access, text), iot.acl_withdraw(text, text, text) to iot_owner;
grant execute on function iot.credentials_settle(), iot.credential_logins(text[], bigint[]) to iot_agent;
