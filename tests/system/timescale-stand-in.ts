import type { OwnExtension } from '../core/database/own-servers.js'

/**
 * The functions and views of TimescaleDB that the store uses, with its names, arguments and conditions, over a plain table:
 * it counts chunks, drops them and notes its calls. What a chunk does to plans and locks it does not show.
 */
export const TIMESCALE_STAND_IN: OwnExtension = {
  name: 'timescaledb',
  version: '2.13.0',
  sql: `
create schema timescaledb_information;
create table calls (n bigint generated always as identity, call text not null);
create table tables (relation regclass primary key, time_column name not null, width bigint not null);

create type dimension_info as (column_name name, width bigint);
create function by_range(column_name name, partition_interval anyelement default null::bigint, partition_func regproc default null)
returns dimension_info language sql as $$ select row(column_name, partition_interval)::@extschema@.dimension_info $$;

create function create_hypertable(relation regclass, dimension dimension_info, create_default_indexes boolean default true,
  if_not_exists boolean default false, migrate_data boolean default false)
returns table (hypertable_id integer, created boolean) language plpgsql as $$
declare has_rows boolean; lacking text;
begin
  insert into @extschema@.calls (call) values (format('create_hypertable %s %s %s indexes=%s', relation,
    dimension.column_name, dimension.width, create_default_indexes));
  if exists (select 1 from @extschema@.tables t where t.relation = create_hypertable.relation) then
    if not if_not_exists then raise 'table "%" is already a hypertable', relation; end if;
    return query select 1, false;
    return;
  end if;
  select i.indexrelid::regclass::text into lacking from pg_index i where i.indrelid = relation and i.indisunique
    and not exists (select 1 from pg_attribute a where a.attrelid = relation and a.attname = dimension.column_name
      and a.attnum = any(i.indkey));
  if lacking is not null then
    raise 'cannot create a unique index without the column "%" (used in partitioning)', dimension.column_name;
  end if;
  execute format('select exists (select 1 from %s)', relation) into has_rows;
  if has_rows and not migrate_data then raise 'table "%" is not empty', relation; end if;
  insert into @extschema@.tables values (relation, dimension.column_name, dimension.width);
  return query select 1, true;
end $$;

create function chunk_starts(of regclass) returns setof bigint language plpgsql as $$
declare found @extschema@.tables;
begin
  select * into strict found from @extschema@.tables where relation = of;
  return query execute format('select distinct %1$I / %2$s * %2$s from %3$s order by 1', found.time_column, found.width, of);
end $$;

create function drop_chunks(relation regclass, older_than anyelement default null::bigint,
  newer_than anyelement default null::bigint)
returns setof text language plpgsql as $$
declare found @extschema@.tables; start bigint;
begin
  insert into @extschema@.calls (call) values (format('drop_chunks %s %s', relation, older_than));
  select * into strict found from @extschema@.tables t where t.relation = drop_chunks.relation;
  for start in select * from @extschema@.chunk_starts(relation) loop
    continue when start + found.width > older_than;
    execute format('delete from %s where %I >= %s and %I < %s', relation, found.time_column, start, found.time_column,
      start + found.width);
    return next 'chunk_' || start;
  end loop;
end $$;

-- A hundred bytes a row: the table beneath does not shrink when rows go, as chunks do.
create function hypertable_size(hypertable regclass) returns bigint language plpgsql as $$
declare bytes bigint;
begin
  execute format('select 100 * count(*) from %s', hypertable) into bytes;
  return bytes;
end $$;

create view timescaledb_information.hypertables as
  select n.nspname as hypertable_schema, c.relname as hypertable_name
  from @extschema@.tables t join pg_class c on c.oid = t.relation join pg_namespace n on n.oid = c.relnamespace;
create view timescaledb_information.chunks as
  select n.nspname as hypertable_schema, c.relname as hypertable_name, start as range_start_integer,
    start + t.width as range_end_integer
  from @extschema@.tables t join pg_class c on c.oid = t.relation join pg_namespace n on n.oid = c.relnamespace,
    lateral @extschema@.chunk_starts(t.relation) as start;
`,
}
