-- The tables that grow, distributed by tenant with Citus: docs/scale-out.md.
-- As the owner of the database, on the coordinator, after `iot-agent migrate` and before the first agent runs.
create extension if not exists citus;
select create_reference_table('iot.tenants');
select create_distributed_table('public.telemetry', 'tenant_id');
select create_distributed_table('iot.ingest_minute', 'tenant_id', colocate_with => 'public.telemetry');
