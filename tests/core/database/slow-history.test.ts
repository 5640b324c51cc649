import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { isTimeout } from '../../../core/database/connection-errors.js'
import type { ReadingWrite } from '../../../core/database/readings/reading.js'
import { SqliteThread } from '../../../core/database/sqlite/client.js'
import type { Store } from '../../../core/database/store.js'
import { type Kind, type OwnDatabase, onEachDatabase, openStore, ownDatabase } from './databases.js'

const T0 = 1_767_225_600_000_000
const row = (sequence: number): ReadingWrite => ({
  source: { instance: 'h', boot: 'h' },
  sequence,
  device_id: 'meter',
  point: 'p',
  unit: null,
  time_us: T0 + sequence,
  value: sequence,
  quality: 'good',
  reason: null,
})

/** Holds the readings against every reader, as a query over years would hold its own answer back. */
async function lock(kind: Kind, url: string): Promise<() => Promise<void>> {
  if (kind === 'postgres') {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    await client.query('begin; lock table routemq_readings in access exclusive mode')
    return () => client.end()
  }
  const connection = await mysql.createConnection({ uri: url })
  await connection.query('lock tables routemq_readings write')
  return () => connection.end()
}

onEachDatabase((kind) => {
  if (kind === 'sqlite') return
  describe(`a slow query of the history on ${kind}`, () => {
    let own: OwnDatabase
    let store: Store
    before(async () => {
      own = await ownDatabase(kind)
      // More may wait for a connection that is free than may read.
      store = await openStore(own.config, { statementMs: 4_000, connectMs: 3_000 })
    })
    after(async () => {
      await store?.close()
      await own?.drop()
    })

    test('fails alone, ended by the server, and the store stays there', async () => {
      await store.readings.insertBatch([row(1), row(2)])
      const query = () => store.readings.query({ device_id: 'meter', min: 0 })
      await Promise.all([query(), query()])
      const states: string[] = []
      store.onState(({ name }) => states.push(name))
      assert.ok('url' in own.config)
      const unlock = await lock(kind, own.config.url)
      try {
        const ended = await Promise.allSettled([query(), query(), query(), query()])
        const reasons = ended.map((each) => (each.status === 'rejected' ? each.reason : each.value))
        assert.deepEqual(
          reasons.map(({ code }) => code),
          Array(4).fill('HISTORY_TIMEOUT'),
        )
        // Its own word, and not the time-out of who waits for it: nothing is left running there.
        const told = kind === 'postgres' ? /statement timeout/ : /max_statement_time/
        assert.ok(
          reasons.some(({ message }) => told.test(message)),
          String(reasons[0].message),
        )
      } finally {
        await unlock()
      }
      assert.equal(store.state.name, 'ok')
      assert.deepEqual(states, [])
      assert.equal((await query()).readings.length, 2)
    })
  })
})

describe('a long query of the history on sqlite', () => {
  const ROWS = 65_000
  let own: OwnDatabase
  let store: Store
  before(async () => {
    own = await ownDatabase('sqlite')
    store = await openStore(own.config)
    // The first third has one time, which no step can divide; then a row every second.
    const rows = Array.from({ length: ROWS }, (_, n) => ({ ...row(n), time_us: T0 + Math.max(0, n - 22_000) * 1e6 }))
    for (let at = 0; at < ROWS; at += 2_000) await store.readings.insertBatch(rows.slice(at, at + 2_000))
  })
  after(async () => {
    await store?.close()
    await own?.drop()
  })

  test('is read in steps, and finds what one statement would', async () => {
    const found: unknown[] = []
    let cursor: string | undefined
    do {
      const query = { device_id: 'meter', min: 10, max: 64_000, quality: 'good', limit: 1_000 } as const
      const page = await store.readings.query({ ...query, ...(cursor === undefined ? {} : { cursor }) })
      found.push(...page.readings.map(({ value }) => value))
      cursor = page.next ?? undefined
    } while (cursor !== undefined)
    assert.deepEqual(
      found,
      Array.from({ length: 63_991 }, (_, n) => 64_000 - n),
    )
    assert.deepEqual(
      (await store.readings.query({ device_id: 'meter', value: 3 })).readings.map(({ value }) => value),
      [3],
    )
  })

  test('buckets are the same whatever steps they are read in', async () => {
    const range = { device_id: 'meter', point: 'p', from: T0, to: T0 + 43_000 * 1e6 } as const
    const [first, ...others] = await store.readings.buckets({ ...range, every: '7h' })
    // Whole: what was read at T0, and 7 hours with a value each second.
    assert.deepEqual(
      [first, ...others].map((bucket) => [bucket!.count, bucket!.min, bucket!.max, bucket!.last]),
      [
        [22_000 + 25_200, 0, 47_199, 47_199],
        [17_800, 47_200, 64_999, 64_999],
      ],
    )
    assert.ok(Math.abs(first!.avg! - 47_199 / 2) < 1e-6, String(first!.avg))
    const days = await store.readings.buckets({ ...range, every: 'day', tz: 'Asia/Tokyo' })
    assert.deepEqual(
      days.map(({ count }) => count),
      [22_000 + 43_000],
    )
    assert.ok(Math.abs(days[0]!.avg! - 64_999 / 2) < 1e-6, String(days[0]!.avg))
  })

  test('ends when its time is over, and the store stays there', async () => {
    const hasty = await openStore(own.config, { statementMs: 1 })
    const states: string[] = []
    hasty.onState(({ name }) => states.push(name))
    const range = { device_id: 'meter', point: 'p', from: 0, to: T0 * 2 } as const
    await assert.rejects(hasty.readings.query({ device_id: 'meter', min: 1e300 }), { code: 'HISTORY_TIMEOUT' })
    await assert.rejects(hasty.readings.buckets({ ...range, every: '999999h' }), { code: 'HISTORY_TIMEOUT' })
    assert.deepEqual([hasty.state.name, states], ['ok', []])
    await hasty.close()
  })

  test('ends when nobody waits for it any more', async (context) => {
    const gone = new Error('gone')
    const caller = new AbortController()
    const asked: string[] = []
    const query = SqliteThread.prototype.query
    context.mock.method(
      SqliteThread.prototype,
      'query',
      function (this: SqliteThread, text: string, params: unknown[]) {
        if (text.includes('routemq_readings')) asked.push(text)
        if (asked.length === 2) caller.abort(gone)
        return query.call(this, text, params)
      },
    )
    await assert.rejects(store.readings.query({ device_id: 'meter', min: 1e300 }, caller.signal), gone)
    assert.equal(asked.length, 2)
  })
})

test('what is a time-out, and what is not', () => {
  const coded = (code: string) => Object.assign(new Error('x'), { code })
  assert.ok(isTimeout(new Error('Query read timeout')))
  assert.ok(isTimeout(coded('57014')))
  assert.ok(isTimeout(Object.assign(coded('ER_QUERY_TIMEOUT'), { errno: 3024 })))
  assert.ok(!isTimeout(coded('ECONNREFUSED')))
  assert.ok(!isTimeout(new Error('Connection terminated due to connection timeout')))
})
