import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { sql } from 'kysely'
import type { IngestStats } from '../../core/database/ingest.js'
import { openStore, ownDatabase } from '../core/database/databases.js'
import { type OwnServer, ownServer, whyNoServers } from '../core/database/own-servers.js'

/** How long the database stays away, seconds. The full form of this test: ROUTEMQ_OUTAGE_SECONDS=60. */
const AWAY_S = Number(process.env.ROUTEMQ_OUTAGE_SECONDS ?? 2)

interface Report {
  readonly slot: number
  readonly at: number
  readonly rss: number
  readonly stats: IngestStats
  readonly ended?: true
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

function gateway(config: unknown, spool: string, boot: string) {
  const reports: Report[] = []
  const child: ChildProcess = fork(
    new URL('./ingest-child.ts', import.meta.url),
    [JSON.stringify(config), spool, boot],
    {
      execArgv: ['--import', 'tsx'],
    },
  )
  child.on('message', (report) => reports.push(report as Report))
  return {
    reports,
    async until(what: (last: Report) => boolean, ms = 180_000) {
      const limit = Date.now() + ms
      for (;;) {
        const last = reports.at(-1)
        if (last !== undefined && what(last)) return last
        if (child.exitCode !== null) throw new Error(`the gateway ended with ${child.exitCode}`)
        if (Date.now() > limit) throw new Error(`not within ${ms} ms: ${what}; last ${JSON.stringify(last)}`)
        await sleep(20)
      }
    },
    async kill() {
      const at = Date.now()
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
      return at
    },
    async end() {
      const exited = once(child, 'exit') // it may be gone before its last word is looked at
      child.send('end')
      const last = await this.until(({ ended }) => ended === true)
      await exited
      return last
    },
  }
}

const noServers = await whyNoServers()
if (noServers !== undefined) console.error(`SKIPPED: outages of own database servers: ${noServers}`)

for (const kind of ['postgres', 'mysql'] as const) {
  describe(`an outage of ${kind}`, { skip: noServers ?? false }, () => {
    let server: OwnServer
    let spool: string
    before(async () => {
      server = await ownServer(kind)
      await server.start()
      spool = await mkdtemp(join(tmpdir(), 'routemq-outage-'))
    })
    after(async () => {
      await server?.remove()
      await rm(spool, { recursive: true, force: true })
    })

    test(`5,000 rows a second, the database killed for ${AWAY_S} s and the gateway in the middle of it`, async (t) => {
      const first = gateway(server.config, spool, 'first')
      await first.until(({ stats }) => stats.inserted > 3_000)
      await server.kill()
      await sleep((AWAY_S * 1_000) / 2)
      const killedAt = await first.kill()
      const second = gateway(server.config, spool, 'second')
      await second.until(({ slot }) => slot > 3)
      await sleep((AWAY_S * 1_000) / 2)
      await server.start()
      // While the spool is replayed: the server dies between commit and answer, and freezes.
      await second.until(({ stats }) => stats.replayed > 0)
      await server.kill()
      await server.start()
      server.freeze()
      await sleep(1_000)
      server.thaw()
      await second.until(({ stats }) => stats.spoolRecords === 0 && stats.buffered < 2_000)
      const ended = await second.end()

      const store = await openStore(server.config)
      const counted = async (boot: string, slots: number) => {
        const { rows } = await sql<{ device_id: string; point: string; rows: number; slots: number; top: number }>`
          select s.device_id, s.point, count(*) as "rows", count(distinct r.value) as slots, max(r.value) as top
          from routemq_readings r join routemq_series s on s.id = r.series_id join routemq_sources o on o.id = r.source_id
          where o.boot = ${boot} group by s.device_id, s.point`
          .execute(store.kysely)
          .catch((error) => {
            throw new Error(String(error))
          })
        assert.equal(rows.length, 500)
        for (const row of rows) {
          const top = Math.floor(Number(row.top) / 1_000)
          assert.equal(Number(row.rows), top + 1, `${row.device_id} ${row.point}: nothing missing, nothing twice`)
          assert.equal(Number(row.slots), Number(row.rows))
          assert.ok(top >= slots, `${row.device_id} ${row.point} ends at slot ${top}, should reach ${slots}`)
        }
        return rows.reduce((sum, row) => sum + Number(row.rows), 0)
      }
      const safe = first.reports.filter(({ at }) => at < killedAt - 1_000).at(-1)!.slot
      const inFirst = await counted('first', safe)
      const inSecond = await counted('second', ended.slot)
      await store.close()
      const top = Math.max(...[...first.reports, ...second.reports].map(({ rss }) => rss)) / 2 ** 20
      assert.ok(top < 400, `${top} MiB`)
      assert.equal(ended.stats.dropped, 0)
      assert.equal(ended.stats.refused, 0)
      const lost = (first.reports.at(-1)!.slot + 1) * 500 - inFirst
      t.diagnostic(`${inFirst + inSecond} rows, ${lost} lost by SIGKILL, at most ${Math.round(top)} MiB`)
    })

    test('a store notices that its database went and came, and works again', async () => {
      const states: string[] = []
      const store = await openStore(server.config, { checkMs: { there: 100, away: 100 }, connectMs: 10_000 })
      store.onState(({ name }) => states.push(name))
      await server.stop()
      await assert.rejects(store.devices.list(), { code: 'DATABASE_UNAVAILABLE' })
      assert.equal(store.state.name, 'disconnected')
      const back = new Promise<void>((resolve) => store.onState(({ name }) => name === 'ok' && resolve()))
      await server.start()
      await back
      assert.deepEqual(await store.devices.list(), [])
      assert.deepEqual(states, ['disconnected', 'ok'])
      await store.close()
    })

    test('a database that comes after the start is migrated then', async () => {
      await server.stop()
      const url = server.config.url.replace(/\/\w+$/, '/late')
      const opened = openStore({ ...server.config, url }, { checkMs: { there: 100, away: 100 }, connectMs: 10_000 })
      const store = await opened
      assert.equal(store.state.name, 'disconnected')
      await assert.rejects(store.devices.insert({ device_id: 'x' }), { code: 'DATABASE_UNAVAILABLE' })
      const back = new Promise<void>((resolve) => store.onState(({ name }) => name === 'ok' && resolve()))
      await server.start()
      const maker = await openStore(server.config)
      await sql`create database late`.execute(maker.kysely)
      await maker.close()
      await back
      await store.devices.insert({ device_id: 'x' })
      assert.equal((await store.devices.list()).length, 1)
      await store.close()
    })

    test('a statement that gets no answer fails in time, and its connection is not used again', async () => {
      const store = await openStore(server.config, { statementMs: 2_000, checkMs: { there: 10_000, away: 100 } })
      server.freeze()
      const started = Date.now()
      await assert.rejects(store.devices.list(), { code: 'DATABASE_UNAVAILABLE' })
      assert.ok(Date.now() - started < 14_000, 'sooner than a statement may take by default')
      server.thaw()
      const limit = Date.now() + 60_000
      while (store.state.name !== 'ok' && Date.now() < limit) await sleep(20)
      assert.equal(store.state.name, 'ok')
      await Promise.all(Array.from({ length: 20 }, () => store.devices.list()))
      await store.close()
    })
  })
}

test('SQLite: a gateway killed while it writes loses at most the last second, and what was durable stays', async (t) => {
  const own = await ownDatabase('sqlite')
  const spool = await mkdtemp(join(tmpdir(), 'routemq-outage-'))
  const gone = gateway(own.config, spool, 'first')
  await gone.until(({ slot }) => slot >= 15)
  const killedAt = await gone.kill()
  const store = await openStore(own.config)
  await store.readings.settle()
  const { rows } = await sql<{ rows: number; top: number }>`
    select count(*) as "rows", max(value) as top from routemq_readings group by series_id`.execute(store.kysely)
  assert.equal(rows.length, 500)
  const safe = gone.reports.filter(({ at }) => at < killedAt - 1_000).at(-1)!.slot
  for (const row of rows) {
    assert.equal(row.rows, Math.floor(row.top / 1_000) + 1)
    assert.ok(row.top / 1_000 >= safe)
  }
  t.diagnostic(`${rows[0]!.rows} of ${gone.reports.length} rounds are there`)
  await store.close()
  await own.drop()
  await rm(spool, { recursive: true, force: true })
})
