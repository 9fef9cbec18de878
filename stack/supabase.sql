-- The rules of a Supabase project on a plain PostgreSQL: postgres is no superuser, the API roles exist, and an older
-- project's default privileges open everything new in public to them. Source: supabase/postgres migrations, docs.
create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
create role authenticator login noinherit;
grant anon, authenticated, service_role to authenticator;
create role postgres login createdb createrole replication bypassrls;
grant pg_monitor, pg_read_all_data, pg_signal_backend to postgres;
