import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { sql } from 'kysely'
import { dump } from '../../core/database/backup/dump.js'
import type { BackupLine } from '../../core/database/backup/lines.js'
import { load } from '../../core/database/backup/load.js'
import type { ReadingWrite } from '../../core/database/readings/reading.js'
import { Retention } from '../../core/database/retention.js'
import type { Store } from '../../core/database/store.js'
import { silentLogger } from '../../core/observability/logger.js'
import { systemClock } from '../../core/support/clock.js'
import { openStore } from '../core/database/databases.js'
import { type OwnServer, ownServer, whyNoServers } from '../core/database/own-servers.js'
import { TIMESCALE_STAND_IN } from './timescale-stand-in.js'

const DAY_US = 86_400_000_000
const NOW = Date.parse('2026-06-01T12:00:00Z')
const clock = { ...systemClock, now: () => NOW }
const skip = (await whyNoServers()) ?? false

/** `count` readings of one point within the day `ago` days before now, from its noon on. */
function day(ago: number, count: number): ReadingWrite[] {
  return Array.from({ length: count }, (_, n) => ({
    source: { instance: 'h', boot: 'one' },
    sequence: ago * 100_000 + n + 1,
    device_id: 'd',
    point: 'p',
    unit: null,
    time_us: NOW * 1e3 - ago * DAY_US + n,
    value: n,
    quality: 'good',
    reason: null,
  }))
}

