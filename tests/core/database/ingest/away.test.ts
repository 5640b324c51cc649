import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ReadingWrite } from '../../../../core/database/readings/reading.js'
import { until } from '../../support/until.js'
import { sample } from '../samples.js'
import { FakeDatabase, hang, ingestInto, spooledIngest } from './fake-database.js'

test('rows go to the spool and from there to the database when it is back, each once', async () => {
  const store = new FakeDatabase()
  store.become('disconnected')
  const { ingest, spool } = await spooledIngest(store)
  for (let slot = 0; slot < 1_000; slot++) await ingest.accept([sample('d', slot)])
  await ingest.flush()
  assert.equal(ingest.stats().spooled, 5_000)
  assert.equal(store.stored.size, 0)
  store.become('ok')
  await ingest.accept([sample('d', 1_000)])
  await until(() => store.stored.size === 5_005 && spool.count === 0, 'replay')
  assert.equal(ingest.stats().replayed, 5_000)
  assert.equal(ingest.stats().dropped, 0)
  assert.equal(store.stored.get(`${ingest.source.boot}/4321`)?.value, 864_000)
})

test('why a block without points failed survives the spool', async () => {
  const store = new FakeDatabase()
  store.become('disconnected')
  const { ingest } = await spooledIngest(store)
  const { block, ...rest } = sample('raw', 1, 0)
  await ingest.accept([{ ...rest, block: { ...block, count: 1, quality: 'bad', reason: 'DEVICE_TIMEOUT' } }])
  await ingest.flush()
  assert.equal(ingest.stats().spooled, 1)
  store.become('ok')
  await until(() => store.stored.size === 1, 'replay')
  const [{ value, quality, reason }] = [...store.stored.values()] as [ReadingWrite]
  assert.deepEqual([value, quality, reason], [null, 'bad', 'DEVICE_TIMEOUT'])
})

test('who asked is told once its rows are inserted or spooled, and not before', async () => {
  const store = new FakeDatabase()
  const { ingest, spool } = await spooledIngest(store)
  const told: string[] = []
  const take = (name: string, slot: number) => ingest.accept([sample('d', slot)], () => told.push(name))
  const release = hang(store)
  await take('inserted', 1)
  await until(() => store.inserts === 1, 'an insert')
  assert.deepEqual([told, spool.count], [[], 0])
  release()
  await until(() => told.length === 1, 'inserted')
  store.become('disconnected')
  await take('spooled', 2)
  assert.deepEqual(told, ['inserted'])
  await until(() => told.length === 2, 'spooled')
  assert.equal(spool.count, 1)
  ingest.suspend('the disk is nearly full')
  await take('suspended', 3)
  ingest.resume()
  await take('and again', 4)
  await until(() => told.length === 3, 'stored again')
  assert.deepEqual(told, ['inserted', 'spooled', 'and again'])
})

test('who asked is not told of rows that a stop gave up', async () => {
  const store = new FakeDatabase()
  store.become('disconnected')
  const ingest = ingestInto(store, { batchMs: 5 })
  let told = 0
  await ingest.accept([sample('d', 1)], () => (told += 1))
  await ingest.stop(50)
  store.become('ok')
  assert.equal(told, 0)
})

test('what was spooled by an earlier life is brought in by the next', async () => {
  const away = new FakeDatabase()
  away.become('disconnected')
  const { ingest: first, spool } = await spooledIngest(away)
  await first.accept([sample('d', 1)])
  await first.stop()
  const store = new FakeDatabase()
  ingestInto(store, { spool })
  await until(() => store.stored.size === 5, 'replay')
  assert.ok([...store.stored.keys()].every((key) => key.startsWith(first.source.boot)))
})

test('a database that hangs does not hold rows in memory: they are spooled within the limit', async () => {
  const store = new FakeDatabase()
  const release = hang(store)
  const { ingest, spool } = await spooledIngest(store)
  await ingest.accept([sample('d', 1)])
  await ingest.flush()
  await ingest.accept([sample('d', 2)])
  await ingest.flush()
  assert.equal(ingest.stats().spooled, 10)
  assert.equal(store.inserts, 1, 'nothing more is sent to a database that hangs')
  release()
  await until(() => store.stored.size === 10 && spool.count === 0, 'all in')
})

