import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { isTimeout } from '../../core/database/connection-errors.js'
import { Patience } from '../../core/database/patience.js'
import type { ReadingWrite } from '../../core/database/readings/reading.js'
import { SqliteThread } from '../../core/database/sqlite/client.js'
import type { Store } from '../../core/database/store.js'
import { type Kind, type OwnDatabase, onEachDatabase, openStore, ownDatabase } from '../core/database/databases.js'

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

/** Another client of the same database. */
async function other(kind: Kind, url: string) {
  if (kind === 'postgres') {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    return { ask: async (sql: string) => (await client.query(sql)).rows, end: () => client.end() }
  }
  const connection = await mysql.createConnection({ uri: url })
  return { ask: async (sql: string) => (await connection.query(sql))[0] as unknown[], end: () => connection.end() }
}

type Other = Awaited<ReturnType<typeof other>>

/** Holds a table against every reader, as a query over years would hold its own answer back. */
const lock = (kind: Kind, { ask }: Other, table: string) =>
  ask(kind === 'postgres' ? `begin; lock table ${table} in access exclusive mode` : `lock tables ${table} write`)

const unlock = (kind: Kind, { ask }: Other) => ask(kind === 'postgres' ? 'rollback' : 'unlock tables')

/** Statements that read this table at the server now. */
async function running(kind: Kind, { ask }: Other, table: string): Promise<number> {
  const statement = `'select%from ${table}%'`
  const rows = await ask(
    kind === 'postgres'
      ? `select pid from pg_stat_activity
           where datname = current_database() and state = 'active' and pid <> pg_backend_pid() and replace(query, '"', '') like ${statement}`
      : `select id from information_schema.processlist
           where db = database() and command = 'Query' and id <> connection_id() and replace(info, '\`', '') like ${statement}`,
  )
  return rows.length
}

