import assert from 'node:assert/strict'
import { stat } from 'node:fs/promises'
import { before, describe, test } from 'node:test'
import { type Kysely, sql } from 'kysely'
import type { ReadingWrite } from '../../../core/database/readings/reading.js'
import { bytesOfRows } from '../../../core/database/readings/size.js'
import { Retention } from '../../../core/database/retention.js'
import type { Store } from '../../../core/database/store.js'
import type { FrameworkTables } from '../../../core/database/tables.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { systemClock } from '../../../core/support/clock.js'
import { onEachDatabase } from './databases.js'
import { ownStore } from './own-store.js'

const DAY = 86_400_000
const LETTER = {
  route: 'r',
  topic: 't',
  payload: '',
  qos: 1,
  retain: false,
  properties: {},
  receivedAt: 0,
  deadline: 0,
  error: { code: 'INTERNAL', message: 'x' },
  attempts: 1,
} as const

function rows(device: string, from: number, count: number, stepUs: number, first = 1): ReadingWrite[] {
  return Array.from({ length: count }, (_, n) => ({
    source: { instance: 'r', boot: device },
    sequence: first + n,
    device_id: device,
    point: `p${n % 10}`,
    unit: null,
    time_us: from * 1e3 + n * stepUs,
    value: n + 0.5,
    quality: 'good',
    reason: null,
  }))
}

