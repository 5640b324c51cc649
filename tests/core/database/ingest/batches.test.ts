import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Tracing } from '../../../../core/observability/tracing.js'
import { until } from '../../support/until.js'
import { sample } from '../samples.js'
import { FakeDatabase, hang, ingestInto, spooledIngest } from './fake-database.js'

test('rows that pile up go in larger batches, each once and in their order', async () => {
  const store = new FakeDatabase()
  const release = hang(store)
  const sizes: number[] = []
  const { insertBatch } = store.readings
  store.readings.insertBatch = async (rows) => {
    sizes.push(rows.length)
    await insertBatch(rows)
  }
  const ingest = ingestInto(store, { batchRows: 20, batchMs: 5, capacity: 1_000 })
  for (let slot = 0; slot < 100; slot++) await ingest.accept([sample('d', slot)])
  await until(() => sizes.length === 2, 'two are under way')
  for (let slot = 100; slot < 200; slot++) await ingest.accept([sample('d', slot)])
  release()
  await ingest.flush()
  assert.deepEqual(
    [...store.stored.values()].map(({ sequence }) => sequence),
    Array.from({ length: 1_000 }, (_, n) => n + 1),
  )
  assert.ok(sizes.slice(2).every((size) => size <= 80) && Math.max(...sizes) === 80, sizes.join())
})

test('a slow database is given no larger batches: they would not be confirmed in time', async () => {
  const store = new FakeDatabase()
  const sizes: number[] = []
  const { insertBatch } = store.readings
  store.readings.insertBatch = async (rows) => {
    sizes.push(rows.length)
    await new Promise((resolve) => setTimeout(resolve, 30))
    await insertBatch(rows)
  }
  const ingest = ingestInto(store, { batchRows: 20, batchMs: 5, capacity: 1_000, confirmMs: 60 })
  await ingest.accept(Array.from({ length: 40 }, (_, slot) => sample('d', slot)))
  await ingest.flush()
  assert.deepEqual(sizes, new Array(10).fill(20))
})

test('each insert is a span where traces are made, and a failed one says so', async () => {
  const store = new FakeDatabase()
  const spans: object[] = []
  const tracing: Tracing = {
    start: ({ name, kind, attributes }) => ({
      context: '',
      end: (error) => void spans.push({ name, kind, attributes, failed: error !== undefined }),
    }),
    current: () => undefined,
    run: (_, work) => work(),
    close: async () => {},
  }
  const { ingest } = await spooledIngest(store, { tracing })
  await ingest.accept([sample('d', 1)])
  await ingest.flush()
  const span = (failed: boolean) => ({
    name: 'insert readings',
    kind: 'client',
    attributes: { 'db.collection.name': 'routemq_readings', 'db.operation.batch.size': 5 },
    failed,
  })
  assert.deepEqual(spans, [span(false)])
  store.readings.insertBatch = () => Promise.reject(Object.assign(new Error('not now'), { code: '40P01' }))
  const { ingest: failing } = await spooledIngest(store, { tracing })
  await failing.accept([sample('d', 2)])
  await failing.flush()
  assert.deepEqual(spans[1], span(true))
})
