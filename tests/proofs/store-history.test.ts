import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type RawBuilder, sql } from 'kysely'
import type { ReadingQuery } from '../../core/database/readings/query.js'
import type { ReadingWrite } from '../../core/database/readings/reading.js'
import type { Store } from '../../core/database/store.js'
import { onEachDatabase, openStore, ownDatabase } from '../core/database/databases.js'
import { FULL, figures, percentile, size } from './support/size.js'

const POINTS = size(100, 1_000)
const ROWS = 5_000
const QUERIES = size(60, 200)
const BOUND_MS = 20
const PASSES = 5
const DEVICE_POINTS = 50
const START_US = Date.UTC(2026, 0, 1) * 1_000
/** A reading every 30 s: 5,000 of them are almost two days. */
const EVERY_US = 30_000_000
const PAGE = 100

onEachDatabase((kind) => {
  test(`${kind}: pages of one point among ${POINTS} x ${ROWS} readings`, async (t) => {
    const own = await ownDatabase(kind)
    t.after(() => own.drop())
    const store = await openStore(own.config)
    t.after(() => store.close())
    const filledIn = await fill(store)
    await analyse(store)
    // Other work on the machine is not the store's: of several passes the best one counts.
    let best = await pass(store)
    for (let n = 1; FULL && n < PASSES && slowest(best) >= BOUND_MS; n++) {
      const again = await pass(store)
      if (slowest(again) < slowest(best)) best = again
    }
    figures(`history on ${kind}`, {
      rows: POINTS * ROWS,
      'filled in s': filledIn,
      plan: await planOf(store),
      ...Object.fromEntries(Object.entries(best).map(([name, { median }]) => [`${name} median ms`, median])),
      ...Object.fromEntries(Object.entries(best).map(([name, { p95 }]) => [`${name} p95 ms`, p95])),
    })
    // A build machine has other work: there the plan is what is judged.
    if (FULL) for (const [name, { p95 }] of Object.entries(best)) assert.ok(p95 < BOUND_MS, `${name}: ${p95}`)
    assert.match(await planOf(store), /routemq_readings_once|PRIMARY/i)
  })
})

type Times = Readonly<Record<string, { readonly median: number; readonly p95: number }>>

const slowest = (times: Times) => Math.max(...Object.values(times).map(({ p95 }) => p95))

/** Milliseconds of each kind of page, over points all over the table. */
async function pass(store: Store): Promise<Times> {
  const times: Record<string, number[]> = { first: [], middle: [], last: [], 'value and day': [] }
  // A start of the process and of caches is not what is asked for.
  for (let n = -5; n < QUERIES; n++) {
    const series = seriesOf(((n + 5) * 37) % POINTS)
    for (const [name, query] of Object.entries(await queries(store, series))) {
      const { count, ms } = await timed(store, query)
      assert.equal(count, query.limit, `${name} of ${series.point}`)
      if (n >= 0) times[name]!.push(ms)
    }
  }
  return Object.fromEntries(
    Object.entries(times).map(([name, values]) => [
      name,
      { median: percentile(values, 0.5), p95: percentile(values, 0.95) },
    ]),
  )
}

const seriesOf = (point: number) => ({
  device_id: `d${Math.floor(point / DEVICE_POINTS)}`,
  point: `p${point % DEVICE_POINTS}`,
})
const timeOf = (row: number) => START_US + row * EVERY_US

/** The first page, one in the middle and the last one by the cursor of the page before; and one value within one day. */
async function queries(
  store: Store,
  series: { device_id: string; point: string },
): Promise<Record<string, ReadingQuery>> {
  const day = Date.UTC(2026, 0, 1) * 1_000
  const behind = async (row: number): Promise<ReadingQuery> => {
    const { next } = await store.readings.query({ ...series, limit: 1, to: timeOf(row + 1) })
    return { ...series, limit: PAGE, cursor: next! }
  }
  return {
    first: { ...series, limit: PAGE },
    middle: await behind(ROWS / 2),
    last: await behind(PAGE),
    'value and day': { ...series, limit: PAGE / 2, from: day, to: day + 86_400_000_000, value: 7 },
  }
}

async function timed(store: Store, query: ReadingQuery): Promise<{ count: number; ms: number }> {
  const startedAt = performance.now()
  const { readings } = await store.readings.query(query)
  return { count: readings.length, ms: performance.now() - startedAt }
}

/** In the order of time, as a plant would. @returns seconds */
async function fill(store: Store): Promise<number> {
  const startedAt = performance.now()
  const source = { instance: 'proof', boot: 'one' }
  let sequence = 0
  let batch: ReadingWrite[] = []
  for (let row = 0; row < ROWS; row++) {
    for (let point = 0; point < POINTS; point++) {
      sequence += 1
      const { device_id, point: name } = seriesOf(point)
      const value = row % 20
      batch.push({
        source,
        sequence,
        device_id,
        point: name,
        unit: null,
        time_us: timeOf(row),
        value,
        quality: 'good',
        reason: null,
      })
      if (batch.length < 4_000) continue
      await store.readings.insertBatch(batch)
      batch = []
    }
  }
  await store.readings.insertBatch(batch)
  return (performance.now() - startedAt) / 1_000
}

/** What the servers do by themselves when rows have come in. */
async function analyse({ dialect, kysely }: Store): Promise<void> {
  const statement = {
    sqlite: 'analyze',
    postgres: 'vacuum (analyze) routemq_readings',
    mysql: 'analyze table routemq_readings',
  }
  await sql.raw(statement[dialect]).execute(kysely)
}

/** How the database reads one page: the line of its plan that names the index. */
async function planOf({ dialect, kysely }: Store): Promise<string> {
  const page: RawBuilder<unknown> = sql`select * from routemq_readings where series_id = 1 and time_us < ${timeOf(2_500)}
    order by time_us desc, source_id desc, sequence desc limit 101`
  const { rows } = await (dialect === 'sqlite' ? sql`explain query plan ${page}` : sql`explain ${page}`).execute(kysely)
  const lines = rows.map((row) => Object.values(row as object).join(' '))
  return lines.find((line) => /routemq_readings_once|PRIMARY/i.test(line))?.trim() ?? lines.join('; ')
}