onEachDatabase((kind) => {
  describe(`retention on ${kind}`, () => {
    let store: Store
    let now = Date.parse('2026-06-01T00:00:00Z')
    const clock = { ...systemClock, now: () => now }
    before(async () => {
      ;({ store } = await ownStore(kind, { clock }))
    })

    test('each table keeps what its age and number allow, and no less', async () => {
      await store.readings.insertBatch(rows('old', now - 31 * DAY, 500, 1_000))
      await store.readings.insertBatch(rows('edge', now - 28 * DAY, 500, 1_000))
      // More rows at one instant than one step deletes.
      const crowd = rows('crowd', now - 40 * DAY, 6_000, 0).map((row) => ({ ...row, point: 'p' }))
      for (let at = 0; at < crowd.length; at += 2_000) await store.readings.insertBatch(crowd.slice(at, at + 2_000))
      await store.events.append([
        { kind: 'a', message: 'old', at: now - 366 * DAY },
        { kind: 'a', message: 'new' },
      ])
      const entry = { actor: { kind: 'app', name: 'x' }, action: 'write', outcome: 'ok' } as const
      await store.audit.append([
        { ...entry, at: now - 366 * DAY },
        { ...entry, at: now - 363 * DAY },
      ])
      for (let n = 0; n < 12; n++) await store.deadLetters.put({ ...LETTER, failedAt: now + n })
      const me = { instance: 'i', boot: 'b' }
      await store.idempotency.claim('old', 'h', me)
      now += DAY + 1
      await store.idempotency.claim('new', 'h', me)
      const retention = new Retention({
        store,
        logger: silentLogger,
        clock,
        limits: { deadLetters: 10 },
      })
      const report = await retention.run()
      assert.deepEqual(report, { readings: 6_500, chunks: 0, events: 1, audit: 1, deadLetters: 2, claims: 1 })
      const left = await sql<{ left: number }>`select count(*) as "left" from routemq_readings`.execute(store.kysely)
      assert.equal(Number(left.rows[0]!.left), 500)
      assert.deepEqual(
        (await store.events.list({ kind: 'a' })).map(({ message }) => message),
        ['new'],
      )
      assert.equal((await store.deadLetters.list())[0]?.failedAt, now - DAY - 1 + 11)
      assert.notEqual(await store.idempotency.get('new'), undefined)
      assert.deepEqual(await retention.run(), {
        readings: 0,
        chunks: 0,
        events: 0,
        audit: 0,
        deadLetters: 0,
        claims: 0,
      })
    })

    test('a clock that is years ahead takes a day of the audit a round, not all of it', async () => {
      const entry = { actor: { kind: 'app', name: 'x' }, action: 'ahead', outcome: 'ok' } as const
      await sql`delete from routemq_audit`.execute(store.kysely)
      await store.audit.append(Array.from({ length: 40 }, (_, n) => ({ ...entry, at: now - (40 - n) * (DAY / 4) })))
      const ahead = { ...clock, now: () => now + 9_000 * DAY }
      const limits = { readingDays: 36_500, claimHours: 876_000 }
      const retention = new Retention({ store, logger: silentLogger, clock: ahead, limits })
      assert.equal((await retention.run())?.audit, 4)
      assert.equal((await retention.run())?.audit, 4)
      assert.equal((await store.audit.list({ kind: 'ahead' })).length, 32)
    })

    test('events that are too old go in steps, also where many have one time', async (context) => {
      await sql`delete from routemq_events`.execute(store.kysely)
      const at = now - 500 * DAY
      const old = (count: number, time: (n: number) => number) =>
        store.events.append(Array.from({ length: count }, (_, n) => ({ kind: 'a', message: 'old', at: time(n) })))
      for (let batch = 0; batch < 4; batch++) await old(1_500, () => at + 1)
      for (let batch = 0; batch < 4; batch++) await old(1_500, (n) => at + 2 + batch * 1_500 + n)
      const retention = new Retention({ store, logger: silentLogger, clock })
      const deletes = context.mock.method(store.kysely, 'deleteFrom')
      assert.equal((await retention.run())?.events, 12_000)
      const tables = deletes.mock.calls.map(({ arguments: [table] }) => String(table))
      assert.ok(tables.filter((table) => table === 'routemq_events').length >= 3, tables.join())
      assert.deepEqual(await store.events.list(), [])
    })

    test('of dead letters that failed in one moment only those too many go', async () => {
      const letter = { ...LETTER, failedAt: now + DAY }
      for (let n = 0; n < 15; n++) await store.deadLetters.put(letter, `storm-${String(n).padStart(2, '0')}`)
      const retention = new Retention({ store, logger: silentLogger, clock, limits: { deadLetters: 10 } })
      await retention.run()
      assert.deepEqual(
        (await store.deadLetters.list()).map(({ id }) => id),
        Array.from({ length: 10 }, (_, n) => `storm-${String(14 - n).padStart(2, '0')}`),
      )
    })

    test('a server over its size is trimmed once, not again in each round while nothing is added', async (t) => {
      if (kind === 'sqlite') return t.skip('its readings become smaller when rows go')
      await store.readings.insertBatch(rows('fat', now - 3_600_000, 4_000, 1_000))
      if (kind === 'mysql') await sql`analyze table routemq_readings`.execute(store.kysely)
      const count = async () => {
        const query = sql<{
          n: number
        }>`select count(*) as n from routemq_readings where time_us > ${(now - 3_700_000) * 1e3}`
        return Number((await query.execute(store.kysely)).rows[0]!.n)
      }
      const limits = { readingBytes: 16_384 }
      const first = await new Retention({ store, logger: silentLogger, clock, limits }).run()
      const left = await count()
      assert.ok(first!.readings > 0)
      // Each as after a restart.
      for (let round = 0; round < 3; round++) await new Retention({ store, logger: silentLogger, clock, limits }).run()
      assert.equal(await count(), left)
      const { rows: meta } = await sql<{ value: string }>`
        select value from routemq_meta where name = 'readings_trimmed_bytes'`.execute(store.kysely)
      assert.ok(Number(meta[0]?.value) > limits.readingBytes)
    })

    test('dead letters over their bytes go, the oldest first, and it is told; the newest stays whatever it takes', async () => {
      await sql`delete from routemq_dead_letters`.execute(store.kysely)
      const letter = { ...LETTER, payload: 'QUJD'.repeat(25_000) }
      for (let n = 0; n < 250; n++) await store.deadLetters.put({ ...LETTER, failedAt: now + n }, `small-${n}`)
      for (let n = 0; n < 12; n++) await store.deadLetters.put({ ...letter, failedAt: now + 300 + n }, `large-${n}`)
      const trim = (deadLetterBytes: number) =>
        new Retention({ store, logger: silentLogger, clock, limits: { deadLetterBytes } }).run()
      const left = async () => (await store.deadLetters.list()).map(({ id }) => id)
      assert.equal((await trim(1_050_000))?.deadLetters, 252)
      assert.deepEqual(
        await left(),
        Array.from({ length: 10 }, (_, n) => `large-${11 - n}`),
      )
      assert.equal((await trim(1_050_000))?.deadLetters, 0)
      assert.equal((await trim(10))?.deadLetters, 9)
      assert.deepEqual(await left(), ['large-11'])
      assert.deepEqual(
        (await store.events.list({ kind: 'dead_letters.removed' })).map(({ details }) => details.removed).slice(0, 2),
        [9, 252],
      )
    })

    test('the bytes of readings are those of their table', async () => {
      const before = await store.readings.bytes()
      for (let n = 0; n < 10; n++) await store.readings.insertBatch(rows('sized', now, 4_000, 1_000, n * 4_000 + 1))
      await store.readings.settle()
      if (kind === 'mysql') await sql`analyze table routemq_readings`.execute(store.kysely)
      await store.events.append([{ kind: 'a', message: 'x'.repeat(3_000_000), at: now }])
      const grown = (await store.readings.bytes()) - before
      assert.ok(grown > 1_000_000 && grown < 9_000_000, `${grown}`)
      if (kind !== 'sqlite') return
      const reads = store.kysely as Kysely<FrameworkTables>
      const estimated = await bytesOfRows({ reads, db: reads, dialect: kind, historyMs: 1_000, now: clock.now })
      const exact = await store.readings.bytes()
      assert.ok(Math.abs(estimated - exact) < exact / 3, `${estimated} by rows, ${exact} by pages`)
    })

    test('it runs by itself, and stopping waits and ends it', async () => {
      await store.events.append([{ kind: 'a', message: 'old', at: now - 400 * DAY }])
      const retention = new Retention({ store, logger: silentLogger, clock, everyMs: 5 })
      retention.start()
      retention.start()
      const limit = Date.now() + 60_000
      while ((await store.events.list()).some(({ message }) => message === 'old') && Date.now() < limit) {
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
      await retention.stop()
      await retention.stop()
      assert.ok(!(await store.events.list()).some(({ message }) => message === 'old'))
    })
  })
})

test('what else fills an SQLite file costs no reading', async () => {
  const { store } = await ownStore('sqlite')
  const now = Date.now()
  await store.readings.insertBatch(rows('kept', now - 5 * DAY, 2_000, 1e6))
  const payload = 'QUJD'.repeat(100_000)
  for (let n = 0; n < 10; n++) {
    await store.deadLetters.put({ ...LETTER, payload, failedAt: now + n })
    await store.events.append([{ kind: 'a', message: payload }])
  }
  await sql`create table app_pictures (data text)`.execute(store.kysely)
  await sql`insert into app_pictures values (${payload})`.execute(store.kysely)
  const limits = { readingBytes: 2 ** 20, deadLetterBytes: 2 ** 20 }
  const retention = new Retention({ store, logger: silentLogger, limits })
  for (let round = 0; round < 3; round++) assert.equal((await retention.run())?.readings, 0)
  assert.equal((await store.readings.query({ device_id: 'kept', limit: 1 })).readings[0]?.sequence, 2_000)
  assert.equal(retention.deadLettersRemoved, 8)
})

test('ten cycles over the size: the SQLite file stays within 1.2 of its cap', async (t) => {
  const { store, config } = await ownStore('sqlite')
  const cap = 2_000_000
  let clock = Date.parse('2026-06-01T00:00:00Z')
  const retention = new Retention({
    store,
    logger: silentLogger,
    clock: { ...systemClock, now: () => clock },
    limits: { readingBytes: cap },
  })
  const { file } = config as { file: string }
  let largest = 0
  let removed = 0
  for (let cycle = 0; cycle < 10; cycle++) {
    await store.readings.insertBatch(rows('big', clock, 20_000, 1_000, cycle * 20_000 + 1))
    clock += 20_000
    removed += (await retention.run())!.readings
    if (cycle > 0) largest = Math.max(largest, (await stat(file)).size)
  }
  t.diagnostic(`file at most ${largest} bytes after a round, cap ${cap}, ${removed} rows removed`)
  assert.ok(removed > 50_000)
  assert.ok(largest <= cap * 1.2, `${largest}`)
  const newest = await store.readings.query({ device_id: 'big', limit: 1 })
  assert.equal(newest.readings[0]?.sequence, 200_000, 'the newest stay')
})

test('below a tenth of the disk readings stop, and start again above it with a margin', async () => {
  const { store } = await ownStore('sqlite')
  const told: (string | undefined)[] = []
  let free = 0.5
  const retention = new Retention({
    store,
    logger: silentLogger,
    freeShare: async () => free,
    onDisk: (reason) => told.push(reason),
  })
  for (free of [0.5, 0.09, 0.05, 0.11, 0.13, 0.5]) await retention.checkDisk()
  assert.equal(told.length, 2)
  assert.match(told[0]!, /only 9\.0 %/)
  assert.equal(told[1], undefined)
  const real = new Retention({ store, logger: silentLogger, minFree: 0 })
  await real.checkDisk()
  assert.equal(real.diskReason, undefined)
})

test('the disk is looked at from the start, and while a round takes its time', async () => {
  const { store } = await ownStore('sqlite')
  const timers = new Map<number, () => void>()
  const clock = {
    ...systemClock,
    after: (ms: number, run: () => void) => {
      timers.set(ms, run)
      return () => {}
    },
  }
  const told: (string | undefined)[] = []
  let free = 0.05
  let heard = () => {}
  const onDisk = (reason: string | undefined) => {
    told.push(reason)
    heard()
  }
  const next = () =>
    new Promise<void>((resolve) => {
      heard = resolve
    })
  const retention = new Retention({ store, logger: silentLogger, clock, freeShare: async () => free, onDisk })
  const first = next()
  retention.start()
  await first
  assert.match(String(told[0]), /only 5\.0 %/)
  // A round that goes on and on: another has the only connection to the file.
  let release = () => {}
  const held = store.kysely.connection().execute(
    () =>
      new Promise<void>((resolve) => {
        release = resolve
      }),
  )
  // What follows a look is done before anything else runs.
  await new Promise((resolve) => setImmediate(resolve))
  timers.get(600_000)!()
  free = 0.5
  const second = next()
  timers.get(30_000)!()
  await second
  assert.deepEqual(told.slice(1), [undefined])
  release()
  await held
  await retention.stop()
})