test('at the bound of the spool the oldest rows are given up and counted, nothing silently', async () => {
  const store = new FakeDatabase()
  store.become('disconnected')
  const { ingest, spool } = await spooledIngest(store, { maxBytes: 20_000, batchRows: 10 })
  for (let slot = 0; slot < 200; slot++) {
    await ingest.accept([sample('d', slot)])
    await ingest.flush()
  }
  const { accepted, dropped, spooled } = ingest.stats()
  assert.match(ingest.trouble!, new RegExp(`the spool is full.*\\(${dropped} so far\\)`))
  assert.equal(accepted, 1_000)
  assert.equal(spooled, 1_000)
  assert.ok(dropped > 0)
  store.become('ok')
  await until(() => spool.count === 0 && store.stored.size > 0, 'replay')
  assert.equal(store.stored.size + dropped, 1_000)
  assert.ok(store.stored.has(`${ingest.source.boot}/1000`), 'the newest is kept')
  assert.ok(!store.stored.has(`${ingest.source.boot}/1`), 'the oldest is what was given up')
  await until(() => ingest.trouble === undefined, 'all well')
})

test('more than the whole spool takes goes in by parts, the oldest given up', async () => {
  const store = new FakeDatabase()
  store.become('disconnected')
  const { ingest, spool } = await spooledIngest(store, { maxBytes: 20_000, batchMs: 50 })
  await ingest.accept(Array.from({ length: 200 }, (_, slot) => sample('d', slot)))
  await ingest.flush()
  const { accepted, dropped } = ingest.stats()
  assert.equal(accepted, 1_000)
  assert.ok(dropped > 0 && dropped < 1_000, `${dropped}`)
  store.become('ok')
  await until(() => spool.count === 0 && store.stored.size > 0, 'replay')
  assert.equal(store.stored.size + dropped, 1_000)
  assert.ok(store.stored.has(`${ingest.source.boot}/1000`), 'the newest is kept')
})

test('where neither database nor spool takes rows they wait, it is told, and later they are there', async () => {
  const store = new FakeDatabase()
  store.become('disconnected')
  const { ingest, spool } = await spooledIngest(store)
  await spool.close()
  await ingest.accept([sample('d', 1)])
  await until(() => ingest.trouble !== undefined, 'told')
  assert.match(ingest.trouble!, /neither the database nor the disk/)
  store.become('ok')
  await until(() => store.stored.size === 5, 'stored')
  await until(() => ingest.trouble === undefined, 'all well')
})

test('a database that hangs is told, and a spool that fills while it is away', async () => {
  const store = new FakeDatabase()
  const release = hang(store)
  const { ingest, spool } = await spooledIngest(store, { maxBytes: 2_000, batchMs: 5, confirmMs: 10 })
  await ingest.accept([sample('d', 1)])
  await until(() => /no answer in 10 ms/.test(ingest.notice ?? '') && spool.count === 1, 'told')
  release()
  await until(() => ingest.notice === undefined && spool.count === 0, 'all well')
  store.become('disconnected')
  await ingest.accept([sample('d', 2)])
  await ingest.flush()
  assert.match(ingest.notice!, /or is away: 1 batches wait on the disk, [12]\d % of the spool/)
})

test('without a spool a full buffer holds the poller back, and everything arrives later', async () => {
  const store = new FakeDatabase()
  store.become('disconnected')
  const ingest = ingestInto(store, { capacity: 50, batchMs: 5, batchRows: 20 })
  let taken = 0
  const offering = (async () => {
    for (let slot = 0; slot < 100; slot++) {
      await ingest.accept([sample('d', slot)])
      taken += 1
    }
  })()
  await new Promise((resolve) => setTimeout(resolve, 100))
  assert.ok(taken <= 20, `${taken} samples of 5 rows were taken into a buffer of 50 and two batches of 20`)
  store.become('ok')
  await offering
  await ingest.flush()
  assert.equal(store.stored.size, 500)
})

test('suspended readings are counted and not stored', async () => {
  const store = new FakeDatabase()
  const { ingest } = await spooledIngest(store)
  ingest.suspend('the disk is nearly full')
  await ingest.accept([sample('d', 1)])
  ingest.resume()
  await ingest.accept([sample('d', 2)])
  await ingest.flush()
  assert.equal(store.stored.size, 5)
  assert.equal(ingest.stats().suspended, 5)
})

test('stopping flushes, and gives up at its limit instead of hanging', async () => {
  const store = new FakeDatabase()
  store.become('disconnected')
  const ingest = ingestInto(store)
  await ingest.accept([sample('d', 1)])
  await ingest.stop(50)
  await ingest.stop(50)
  const { ingest: spooling } = await spooledIngest(store)
  await spooling.accept([sample('d', 2)])
  await spooling.stop()
  assert.equal(spooling.stats().spooled, 5)
})
