import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CompiledQuery, createQueryId, type KyselyPlugin, type RootOperationNode, sql } from 'kysely'
import { AuditRepository, EventRepository } from '../../../core/database/repositories/log-repositories.js'
import type { Store } from '../../../core/database/store.js'
import { onEachDatabase, openStore, ownDatabase } from './databases.js'

const ACTOR = { kind: 'app', name: 'x' } as const
const BUSY = Array.from({ length: 20 }, (_, n) => `busy-${n}`)
const T0 = Date.parse('2026-01-01T00:00:00Z')

onEachDatabase((kind) => {
  test(`${kind}: audit and events of one device are found by an index, not by looking through all`, async (t) => {
    const own = await ownDatabase(kind)
    t.after(() => own.drop())
    const store = await openStore(own.config)
    t.after(() => store.close())
    for (let n = 0; n < 10; n += 1) {
      const devices = Array.from({ length: 500 }, (_, at) => ({ device_id: BUSY[at % 20]!, at: T0 + n * 500 + at }))
      await store.audit.append(devices.map((one) => ({ ...one, actor: ACTOR, action: 'write', outcome: 'ok' })))
      await store.events.append(devices.map((one) => ({ ...one, kind: 'device.lost', message: 'no answer' })))
    }
    if (kind !== 'sqlite') {
      const analyze = kind === 'postgres' ? 'analyze' : 'analyze table'
      await sql.raw(`${analyze} routemq_audit`).execute(store.kysely)
      await sql.raw(`${analyze} routemq_events`).execute(store.kysely)
    }
    const { reads, plan } = explaining(store, kind)
    const context = { db: reads, reads, dialect: kind, historyMs: 15_000, now: Date.now }
    const [audit, events] = [new AuditRepository(context), new EventRepository(context)]
    for (const filter of [
      { device_id: 'busy-7' },
      { device_id: 'busy-7', before: 4_000 },
      { device_id: 'unknown' },
      { device_id: 'busy-7', fromUs: T0 * 1e3, toUs: (T0 + 4_000) * 1e3, before: 4_900 },
    ]) {
      await audit.list(filter)
      assert.match(await plan(), /routemq_audit_device/, JSON.stringify(filter))
      await events.list(filter)
      assert.match(await plan(), /routemq_events_device/, JSON.stringify(filter))
    }
    for (const filter of [{ limit: 10 }, { before: { timeUs: (T0 + 3_000) * 1e3, id: 3_000 } }]) {
      await audit.list(filter)
      assert.match(await plan(), /routemq_audit_time/, JSON.stringify(filter))
      await events.list(filter)
      assert.match(await plan(), /routemq_events_time/, JSON.stringify(filter))
    }
    assert.deepEqual(
      (await audit.list({ device_id: 'busy-7', limit: 2 })).map(({ time }) => time),
      ['2026-01-01T00:00:04.987000Z', '2026-01-01T00:00:04.967000Z'],
    )
  })
})

/** The tables of a store, and how the database goes about what they were asked last. */
function explaining(store: Store, kind: string) {
  let asked: RootOperationNode | undefined
  const noting: KyselyPlugin = {
    transformQuery({ node }) {
      asked = node
      return node
    },
    transformResult: async ({ result }) => result,
  }
  const plan = async (): Promise<string> => {
    const query: CompiledQuery = store.kysely.getExecutor().compileQuery(asked!, createQueryId())
    const explain = kind === 'sqlite' ? 'explain query plan' : 'explain'
    const { rows } = await store.kysely.executeQuery({ ...query, sql: `${explain} ${query.sql}` })
    return kind === 'mysql' ? JSON.stringify(rows.map((row) => (row as { key: string }).key)) : JSON.stringify(rows)
  }
  return { reads: store.kysely.withPlugin(noting) as never, plan }
}
