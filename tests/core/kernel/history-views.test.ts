import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ReadingWrite } from '../../../core/database/readings/reading.js'
import { historyViews } from '../../../core/kernel/history-views.js'
import type { RouteMQError } from '../../../core/support/errors.js'
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
  const many = { device_id: 'meter', point: 'p', from: '2026-01-01T00:00:00Z', to: '2026-01-02T00:00:00Z', tz: 'UTC' }
  await assert.rejects(readings!.buckets!({ ...many, bucket: 1_000 }), (error: RouteMQError) => {
    const [mistake] = error.details!.fields as { field: string; message: string }[]
    assert.equal(mistake?.field, 'bucket', 'as the caller knows it')
    assert.match(mistake.message, /86400 buckets/)
    return error.code === 'REQUEST_INVALID'
  })
  const shown = (await events!({ limit: 10 })).items[0]!.timestamp
  assert.deepEqual((await events!({ limit: 10, to: shown })).items.length, 1)
  assert.deepEqual((await events!({ limit: 10, from: shown })).items.length, 1)
  for (const cursor of ['0x10', '-5', '1e3', '', '1-', 'x']) {
    await assert.rejects(events!({ limit: 10, cursor }), { code: 'REQUEST_INVALID' }, cursor)
  }
  await assert.rejects(events!({ limit: 10, from: 'yesterday' }), { code: 'REQUEST_INVALID' })
})

test('events and audit are in the order of time, page by page, wherever an entry waited meanwhile', async (context) => {
  const own = await ownDatabase('sqlite')
  const store = await openStore(own.config)
  context.after(async () => {
    await store.close()
    await own.drop()
  })
  // In the order of writing: some waited in a spool, and some happened in the same moment.
  const times = [50, 10, 40, 40, 20, 40, 30, 60]
  const entries = times.map((at, n) => ({ at: T0 / 1e3 + at, id: `e${n}` }))
  await store.events.append(entries.map((entry) => ({ ...entry, kind: 'a', device_id: 'd', message: entry.id })))
  const audited = { actor: { kind: 'app', name: 'x' }, action: 'write', outcome: 'ok' } as const
  await store.audit.append(entries.map((entry) => ({ ...entry, ...audited, subject: entry.id })))
  const { events, audit } = historyViews(store)
  const wanted = ['e7', 'e0', 'e5', 'e3', 'e2', 'e6', 'e4', 'e1']
  for (const limit of [1, 2, 3, 8]) {
    const told: string[] = []
    const kept: (string | null)[] = []
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = await events!({ limit, device_id: 'd', ...(cursor !== undefined && { cursor }) })
      told.push(...page.items.map(({ message }) => String(message)))
      cursor = page.next
    }
    for (let cursor: string | null | undefined; cursor !== null; ) {
      const page = await audit!({ limit, ...(cursor !== undefined && { cursor }) })
      kept.push(...page.items.map(({ subject }) => String(subject)))
      cursor = page.next
    }
    assert.deepEqual([told, kept], [wanted, wanted])
  }
  // The cursor of an earlier version is the id of the entry alone: here that of `e3`.
  const { items } = await events!({ limit: 3, cursor: '4' })
  assert.deepEqual(
    items.map(({ message }) => message),
    ['e2', 'e6', 'e4'],
  )
})