describe('readings in a hypertable of TimescaleDB (stand-in)', { skip }, () => {
  let server: OwnServer
  before(async () => {
    server = await ownServer('postgres', TIMESCALE_STAND_IN)
    await server.start()
  })
  after(() => server?.remove())

  const opened: Store[] = []
  after(() => Promise.all(opened.map((store) => store.close())))
  /** A database of its own, in which `prepare` is run before the store opens it. */
  let databases = 0
  async function database(...prepare: readonly string[]) {
    const name = `hyper${databases++}`
    const admin = await openStore({ ...server.config }, { migrate: false })
    await sql.raw(`create database ${name}`).execute(admin.kysely)
    await admin.close()
    const config = { ...server.config, url: server.config.url.replace(/[^/]+$/, name) }
    const bare = await openStore(config, { migrate: false })
    for (const statement of prepare) await sql.raw(statement).execute(bare.kysely)
    await bare.close()
    const told: string[] = []
    const tell = (_: object, sentence?: string) => void told.push(sentence ?? '')
    const open = async () => {
      const store = await openStore(config, { clock, logger: { ...silentLogger, info: tell, warn: tell } })
      opened.push(store)
      return store
    }
    return { open, told }
  }

  const calls = async (store: Store, schema = 'public') =>
    (
      await sql<{ call: string }>`select call from ${sql.id(schema, 'calls')} order by n`.execute(store.kysely)
    ).rows.map(({ call }) => call)
  const days = async (store: Store) =>
    (
      await sql<{ ago: number }>`select (${NOW * 1e3}::bigint - min(time_us)) / ${sql.lit(DAY_US)} as ago
        from routemq_readings group by time_us / ${sql.lit(DAY_US)} order by 1`.execute(store.kysely)
    ).rows.map(({ ago }) => ago)

  test('a fresh table becomes one, by days, in whichever schema the extension is; a second start changes nothing', async () => {
    const { open, told } = await database('create schema ts', 'create extension timescaledb schema ts')
    const store = await open()
    assert.equal(store.state.name, 'ok')
    assert.deepEqual(await calls(store, 'ts'), ['create_hypertable routemq_readings time_us 86400000000 indexes=f'])
    assert.match(told.join(), /hypertable of TimescaleDB/)
    const again = await open()
    assert.equal((await calls(again, 'ts')).length, 1)
  })

  test('rows that are inserted again are there once', async () => {
    const store = await (await database('create extension timescaledb')).open()
    await store.readings.insertBatch(day(1, 50))
    await store.readings.insertBatch([...day(1, 60), ...day(2, 5)])
    const { rows } = await sql<{ n: number }>`select count(*)::int as n from routemq_readings`.execute(store.kysely)
    assert.equal(rows[0]!.n, 65)
  })

  test('over age, chunks are dropped and no row is deleted; what shares a chunk with younger ones stays', async () => {
    const store = await (await database('create extension timescaledb')).open()
    for (const ago of [45, 40, 31, 30, 29, 1]) await store.readings.insertBatch(day(ago, 10))
    const report = await new Retention({ store, logger: silentLogger, clock }).run()
    assert.deepEqual([report?.readings, report?.chunks], [0, 3])
    assert.deepEqual(await days(store), [1, 29, 30])
  })

  test('over the size the oldest chunks go, as many as must', async () => {
    const store = await (await database('create extension timescaledb')).open()
    for (const ago of [5, 4, 3, 2, 1]) await store.readings.insertBatch(day(ago, 100))
    const limits = { readingBytes: 25_000 }
    const report = await new Retention({ store, logger: silentLogger, clock, limits }).run()
    assert.deepEqual([report?.readings, report?.chunks], [0, 3])
    assert.deepEqual(await days(store), [1, 2])
  })

  test('where the newest chunk alone is over the size, its oldest rows go', async () => {
    const store = await (await database('create extension timescaledb')).open()
    await store.readings.insertBatch(day(1, 100))
    const spread = day(0, 1_000).map((row, n) => ({ ...row, time_us: NOW * 1e3 - (1_000 - n) * 1_000_000 }))
    await store.readings.insertBatch(spread)
    const limits = { readingBytes: 50_000 }
    const report = await new Retention({ store, logger: silentLogger, clock, limits }).run()
    assert.equal(report?.chunks, 1)
    assert.ok(report.readings > 400 && report.readings < 700, `${report.readings}`)
    const { readings } = await store.readings.query({ device_id: 'd', limit: 1 })
    assert.equal(readings[0]?.sequence, 1_000, 'the newest stay')
  })

  test('one that holds readings stays a plain table until somebody moves them', async () => {
    const { open, told } = await database()
    const store = await open()
    await store.readings.insertBatch(day(3, 20))
    await sql`create extension timescaledb`.execute(store.kysely)
    const started = await open()
    assert.deepEqual(await calls(started), [])
    assert.match(told.join(), /`routemq migrate` moves them/)
    const retention = new Retention({ store: started, logger: silentLogger, clock, limits: { readingDays: 2 } })
    assert.deepEqual((await retention.run())?.readings, 20, 'and is kept within its age as one')
    await started.readings.insertBatch(day(1, 20))
    assert.equal((await started.migrate({ moveReadings: true })).hypertable, true)
    assert.equal((await started.migrate({ moveReadings: true })).hypertable, false)
    assert.deepEqual(await days(started), [1])
  })

  test('one that cannot be made is told, and a plain table serves', async () => {
    const { open, told } = await database(
      'create extension timescaledb',
      `create or replace function create_hypertable(relation regclass, dimension dimension_info, create_default_indexes boolean
        default true, if_not_exists boolean default false, migrate_data boolean default false)
        returns table (hypertable_id integer, created boolean) language plpgsql as $$ begin raise 'not today'; end $$`,
    )
    const store = await open()
    assert.equal(store.state.name, 'ok')
    assert.match(told.join(), /stay in a plain table/)
    await store.readings.insertBatch(day(40, 7))
    assert.equal((await new Retention({ store, logger: silentLogger, clock }).run())?.readings, 7)
  })

  test('a restore fills it', async () => {
    const store = await (await database('create extension timescaledb')).open()
    await store.readings.insertBatch([...day(2, 10), ...day(1, 10)])
    const lines: BackupLine[] = []
    for await (const line of dump({ store, now: () => NOW })) lines.push(line)
    await store.readings.insertBatch(day(0, 10))
    const given = (async function* () {
      yield* lines
    })()
    await load({ store, lines: given })
    assert.deepEqual(await days(store), [1, 2])
  })
})
