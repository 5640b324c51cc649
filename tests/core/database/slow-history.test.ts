import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { isTimeout } from '../../../core/database/connection-errors.js'
import type { ReadingWrite } from '../../../core/database/readings/reading.js'
import type { Store } from '../../../core/database/store.js'
import { type Kind, type OwnDatabase, onEachDatabase, openStore, ownDatabase } from './databases.js'

const row = (sequence: number): ReadingWrite => ({
  source: { instance: 'h', boot: 'h' },
  sequence,
  device_id: 'meter',
  point: 'p',
  unit: null,
  time_us: 1_767_225_600_000_000 + sequence,
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

test('what is a time-out, and what is not', () => {
  const coded = (code: string) => Object.assign(new Error('x'), { code })
  assert.ok(isTimeout(new Error('Query read timeout')))
  assert.ok(isTimeout(coded('57014')))
  assert.ok(isTimeout(Object.assign(coded('ER_QUERY_TIMEOUT'), { errno: 3024 })))
  assert.ok(!isTimeout(coded('ECONNREFUSED')))
  assert.ok(!isTimeout(new Error('Connection terminated due to connection timeout')))
})