onEachDatabase((kind) => {
  if (kind === 'sqlite') return
  describe(`a slow query of the history on ${kind}`, () => {
    let own: OwnDatabase
    let store: Store
    let holder: Other
    let watcher: Other
    const states: string[] = []
    const query = (signal?: AbortSignal) => store.readings.query({ device_id: 'meter', min: 0 }, signal)
    const readers = async (count: number, table = 'routemq_readings') => {
      const until = performance.now() + 20_000
      while ((await running(kind, watcher, table)) !== count) {
        assert.ok(performance.now() < until, `there are never ${count} statements`)
        await setTimeout(10)
      }
    }

    before(async () => {
      own = await ownDatabase(kind)
      // More may wait for a connection that is free than may read.
      store = await openStore(own.config, { statementMs: 4_000, connectMs: 3_000 })
      await store.readings.insertBatch([row(1), row(2)])
      await Promise.all([query(), query()])
      store.onState(({ name }) => states.push(name))
    })
    beforeEach(async () => {
      assert.ok('url' in own.config)
      holder = await other(kind, own.config.url)
      watcher = await other(kind, own.config.url)
    })
    afterEach(async () => {
      await Promise.all([holder.end(), watcher.end()])
      assert.equal(store.state.name, 'ok')
      assert.deepEqual(states, [])
      assert.equal((await query()).readings.length, 2)
    })
    after(async () => {
      await store?.close()
      await own?.drop()
    })

    test('fails alone, and nothing is left running at the server', async () => {
      await lock(kind, holder, 'routemq_readings')
      const ended = await Promise.allSettled([query(), query(), query(), query()])
      assert.deepEqual(
        ended.map((each) => each.status === 'rejected' && each.reason.code),
        Array(4).fill('HISTORY_TIMEOUT'),
      )
      await readers(0)
    })

    test('is ended by the server itself where nobody else does', async (t) => {
      t.mock.method(Patience.prototype, 'during', <T>(query: () => Promise<T>) => query())
      await lock(kind, holder, 'routemq_events')
      const told = kind === 'postgres' ? /statement timeout/ : /max_statement_time/
      await assert.rejects(store.events.list(), { code: 'HISTORY_TIMEOUT', message: told })
    })

    for (const log of ['events', 'audit'] as const) {
      test(`of ${log} fails alone, and nothing is left running at the server`, async () => {
        await lock(kind, holder, `routemq_${log}`)
        const ended = await Promise.allSettled([store[log].list(), store[log].list({ before: 1 }), store[log].list()])
        assert.deepEqual(
          ended.map((each) => each.status === 'rejected' && each.reason.code),
          Array(3).fill('HISTORY_TIMEOUT'),
        )
        await readers(0, `routemq_${log}`)
      })

      test(`of ${log} ends at the server when its caller leaves, and the one beside it goes on`, async () => {
        const patient = await openStore(own.config)
        try {
          await lock(kind, holder, `routemq_${log}`)
          const caller = new AbortController()
          const gone = new Error('gone')
          const staying = patient[log].list()
          await readers(1, `routemq_${log}`)
          const left = patient[log].list({}, caller.signal)
          await readers(2, `routemq_${log}`)
          const waiting = patient[log].list({ before: 1 }, caller.signal)
          caller.abort(gone)
          await assert.rejects(left, gone)
          await assert.rejects(waiting, gone)
          await readers(1, `routemq_${log}`)
          await unlock(kind, holder)
          assert.deepEqual(await staying, [])
          assert.deepEqual(await patient[log].list(), [])
        } finally {
          await patient.close()
        }
      })
    }

    test('ends at the server when its caller leaves, and the one beside it goes on', async () => {
      const patient = await openStore(own.config)
      try {
        await lock(kind, holder, 'routemq_readings')
        const caller = new AbortController()
        const gone = new Error('gone')
        const filter = { device_id: 'meter', min: 0 }
        const staying = patient.readings.query(filter)
        await readers(1)
        const left = patient.readings.query(filter, caller.signal)
        await readers(2)
        // Both connections are taken: this one waits for a free one, and leaves before it has asked anything.
        const waiting = patient.readings.query(filter, caller.signal)
        caller.abort(gone)
        await assert.rejects(left, gone)
        await assert.rejects(waiting, gone)
        await readers(1)
        await unlock(kind, holder)
        assert.equal((await staying).readings.length, 2)
        assert.equal((await patient.readings.query(filter)).readings.length, 2)
      } finally {
        await patient.close()
      }
    })

    test('is not cancelled in the place of what follows it on its connection', async () => {
      // Callers that leave at any moment: before, while and after their statement runs.
      for (let at = 0; at < 60; at += 1) {
        const caller = new AbortController()
        const leaving = query(caller.signal).catch((error: unknown) => error)
        await setTimeout(at % 6)
        caller.abort(new Error('gone'))
        const [left, ...stayed] = await Promise.all([leaving, query(), query(), query()])
        assert.ok(left instanceof Error ? left.message === 'gone' : 'readings' in (left as object), String(left))
        assert.deepEqual(
          stayed.map(({ readings }) => readings.length),
          [2, 2, 2],
        )
      }
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
    await store.readings.settle()
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

test('events and audit on sqlite: what nobody waits for any more is not asked', async (context) => {
  const own = await ownDatabase('sqlite')
  const store = await openStore(own.config)
  context.after(async () => {
    await store.close()
    await own.drop()
  })
  for (const log of ['events', 'audit'] as const) {
    const gone = new Error('gone')
    const caller = new AbortController()
    const asked: string[] = []
    const query = SqliteThread.prototype.query
    const spy = context.mock.method(
      SqliteThread.prototype,
      'query',
      function (this: SqliteThread, text: string, params: unknown[]) {
        if (text.includes(`routemq_${log}`)) asked.push(text)
        caller.abort(gone)
        return query.call(this, text, params)
      },
    )
    // The time of the entry is looked up first: by then its caller has left.
    await assert.rejects(store[log].list({ before: 1 }, caller.signal), gone)
    assert.equal(asked.length, 1, log)
    await assert.rejects(store[log].list({}, caller.signal), gone)
    assert.equal(asked.length, 1, log)
    spy.mock.restore()
    assert.deepEqual(await store[log].list(), [])
  }
})

test('what is a time-out, and what is not', () => {
  const coded = (code: string) => Object.assign(new Error('x'), { code })
  assert.ok(isTimeout(new Error('Query read timeout')))
  assert.ok(isTimeout(coded('57014')))
  assert.ok(isTimeout(Object.assign(coded('ER_QUERY_TIMEOUT'), { errno: 3024 })))
  assert.ok(!isTimeout(coded('ECONNREFUSED')))
  assert.ok(!isTimeout(new Error('Connection terminated due to connection timeout')))
})
