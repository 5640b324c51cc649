import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '../../support/until.js'
import { sample } from '../samples.js'
import { FakeDatabase, ingestInto, spooledIngest } from './fake-database.js'

test('a record of the spool that holds no batch stands in nobody’s way', async () => {
  const store = new FakeDatabase()
  store.become('disconnected')
  const { ingest, spool } = await spooledIngest(store)
  await spool.append([Buffer.from('no batch')])
  await ingest.accept([sample('d', 1)])
  await ingest.flush()
  store.become('ok')
  await until(() => store.stored.size === 5 && spool.count === 0, 'replay')
  assert.equal(ingest.stats().refused, 1)
})

test('while inserts fail it is told with what waits, and not any more when one succeeds', async () => {
  const store = new FakeDatabase()
  const { insertBatch } = store.readings
  store.readings.insertBatch = () => Promise.reject(new Error('permission denied for table routemq_readings'))
  const { ingest } = await spooledIngest(store)
  assert.equal(ingest.notice, undefined)
  await ingest.accept([sample('d', 1)])
  await ingest.flush()
  assert.match(
    ingest.notice!,
    /^the database takes no readings \(permission denied .*\): 1 batches wait on the disk, 0 % of the spool \(\d{3} of/,
  )
  store.readings.insertBatch = insertBatch
  await until(() => ingest.notice === undefined && store.stored.size === 5, 'all well')
})

test('while the disk takes nothing either, that is told, and not how much may wait on it', async () => {
  const store = new FakeDatabase()
  const { insertBatch } = store.readings
  store.readings.insertBatch = () => Promise.reject(new Error('database or disk is full'))
  const { ingest, spool } = await spooledIngest(store)
  await spool.close()
  await ingest.accept([sample('d', 1)])
  await until(() => ingest.trouble !== undefined, 'told')
  assert.equal(ingest.notice, undefined)
  store.readings.insertBatch = insertBatch
  await until(() => store.stored.size === 5, 'stored')
  assert.deepEqual([ingest.trouble, ingest.notice], [undefined, undefined])
})

test('a row that the database refuses is counted; its neighbours are stored', async () => {
  const store = new FakeDatabase()
  const refusal = Object.assign(new Error('value out of range for this column'), { code: '22003' })
  const { insertBatch } = store.readings
  store.readings.insertBatch = async (rows) => {
    if (rows.some(({ sequence }) => sequence === 17)) throw refusal
    await insertBatch(rows)
  }
  const { ingest } = await spooledIngest(store)
  await ingest.accept([1, 2, 3, 4, 5, 6].map((slot) => sample('d', slot)))
  await ingest.flush()
  assert.equal(store.stored.size, 29)
  assert.equal(ingest.stats().refused, 1)
  assert.equal(ingest.stats().spooled, 0)
})

for (const code of ['42501', '57014', '40P01', 'ER_LOCK_DEADLOCK', 'ER_LOCK_WAIT_TIMEOUT', 'SQLITE_ERROR', undefined]) {
  test(`no row is given up for an error that is not its own: ${code}`, async () => {
    const store = new FakeDatabase()
    const { insertBatch } = store.readings
    let refusing = true
    store.readings.insertBatch = async (rows) => {
      if (refusing) throw Object.assign(new Error('not now'), code === undefined ? {} : { code })
      await insertBatch(rows)
    }
    const { ingest } = await spooledIngest(store)
    await ingest.accept([1, 2, 3].map((slot) => sample('d', slot)))
    await ingest.flush()
    assert.deepEqual([store.stored.size, ingest.stats().refused, ingest.stats().spooled], [0, 0, 15])
    refusing = false
    await until(() => store.stored.size === 15, 'replay')
    assert.equal(ingest.stats().refused, 0)
  })
}

test('nowhere to go for a while, with nothing new coming: what comes later is taken as before', async () => {
  const store = new FakeDatabase()
  const { insertBatch } = store.readings
  let full = true
  store.readings.insertBatch = async (rows) => {
    if (full) throw Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' })
    await insertBatch(rows)
  }
  const ingest = ingestInto(store)
  await ingest.accept([sample('d', 1)])
  // The first batch is tried again and again, while no second one wakes anybody.
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  full = false
  await ingest.flush()
  await ingest.accept([sample('d', 2)])
  await ingest.flush()
  assert.equal(store.stored.size, 10)
  assert.equal(ingest.stats().refused, 0, 'a full disk is no fault of a row')
  await ingest.stop()
})
