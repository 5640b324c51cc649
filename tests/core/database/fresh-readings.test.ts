import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type RawBuilder, sql } from 'kysely'
import { dump } from '../../../core/database/backup/dump.js'
import { load } from '../../../core/database/backup/load.js'
import { freshReadings } from '../../../core/database/migrations/0005-fresh-readings.js'
import type { ReadingWrite } from '../../../core/database/readings/reading.js'
import type { Store } from '../../../core/database/store.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { until } from '../support/until.js'
import { type OwnDatabase, openStore, ownDatabase } from './databases.js'

const T0 = Date.UTC(2026, 0, 1) * 1e3

/** A second of each of three points, `n` seconds after {@link T0}. */
function second(n: number, device_id = 'd'): ReadingWrite[] {
  return ['a', 'b', 'c'].map((point, at) => ({
    source: { instance: 'i', boot: 'b' },
    sequence: n * 3 + at + 1,
    device_id,
    point,
    unit: null,
    time_us: T0 + n * 1e6,
    value: n,
    quality: 'good',
    reason: null,
  }))
}

const seconds = (from: number, to: number) => Array.from({ length: to - from }, (_, n) => second(from + n)).flat()

describe('readings that SQLite took last', () => {
  let own: OwnDatabase
  let store: Store
  const clock = new FakeClock()
  before(async () => {
    own = await ownDatabase('sqlite')
    store = await openStore(own.config, { clock })
  })
  after(async () => {
    await store?.close()
    await own?.drop()
  })

  const one = async (query: RawBuilder<{ n: number }>, of = store) => (await query.execute(of.kysely)).rows[0]!.n
  const fresh = (of = store) => one(sql`select count(*) as n from routemq_fresh_readings`, of)
  const placed = (of = store) => one(sql`select count(*) as n from routemq_readings`, of)
  const empty = async () => {
    await store.readings.settle()
    await sql`delete from routemq_readings`.execute(store.kysely)
  }
  const values = async (limit: number) => {
    const out: unknown[] = []
    let cursor: string | undefined
    do {
      const page = await store.readings.query({ device_id: 'd', limit, ...(cursor !== undefined && { cursor }) })
      out.push(...page.readings.map(({ point, value }) => `${point}${value}`))
      cursor = page.next ?? undefined
    } while (cursor !== undefined)
    return out
  }
  const all = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, n) => ['c', 'b', 'a'].map((point) => `${point}${to - 1 - n}`)).flat()

  test('come to their places after twenty seconds, together', async () => {
    await store.readings.insertBatch(seconds(0, 2))
    await store.readings.insertBatch(seconds(2, 4))
    assert.deepEqual([await fresh(), await placed()], [12, 0])
    await clock.advance(19_999)
    assert.deepEqual([await fresh(), await placed()], [12, 0])
    await clock.advance(1)
    await until(async () => (await fresh()) === 0)
    assert.equal(await placed(), 12)
    await empty()
  })

  test('are in pages, filters, buckets and CSV at once, across the border to those in their places', async () => {
    await store.readings.insertBatch(seconds(0, 10))
    await store.readings.settle()
    await store.readings.insertBatch(seconds(10, 20))
    assert.equal(await fresh(), 30)
    for (const limit of [1, 7, 30, 1_000]) assert.deepEqual(await values(limit), all(0, 20), `pages of ${limit}`)
    const filtered = await store.readings.query({ device_id: 'd', point: 'b', min: 8, max: 11 })
    assert.deepEqual(
      filtered.readings.map(({ value }) => value),
      [11, 10, 9, 8],
    )
    const between = { device_id: 'd', from: T0 + 9e6, to: T0 + 11e6 }
    assert.equal((await store.readings.query(between)).readings.length, 6)
    const whole = { device_id: 'd', point: 'a', from: T0, to: T0 + 20e6 }
    for (const every of ['20s', 'day'] as const) {
      const buckets = await store.readings.buckets({ ...whole, every })
      const { count, avg, min, max, last } = buckets[0]!
      assert.deepEqual(
        { count, avg, min, max, last, buckets: buckets.length },
        { count: 20, avg: 9.5, min: 0, max: 19, last: 19, buckets: 1 },
      )
    }
    let lines = 0
    for await (const text of store.readings.csv({ device_id: 'd' })) lines += text.split('\n').length - 1
    assert.equal(lines, 61)
    await empty()
  })

  test('that were inserted twice, or whose move was interrupted, count once', async () => {
    await store.readings.insertBatch(seconds(0, 6))
    await store.readings.insertBatch(seconds(0, 6))
    await sql`insert into routemq_readings select series_id, time_us, source_id, sequence, value, text_value, kind, quality, reason
      from routemq_fresh_readings where sequence <= 9 group by sequence`.execute(store.kysely)
    assert.deepEqual([await fresh(), await placed()], [36, 9])
    for (const limit of [2, 1_000]) assert.deepEqual(await values(limit), all(0, 6), `pages of ${limit}`)
    const [bucket] = await store.readings.buckets({ device_id: 'd', point: 'a', from: T0, to: T0 + 6e6, every: '6s' })
    assert.deepEqual([bucket!.count, bucket!.avg, bucket!.last], [6, 2.5, 5])
    await store.readings.settle()
    assert.deepEqual([await fresh(), await placed()], [0, 18])
    await empty()
  })

  test('are put in their places by two processes at once, while more come, and none is lost', async () => {
    const other = await openStore(own.config)
    try {
      for (let n = 0; n < 60; n += 2) {
        await Promise.all([
          store.readings.insertBatch(seconds(n, n + 1)),
          other.readings.insertBatch(seconds(n + 1, n + 2)),
          store.readings.settle(),
          other.readings.settle(),
        ])
      }
      assert.deepEqual(await values(1_000), all(0, 60))
      await store.readings.settle()
      assert.deepEqual([await fresh(), await placed()], [0, 180])
    } finally {
      await other.close()
    }
    await empty()
  })

  test('read while somebody holds the connection that writes', async () => {
    await store.readings.insertBatch(seconds(0, 1))
    await store.transaction(async () => assert.deepEqual(await values(10), all(0, 1)))
    await empty()
  })

  test('are in their places after a stop; without one they wait in the file', async () => {
    const file = await ownDatabase('sqlite')
    try {
      const first = await openStore(file.config)
      await first.readings.insertBatch(seconds(0, 3))
      const second = await openStore(file.config)
      // As after a kill: the second one has not seen them come.
      assert.equal((await second.readings.query({ device_id: 'd' })).readings.length, 9)
      await second.close()
      assert.equal(await fresh(first), 9)
      await first.close()
      const third = await openStore(file.config)
      assert.deepEqual([await fresh(third), await placed(third)], [0, 9])
      await third.close()
    } finally {
      await file.drop()
    }
  })

  test('are in a backup, and those of before are gone after a restore', async () => {
    const file = await ownDatabase('sqlite')
    try {
      const other = await openStore(file.config)
      await store.readings.insertBatch(seconds(0, 2))
      await other.readings.insertBatch(second(7, 'of another plant'))
      await load({ store: other, lines: dump({ store, now: () => 0 }) })
      await other.readings.settle()
      const { rows } = await sql<{ device_id: string; n: number }>`select device_id, count(*) as n
        from routemq_readings join routemq_series on id = series_id group by device_id`.execute(other.kysely)
      assert.deepEqual(rows, [{ device_id: 'd', n: 6 }])
      await other.close()
    } finally {
      await file.drop()
    }
    await empty()
  })

  test('stay where the migration is taken back', async () => {
    const file = await ownDatabase('sqlite')
    try {
      const other = await openStore(file.config)
      await other.readings.insertBatch(seconds(0, 3))
      const types = { name: 'sqlite' } as Parameters<typeof freshReadings.down>[1]
      await freshReadings.down(other.kysely, types)
      assert.equal(await placed(other), 9)
      await other.close()
    } finally {
      await file.drop()
    }
  })
})
