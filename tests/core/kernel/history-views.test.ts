import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ReadingWrite } from '../../../core/database/readings/reading.js'
import { historyViews } from '../../../core/kernel/history-views.js'
import { openStore, ownDatabase } from '../database/databases.js'

const T0 = Date.parse('2026-01-01T00:00:00Z') * 1e3
const row = (sequence: number, time_us: number): ReadingWrite => ({
  source: { instance: 'h', boot: 'h' },
  sequence,
  device_id: 'meter',
  point: 'p',
  unit: null,
  time_us,
  value: sequence,
  quality: sequence % 2 === 0 ? 'good' : 'bad',
  reason: null,
})

test('times that an answer shows may be asked with: each row is in one of two ranges that meet', async (context) => {
  const own = await ownDatabase('sqlite')
  const store = await openStore(own.config)
  context.after(async () => {
    await store.close()
    await own.drop()
  })
  // Four within one millisecond.
  await store.readings.insertBatch([1, 2, 3, 4].map((n) => row(n, T0 + n)))
  await store.events.append([1, 2].map((n) => ({ kind: 'a', message: String(n), at: (T0 + n) / 1e3 })))
  const { readings, events } = historyViews(store)
  const { items } = await readings!.page({ limit: 10 })
  const third = items[1]!.timestamp
  assert.equal(third, '2026-01-01T00:00:00.000003Z')
  const values = async (query: object) =>
    (await readings!.page({ limit: 10, ...query })).items.map(({ value }) => value)
  assert.deepEqual(await values({ to: third }), [2, 1])
  assert.deepEqual(await values({ from: third }), [4, 3])
  assert.deepEqual(await values({ from: third, to: third }), [])
  assert.deepEqual(await values({ value: 3 }), [3])
  assert.deepEqual(await values({ quality: 'bad' }), [3, 1])
  const [bucket] = await readings!.buckets!({
    device_id: 'meter',
    point: 'p',
    from: '2026-01-01T00:00:00Z',
    to: third,
    bucket: 60_000,
    tz: 'UTC',
  })
  assert.equal(bucket?.count, 2)
  const shown = (await events!({ limit: 10 })).items[0]!.timestamp
  assert.deepEqual((await events!({ limit: 10, to: shown })).items.length, 1)
  assert.deepEqual((await events!({ limit: 10, from: shown })).items.length, 1)
  await assert.rejects(events!({ limit: 10, from: 'yesterday' }), { code: 'REQUEST_INVALID' })
})
