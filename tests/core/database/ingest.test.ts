import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { type RawBuilder, sql } from 'kysely'
import { Ingest, type IngestOptions, type IngestStore } from '../../../core/database/ingest.js'
import type { ReadingWrite } from '../../../core/database/readings/reading.js'
import type { Store, StoreState } from '../../../core/database/store.js'
import { silentLogger } from '../../../core/observability/logger.js'
import type { Tracing } from '../../../core/observability/tracing.js'
import { Spool } from '../../../core/spool/spool.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { type OwnDatabase, onEachDatabase, openStore, ownDatabase } from './databases.js'
import { sample } from './samples.js'

const MiB = 1024 * 1024

async function until(what: string, condition: () => boolean | Promise<boolean>, ms = 60_000): Promise<void> {
  const limit = Date.now() + ms
  while (!(await condition())) {
    if (Date.now() > limit) throw new Error(`not within ${ms} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

onEachDatabase((kind) => {
  describe(`ingest on ${kind}`, () => {
    let own: OwnDatabase
    let store: Store
    before(async () => {
      own = await ownDatabase(kind)
      store = await openStore(own.config)
    })
    after(async () => {
      await store?.close()
      await own?.drop()
    })
    const one = async (query: RawBuilder<unknown>) =>
      Number(Object.values((await query.execute(store.kysely)).rows[0] as object)[0])

    test('every row of every sample is there once, with its values', async () => {
      const ingest = new Ingest({ store, logger: silentLogger, instance: 'i' })
      for (let slot = 0; slot < 200; slot++) await ingest.accept([sample('dev-a', slot), sample('dev-b', slot)])
      await ingest.flush()
      await store.readings.settle()
      assert.equal(await one(sql`select count(*) from routemq_readings`), 2_000)
      assert.equal(await one(sql`select sum(value) from routemq_readings`), 2 * (19_900 * 5 * 1_000 + 200 * 10))
      assert.equal(ingest.stats().inserted, 2_000)
      await ingest.stop()
      await assert.rejects(ingest.accept([sample('dev-a', 1)]), { code: 'SHUTTING_DOWN' })
    })

    test('a batch that is inserted again changes nothing; another life of the same clock adds its own', async () => {
      const row = (boot: string, sequence: number): ReadingWrite => ({
        source: { instance: 'again', boot },
        sequence,
        device_id: 'dev-again',
        point: 'p',
        unit: null,
        time_us: 1_700_000_000_000_000,
        value: sequence,
        quality: 'good',
        reason: null,
      })
      for (let n = 0; n < 3; n++) await store.readings.insertBatch([row('x', 1), row('x', 2), row('y', 1)])
      const { readings } = await store.readings.query({ device_id: 'dev-again' })
      assert.equal(readings.length, 3)
    })

    test('every kind of value comes back exactly', async () => {
      const values = [
        0.1,
        -0,
        1e300,
        5e-324,
        true,
        false,
        null,
        '9007199254740993',
        '-9223372036854775808',
        '18446744073709551615',
        'text with "quotes", \\ and \u{1F321}',
        '',
        "'; drop table routemq_readings; --",
        [1, 65_535, 0],
        [true, false],
      ] as const
      await store.readings.insertBatch(
        values.map((value, sequence) => ({
          source: { instance: 'v', boot: 'v' },
          sequence,
          device_id: 'dev-values',
          point: 'p',
          unit: sequence % 2 ? '°C' : null,
          time_us: 1_700_000_000_000_000 + sequence,
          value,
          quality: value === null ? 'bad' : 'good',
          reason: value === null ? 'timeout' : null,
        })),
      )
      const { readings } = await store.readings.query({ device_id: 'dev-values' })
      assert.deepEqual(
        readings.map(({ value }) => value).reverse(),
        values.map((value) => (value === 0 ? 0 : value)),
      )
      assert.deepEqual(
        readings.filter(({ quality }) => quality === 'bad').map(({ reason, value }) => [reason, value]),
        [['timeout', null]],
      )
      assert.equal(readings[0]?.unit, '°C')
      assert.equal(readings[0]?.time, '2023-11-14T22:13:20.000014Z')
    })

    test('a target without points is kept as its block', async () => {
      const ingest = new Ingest({ store, logger: silentLogger, instance: 'i' })
      const { block, ...rest } = sample('dev-raw', 1, 0)
      const failed = { quality: 'bad', reason: 'DEVICE_TIMEOUT' } as const
      await ingest.accept([
        { ...rest, block: { ...block, address: 10, count: 3, values: [1, 2, 3] } },
        { ...rest, block: { ...block, address: 20, count: 1, values: [7] } },
        { ...rest, block: { ...block, address: 30, count: 1, values: [], ...failed } },
      ])
      await ingest.stop()
      const { readings } = await store.readings.query({ device_id: 'dev-raw' })
      assert.deepEqual(Object.fromEntries(readings.map(({ point, quality, reason }) => [point, reason ?? quality])), {
        'holding/10/3': 'good',
        'holding/20/1': 'good',
        'holding/30/1': 'DEVICE_TIMEOUT',
      })
      assert.deepEqual(Object.fromEntries(readings.map(({ point, value }) => [point, value])), {
        'holding/10/3': [1, 2, 3],
        'holding/20/1': 7,
        'holding/30/1': null,
      })
      const tens = await store.readings.query({
        device_id: 'dev-raw',
        block: { register_type: 'holding', address: 10 },
      })
      assert.deepEqual(
        tens.readings.map(({ point }) => point),
        ['holding/10/3'],
      )
    })

    test('a sample whose time is none is counted; its neighbours are stored', async () => {
      const ingest = new Ingest({ store, logger: silentLogger, instance: 'i', batchRows: 100 })
      const bad = sample('dev-refused', 3, 1)
      const out = { ...bad, points: [{ ...bad.points[0]!, timestamp: 1e30 }] }
      await ingest.accept([sample('dev-refused', 1, 1), sample('dev-refused', 2, 1), out, sample('dev-refused', 4, 1)])
      await ingest.stop()
      assert.equal(ingest.stats().refused, 1)
      assert.equal(ingest.stats().buffered, 0)
      const { readings } = await store.readings.query({ device_id: 'dev-refused' })
      assert.deepEqual(
        readings.map(({ value }) => value),
        [4_000, 2_000, 1_000],
      )
    })
  })
})

describe('ingest while the database is away', () => {
  let root: string
  let spool: Spool
  let serial = 0
  const ingests: Ingest[] = []
  before(async () => {
    root = await mkdtemp(join(tmpdir(), 'routemq-ingest-'))
  })
  afterEach(async () => {
    await Promise.all(ingests.splice(0).map((ingest) => ingest.stop(100)))
    await spool?.close()
  })
  after(() => rm(root, { recursive: true, force: true }))

  /** A database in memory that can be away, hang, and answer late: faults that a real one cannot be made to do on time. */
  class Fake implements IngestStore {
    state: StoreState = { name: 'ok' }
    readonly stored = new Map<string, ReadingWrite>()
    inserts = 0
    hang: Promise<void> | undefined
    #listener: ((state: StoreState) => void) | undefined
    readonly readings = {
      insertBatch: async (rows: readonly ReadingWrite[]) => {
        this.inserts += 1
        await this.hang
        if (this.state.name !== 'ok') throw new RouteMQError('DATABASE_UNAVAILABLE', 'away')
        for (const row of rows) this.stored.set(`${row.source.boot}/${row.sequence}`, row)
      },
    }
    onState(listener: (state: StoreState) => void) {
      this.#listener = listener
      return () => {}
    }
    become(name: 'ok' | 'disconnected') {
      this.state = name === 'ok' ? { name } : { name, reason: 'test' }
      this.#listener?.(this.state)
    }
  }

  async function open(options: Partial<IngestOptions> & { store: Fake; maxBytes?: number }) {
    spool = await Spool.open({ dir: join(root, String(serial++)), maxBytes: options.maxBytes ?? 64 * MiB })
    const ingest = new Ingest({ logger: silentLogger, instance: 'i', spool, batchMs: 20, confirmMs: 60, ...options })
    ingests.push(ingest)
    return ingest
  }

  test('rows go to the spool and from there to the database when it is back, each once', async () => {
    const store = new Fake()
    store.become('disconnected')
    const ingest = await open({ store })
    for (let slot = 0; slot < 1_000; slot++) await ingest.accept([sample('d', slot)])
    await ingest.flush()
    assert.equal(ingest.stats().spooled, 5_000)
    assert.equal(store.stored.size, 0)
    store.become('ok')
    await ingest.accept([sample('d', 1_000)])
    await until('replay', () => store.stored.size === 5_005 && spool.count === 0)
    assert.equal(ingest.stats().replayed, 5_000)
    assert.equal(ingest.stats().dropped, 0)
    assert.equal(store.stored.get(`${ingest.source.boot}/4321`)?.value, 864_000)
  })

  test('why a block without points failed survives the spool', async () => {
    const store = new Fake()
    store.become('disconnected')
    const ingest = await open({ store })
    const { block, ...rest } = sample('raw', 1, 0)
    await ingest.accept([{ ...rest, block: { ...block, count: 1, quality: 'bad', reason: 'DEVICE_TIMEOUT' } }])
    await ingest.flush()
    assert.equal(ingest.stats().spooled, 1)
    store.become('ok')
    await until('replay', () => store.stored.size === 1)
    const [{ value, quality, reason }] = [...store.stored.values()] as [ReadingWrite]
    assert.deepEqual([value, quality, reason], [null, 'bad', 'DEVICE_TIMEOUT'])
  })

  test('who asked is told once its rows are inserted or spooled, and not before', async () => {
    const store = new Fake()
    const ingest = await open({ store })
    const told: string[] = []
    const take = (name: string, slot: number) => ingest.accept([sample('d', slot)], () => told.push(name))
    let release = () => {}
    store.hang = new Promise((resolve) => (release = resolve))
    await take('inserted', 1)
    await until('an insert', () => store.inserts === 1)
    assert.deepEqual([told, spool.count], [[], 0])
    store.hang = undefined
    release()
    await until('inserted', () => told.length === 1)
    store.become('disconnected')
    await take('spooled', 2)
    assert.deepEqual(told, ['inserted'])
    await until('spooled', () => told.length === 2)
    assert.equal(spool.count, 1)
    ingest.suspend('the disk is nearly full')
    await take('suspended', 3)
    ingest.resume()
    await take('and again', 4)
    await until('stored again', () => told.length === 3)
    assert.deepEqual(told, ['inserted', 'spooled', 'and again'])
  })

  test('who asked is not told of rows that a stop gave up', async () => {
    const store = new Fake()
    store.become('disconnected')
    const ingest = new Ingest({ store, logger: silentLogger, instance: 'i', batchMs: 5 })
    let told = 0
    await ingest.accept([sample('d', 1)], () => (told += 1))
    await ingest.stop(50)
    store.become('ok')
    assert.equal(told, 0)
  })

  test('what was spooled by an earlier life is brought in by the next', async () => {
    const away = new Fake()
    away.become('disconnected')
    const first = await open({ store: away })
    await first.accept([sample('d', 1)])
    await first.stop()
    const store = new Fake()
    const second = new Ingest({ logger: silentLogger, instance: 'i', spool, store })
    ingests.push(second)
    await until('replay', () => store.stored.size === 5)
    assert.ok([...store.stored.keys()].every((key) => key.startsWith(first.source.boot)))
  })

  test('a database that hangs does not hold rows in memory: they are spooled within the limit', async () => {
    const store = new Fake()
    let release = () => {}
    store.hang = new Promise((resolve) => {
      release = resolve
    })
    const ingest = await open({ store })
    await ingest.accept([sample('d', 1)])
    await ingest.flush()
    await ingest.accept([sample('d', 2)])
    await ingest.flush()
    assert.equal(ingest.stats().spooled, 10)
    assert.equal(store.inserts, 1, 'nothing more is sent to a database that hangs')
    store.hang = undefined
    release()
    await until('all in', () => store.stored.size === 10 && spool.count === 0)
  })

  test('at the bound of the spool the oldest rows are given up and counted, nothing silently', async () => {
    const store = new Fake()
    store.become('disconnected')
    const ingest = await open({ store, maxBytes: 20_000, batchRows: 10 })
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
    await until('replay', () => spool.count === 0 && store.stored.size > 0)
    assert.equal(store.stored.size + dropped, 1_000)
    assert.ok(store.stored.has(`${ingest.source.boot}/1000`), 'the newest is kept')
    assert.ok(!store.stored.has(`${ingest.source.boot}/1`), 'the oldest is what was given up')
    await until('all well', () => ingest.trouble === undefined)
  })

  test('more than the whole spool takes goes in by parts, the oldest given up', async () => {
    const store = new Fake()
    store.become('disconnected')
    const ingest = await open({ store, maxBytes: 20_000, batchMs: 50 })
    await ingest.accept(Array.from({ length: 200 }, (_, slot) => sample('d', slot)))
    await ingest.flush()
    const { accepted, dropped } = ingest.stats()
    assert.equal(accepted, 1_000)
    assert.ok(dropped > 0 && dropped < 1_000, `${dropped}`)
    store.become('ok')
    await until('replay', () => spool.count === 0 && store.stored.size > 0)
    assert.equal(store.stored.size + dropped, 1_000)
    assert.ok(store.stored.has(`${ingest.source.boot}/1000`), 'the newest is kept')
  })

  test('a record of the spool that holds no batch stands in nobody’s way', async () => {
    const store = new Fake()
    store.become('disconnected')
    const ingest = await open({ store })
    await spool.append([Buffer.from('no batch')])
    await ingest.accept([sample('d', 1)])
    await ingest.flush()
    store.become('ok')
    await until('replay', () => store.stored.size === 5 && spool.count === 0)
    assert.equal(ingest.stats().refused, 1)
  })

  test('where neither database nor spool takes rows they wait, it is told, and later they are there', async () => {
    const store = new Fake()
    store.become('disconnected')
    const ingest = await open({ store })
    await spool.close()
    await ingest.accept([sample('d', 1)])
    await until('told', () => ingest.trouble !== undefined)
    assert.match(ingest.trouble!, /neither the database nor the disk/)
    store.become('ok')
    await until('stored', () => store.stored.size === 5)
    await until('all well', () => ingest.trouble === undefined)
  })

  test('while inserts fail it is told with what waits, and not any more when one succeeds', async () => {
    const store = new Fake()
    const { insertBatch } = store.readings
    store.readings.insertBatch = () => Promise.reject(new Error('permission denied for table routemq_readings'))
    const ingest = await open({ store })
    assert.equal(ingest.notice, undefined)
    await ingest.accept([sample('d', 1)])
    await ingest.flush()
    assert.match(
      ingest.notice!,
      /^the database takes no readings \(permission denied .*\): 1 batches wait on the disk, 0 % of the spool \(\d{3} of/,
    )
    store.readings.insertBatch = insertBatch
    await until('all well', () => ingest.notice === undefined && store.stored.size === 5)
  })

  test('a database that hangs is told, and a spool that fills while it is away', async () => {
    const store = new Fake()
    let release = () => {}
    store.hang = new Promise((resolve) => {
      release = resolve
    })
    const ingest = await open({ store, maxBytes: 2_000, batchMs: 5, confirmMs: 10 })
    await ingest.accept([sample('d', 1)])
    await until('told', () => /no answer in 10 ms/.test(ingest.notice ?? ''))
    store.hang = undefined
    release()
    await until('all well', () => ingest.notice === undefined)
    store.become('disconnected')
    await ingest.accept([sample('d', 2)])
    await ingest.flush()
    assert.match(ingest.notice!, /or is away: 1 batches wait on the disk, [12]\d % of the spool/)
  })

  test('rows that pile up go in larger batches, each once and in their order', async () => {
    const store = new Fake()
    let release = () => {}
    store.hang = new Promise((resolve) => {
      release = resolve
    })
    const sizes: number[] = []
    const { insertBatch } = store.readings
    store.readings.insertBatch = async (rows) => {
      sizes.push(rows.length)
      await insertBatch(rows)
    }
    const ingest = new Ingest({
      logger: silentLogger,
      instance: 'i',
      store,
      batchRows: 20,
      batchMs: 5,
      capacity: 1_000,
    })
    ingests.push(ingest)
    for (let slot = 0; slot < 100; slot++) await ingest.accept([sample('d', slot)])
    await until('two are under way', () => sizes.length === 2)
    for (let slot = 100; slot < 200; slot++) await ingest.accept([sample('d', slot)])
    store.hang = undefined
    release()
    await ingest.flush()
    assert.deepEqual(
      [...store.stored.values()].map(({ sequence }) => sequence),
      Array.from({ length: 1_000 }, (_, n) => n + 1),
    )
    assert.ok(sizes.slice(2).every((size) => size <= 80) && Math.max(...sizes) === 80, sizes.join())
  })

  test('a slow database is given no larger batches: they would not be confirmed in time', async () => {
    const store = new Fake()
    const sizes: number[] = []
    const { insertBatch } = store.readings
    store.readings.insertBatch = async (rows) => {
      sizes.push(rows.length)
      await new Promise((resolve) => setTimeout(resolve, 30))
      await insertBatch(rows)
    }
    const limits = { batchRows: 20, batchMs: 5, capacity: 1_000, confirmMs: 60 }
    const ingest = new Ingest({ logger: silentLogger, instance: 'i', store, ...limits })
    ingests.push(ingest)
    await ingest.accept(Array.from({ length: 40 }, (_, slot) => sample('d', slot)))
    await ingest.flush()
    assert.deepEqual(sizes, new Array(10).fill(20))
  })

  test('each insert is a span where traces are made, and a failed one says so', async () => {
    const store = new Fake()
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
    const ingest = await open({ store, tracing })
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
    const failing = await open({ store, tracing })
    await failing.accept([sample('d', 2)])
    await failing.flush()
    assert.deepEqual(spans[1], span(true))
  })

  test('without a spool a full buffer holds the poller back, and everything arrives later', async () => {
    const store = new Fake()
    store.become('disconnected')
    const ingest = new Ingest({ logger: silentLogger, instance: 'i', store, capacity: 50, batchMs: 5, batchRows: 20 })
    ingests.push(ingest)
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

  test('a row that the database refuses is counted; its neighbours are stored', async () => {
    const store = new Fake()
    const refusal = Object.assign(new Error('value out of range for this column'), { code: '22003' })
    const { insertBatch } = store.readings
    store.readings.insertBatch = async (rows) => {
      if (rows.some(({ sequence }) => sequence === 17)) throw refusal
      await insertBatch(rows)
    }
    const ingest = await open({ store })
    await ingest.accept([1, 2, 3, 4, 5, 6].map((slot) => sample('d', slot)))
    await ingest.flush()
    assert.equal(store.stored.size, 29)
    assert.equal(ingest.stats().refused, 1)
    assert.equal(ingest.stats().spooled, 0)
  })

  for (const code of [
    '42501',
    '57014',
    '40P01',
    'ER_LOCK_DEADLOCK',
    'ER_LOCK_WAIT_TIMEOUT',
    'SQLITE_ERROR',
    undefined,
  ]) {
    test(`no row is given up for an error that is not its own: ${code}`, async () => {
      const store = new Fake()
      const { insertBatch } = store.readings
      let refusing = true
      store.readings.insertBatch = async (rows) => {
        if (refusing) throw Object.assign(new Error('not now'), code === undefined ? {} : { code })
        await insertBatch(rows)
      }
      const ingest = await open({ store })
      await ingest.accept([1, 2, 3].map((slot) => sample('d', slot)))
      await ingest.flush()
      assert.deepEqual([store.stored.size, ingest.stats().refused, ingest.stats().spooled], [0, 0, 15])
      refusing = false
      await until('replay', () => store.stored.size === 15)
      assert.equal(ingest.stats().refused, 0)
    })
  }

  test('nowhere to go for a while, with nothing new coming: what comes later is taken as before', async () => {
    const store = new Fake()
    const { insertBatch } = store.readings
    let full = true
    store.readings.insertBatch = async (rows) => {
      if (full) throw Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' })
      await insertBatch(rows)
    }
    const ingest = new Ingest({ logger: silentLogger, instance: 'i', store })
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

  test('suspended readings are counted and not stored', async () => {
    const store = new Fake()
    const ingest = await open({ store })
    ingest.suspend('the disk is nearly full')
    await ingest.accept([sample('d', 1)])
    ingest.resume()
    await ingest.accept([sample('d', 2)])
    await ingest.flush()
    assert.equal(store.stored.size, 5)
    assert.equal(ingest.stats().suspended, 5)
  })

  test('stopping flushes, and gives up at its limit instead of hanging', async () => {
    const store = new Fake()
    store.become('disconnected')
    const ingest = new Ingest({ logger: silentLogger, instance: 'i', store })
    await ingest.accept([sample('d', 1)])
    await ingest.stop(50)
    await ingest.stop(50)
    const spooling = await open({ store })
    await spooling.accept([sample('d', 2)])
    await spooling.stop()
    assert.equal(spooling.stats().spooled, 5)
  })
})
