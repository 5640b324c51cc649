import { type Kysely, sql } from 'kysely'
import type { DialectTypes } from '../dialect.js'
import type { Migration } from './migration.js'

const TABLES = [
  'routemq_meta',
  'routemq_devices',
  'routemq_targets',
  'routemq_sources',
  'routemq_series',
  'routemq_readings',
  'routemq_events',
  'routemq_audit',
  'routemq_dead_letters',
  'routemq_parked',
  'routemq_claims',
  'routemq_leases',
  'routemq_api_keys',
] as const

export const initial: Migration = { name: '0001-initial', creates: TABLES, up, down }

async function up(db: Kysely<unknown>, types: DialectTypes): Promise<void> {
  await inventory(db, types)
  await history(db, types)
  await delivery(db, types)
}

async function down(db: Kysely<unknown>): Promise<void> {
  for (const table of [...TABLES].reverse()) await db.schema.dropTable(table).execute()
}

/** Devices and targets: columns have defaults, because people insert rows by hand. */
async function inventory(db: Kysely<unknown>, { withId, finish, text }: DialectTypes): Promise<void> {
  await finish(
    db.schema
      .createTable('routemq_meta')
      .addColumn('name', 'varchar(64)', (name) => name.primaryKey())
      .addColumn('value', text, (value) => value.notNull()),
  ).execute()
  await finish(
    db.schema
      .createTable('routemq_devices')
      .addColumn('device_id', 'varchar(50)', (id) => id.primaryKey())
      .addColumn('host', 'varchar(100)')
      .addColumn('port', 'integer')
      .addColumn('slave_id', 'integer', (slave) => slave.notNull().defaultTo(1))
      .addColumn('unit_id', 'integer')
      .addColumn('timeout', 'double precision', (timeout) => timeout.notNull().defaultTo(10))
      .addColumn('timeout_ms', 'double precision')
      .addColumn('poll_timeout_ms', 'double precision')
      .addColumn('framer', 'varchar(10)', (framer) => framer.notNull().defaultTo('RTU'))
      .addColumn('transport', 'varchar(10)', (transport) => transport.notNull().defaultTo('tcp'))
      .addColumn('path', 'varchar(255)')
      .addColumn('baud_rate', 'integer')
      .addColumn('parity', 'varchar(10)')
      .addColumn('data_bits', 'integer')
      .addColumn('stop_bits', 'integer')
      .addColumn('max_retries', 'integer', (retries) => retries.notNull().defaultTo(5))
      .addColumn('retry_delay', 'double precision', (delay) => delay.notNull().defaultTo(0.1))
      .addColumn('write_enabled', 'boolean', (enabled) => enabled.notNull().defaultTo(true))
      .addColumn('raw_write', 'varchar(10)', (raw) => raw.notNull().defaultTo('allow'))
      .addColumn('is_active', 'boolean', (active) => active.notNull().defaultTo(true))
      .addColumn('points', text)
      .addColumn('options', text)
      .addColumn('created_us', 'bigint', (created) => created.notNull().defaultTo(0))
      .addColumn('updated_us', 'bigint', (updated) => updated.notNull().defaultTo(0)),
  ).execute()
  await finish(
    withId(db.schema.createTable('routemq_targets'))
      .addColumn('device_id', 'varchar(50)', (id) => id.notNull())
      .addColumn('register_type', 'varchar(10)', (type) => type.notNull().defaultTo('holding'))
      .addColumn('address', 'integer', (address) => address.notNull())
      .addColumn('count', 'integer', (count) => count.notNull().defaultTo(1))
      .addColumn('description', 'varchar(200)')
      .addColumn('is_active', 'boolean', (active) => active.notNull().defaultTo(true))
      .addColumn('interval_ms', 'double precision')
      .addColumn('publish', 'varchar(10)', (publish) => publish.notNull().defaultTo('always'))
      .addColumn('options', text)
      .addColumn('created_us', 'bigint', (created) => created.notNull().defaultTo(0))
      .addColumn('updated_us', 'bigint', (updated) => updated.notNull().defaultTo(0)),
  ).execute()
  await db.schema.createIndex('routemq_targets_device').on('routemq_targets').column('device_id').execute()
}

/** Readings, events, audit. */
async function history(db: Kysely<unknown>, { name, withId, finish, text }: DialectTypes): Promise<void> {
  await finish(
    withId(db.schema.createTable('routemq_sources'))
      .addColumn('instance', 'varchar(64)', (instance) => instance.notNull())
      .addColumn('boot', 'varchar(64)', (boot) => boot.notNull())
      .addUniqueConstraint('routemq_sources_once', ['instance', 'boot']),
  ).execute()
  await finish(
    withId(db.schema.createTable('routemq_series'))
      .addColumn('device_id', 'varchar(50)', (id) => id.notNull())
      .addColumn('point', 'varchar(128)', (point) => point.notNull())
      .addColumn('unit', 'varchar(32)')
      .addUniqueConstraint('routemq_series_once', ['device_id', 'point']),
  ).execute()
  // The one key serves both: rows of a series lie together in the order of time, and a row that is inserted again
  // meets itself. A second index would double the cost of every insert.
  await finish(
    db.schema
      .createTable('routemq_readings')
      .addColumn('series_id', 'integer', (series) => series.notNull())
      .addColumn('time_us', 'bigint', (time) => time.notNull())
      .addColumn('source_id', 'integer', (source) => source.notNull())
      .addColumn('sequence', 'bigint', (sequence) => sequence.notNull())
      .addColumn('value', 'double precision')
      .addColumn('text_value', text)
      .addColumn('kind', 'smallint', (kind) => kind.notNull())
      .addColumn('quality', 'smallint', (quality) => quality.notNull())
      .addColumn('reason', 'varchar(64)')
      .addPrimaryKeyConstraint('routemq_readings_once', ['series_id', 'time_us', 'source_id', 'sequence'])
      .$call((table) => (name === 'sqlite' ? table.modifyEnd(sql`without rowid`) : table)),
  ).execute()
  await finish(
    withId(db.schema.createTable('routemq_events'))
      .addColumn('time_us', 'bigint', (time) => time.notNull())
      .addColumn('kind', 'varchar(64)', (kind) => kind.notNull())
      .addColumn('device_id', 'varchar(50)')
      .addColumn('level', 'varchar(10)', (level) => level.notNull())
      .addColumn('message', text, (message) => message.notNull())
      .addColumn('details', text),
  ).execute()
  await db.schema.createIndex('routemq_events_time').on('routemq_events').column('time_us').execute()
  await finish(
    withId(db.schema.createTable('routemq_audit'))
      .addColumn('time_us', 'bigint', (time) => time.notNull())
      .addColumn('actor_kind', 'varchar(16)', (kind) => kind.notNull())
      .addColumn('actor_name', 'varchar(255)', (actor) => actor.notNull())
      .addColumn('action', 'varchar(64)', (action) => action.notNull())
      .addColumn('device_id', 'varchar(50)')
      .addColumn('subject', 'varchar(255)')
      .addColumn('before_value', text)
      .addColumn('after_value', text)
      .addColumn('outcome', 'varchar(16)', (outcome) => outcome.notNull())
      .addColumn('code', 'varchar(64)')
      .addColumn('duration_ms', 'double precision')
      .addColumn('details', text),
  ).execute()
  await db.schema.createIndex('routemq_audit_time').on('routemq_audit').column('time_us').execute()
}

/** Dead letters, parked messages, idempotency claims, leases, API keys. */
async function delivery(db: Kysely<unknown>, { withId, finish, text }: DialectTypes): Promise<void> {
  await finish(
    db.schema
      .createTable('routemq_dead_letters')
      .addColumn('id', 'varchar(40)', (id) => id.primaryKey())
      .addColumn('failed_us', 'bigint', (failed) => failed.notNull())
      .addColumn('route', 'varchar(255)', (route) => route.notNull())
      .addColumn('topic', text, (topic) => topic.notNull())
      .addColumn('code', 'varchar(64)', (code) => code.notNull())
      .addColumn('record', text, (record) => record.notNull()),
  ).execute()
  await db.schema.createIndex('routemq_dead_failed').on('routemq_dead_letters').columns(['failed_us', 'id']).execute()
  // `id` is the order of parking, `parked_id` what callers know.
  await finish(
    withId(db.schema.createTable('routemq_parked'))
      .addColumn('parked_id', 'varchar(40)', (id) => id.notNull().unique())
      .addColumn('route', 'varchar(255)', (route) => route.notNull())
      .addColumn('record', text, (record) => record.notNull())
      .addColumn('parked_us', 'bigint', (parked) => parked.notNull()),
  ).execute()
  await finish(
    db.schema
      .createTable('routemq_claims')
      .addColumn('claim_key', 'varchar(255)', (key) => key.primaryKey())
      .addColumn('payload_hash', 'varchar(64)', (hash) => hash.notNull())
      .addColumn('owner', 'varchar(128)', (owner) => owner.notNull())
      .addColumn('state', 'varchar(10)', (state) => state.notNull())
      .addColumn('outcome', text)
      .addColumn('claimed_us', 'bigint', (claimed) => claimed.notNull())
      .addColumn('updated_us', 'bigint', (updated) => updated.notNull()),
  ).execute()
  await db.schema.createIndex('routemq_claims_updated').on('routemq_claims').column('updated_us').execute()
  await finish(
    db.schema
      .createTable('routemq_leases')
      .addColumn('name', 'varchar(255)', (name) => name.primaryKey())
      .addColumn('owner', 'varchar(128)', (owner) => owner.notNull())
      .addColumn('epoch', 'bigint', (epoch) => epoch.notNull())
      .addColumn('renewed_us', 'bigint', (renewed) => renewed.notNull())
      .addColumn('term_us', 'bigint', (term) => term.notNull()),
  ).execute()
  await finish(
    db.schema
      .createTable('routemq_api_keys')
      .addColumn('prefix', 'varchar(32)', (prefix) => prefix.primaryKey())
      .addColumn('hash', 'varchar(64)', (hash) => hash.notNull())
      .addColumn('name', 'varchar(100)', (name) => name.notNull())
      .addColumn('scope', 'varchar(10)', (scope) => scope.notNull())
      .addColumn('created_us', 'bigint', (created) => created.notNull())
      .addColumn('expires_us', 'bigint')
      .addColumn('revoked_us', 'bigint'),
  ).execute()
}
