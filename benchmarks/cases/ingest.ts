import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { sql } from 'kysely'
import pg from 'pg'
import { Ingest } from '../../core/database/ingest.js'
import { openDatabase } from '../../core/database/open.js'
import { CopyRows, copyInto } from '../../core/database/postgres-copy.js'
import type { Store } from '../../core/database/store.js'
import { silentLogger } from '../../core/observability/logger.js'
import type { Sample } from '../../core/poller/sample.js'
import { type Benchmark, type BenchOptions, type Figure, median, type Ratio } from '../harness.js'

const DEVICES = 100
const POINTS = 10
/** Rows of a batch of ingest, and of one where they have piled up. */
const BATCH = 2_000
const PILED = 8_000
const PG = process.env.BENCH_POSTGRES ?? 'postgres://postgres@127.0.0.1:5432'
const COLUMNS = 'series_id, time_us, source_id, sequence, value, text_value, kind, quality, reason'

/** What one way of storing the rows took: milliseconds on the clock, and of processors in all processes taking part. */
interface Cost {
  readonly ms: number
  readonly cpuMs: number
}

type Pids = () => Promise<readonly number[]>
const nobody: Pids = async () => []

async function cost(work: () => Promise<void> | void, servers: Pids = nobody): Promise<Cost> {
  const before = await cpuOf(servers)
  const own = process.cpuUsage()
  const startedAt = performance.now()
  await work()
  const ms = performance.now() - startedAt
  const { user, system } = process.cpuUsage(own)
  return { ms, cpuMs: (user + system) / 1_000 + (await cpuOf(servers)) - before }
}

/** Processor milliseconds of server processes so far: utime and stime of /proc/PID/stat, in hundredths of a second. */
async function cpuOf(servers: Pids): Promise<number> {
  let ticks = 0
  for (const pid of await servers()) {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
    ticks += Number(fields[11]) + Number(fields[12])
  }
  return ticks * 10
}

function samples(rows: number, run: number): Sample[] {
  return Array.from({ length: rows / POINTS }, (_, n) => {
    const timestamp = 1_700_000_000 + run * 1_000_000 + Math.floor(n / DEVICES)
    const device_id = `d${n % DEVICES}`
    const block = { device_id, register_type: 'holding', address: 0, count: POINTS, values: [] } as const
    return {
      target_id: 1,
      device_id,
      slot: n,
      block: { ...block, source: 'live', timestamp, quality: 'good' },
      points: Array.from({ length: POINTS }, (_, p) => ({
        point: `p${p}`,
        value: n + p / 10,
        unit: null,
        quality: 'good' as const,
        timestamp,
      })),
    }
  })
}

async function throughIngest(store: Store, offered: readonly Sample[], boot: string): Promise<void> {
  const ingest = new Ingest({
    store,
    logger: silentLogger,
    instance: 'bench',
    boot,
    capacity: 20_000,
    confirmMs: 60_000,
  })
  for (let at = 0; at < offered.length; at += 50) await ingest.accept(offered.slice(at, at + 50))
  await ingest.flush()
  await ingest.stop()
  const { inserted, refused } = ingest.stats()
  const rows = offered.length * POINTS
  if (inserted !== rows || refused !== 0) throw new Error(`void: ${inserted} of ${rows} rows`)
}

type Row = readonly [number, number, number, number, number, null, number, number, null]

/** The same rows, in the order in which ingest stores them. */
function tuples(rows: number, run: number): Row[] {
  return Array.from({ length: rows }, (_, n) => {
    const time = (1_800_000_000 + run * 1_000_000 + Math.floor(n / (DEVICES * POINTS))) * 1e6
    return [(n % (DEVICES * POINTS)) + 1, time, 1, run * rows + n, n / 10, null, 1, 0, null]
  })
}

function batches<T>(rows: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(rows.length / size) }, (_, n) => rows.slice(n * size, (n + 1) * size))
}

interface Judged {
  readonly label: string
  readonly costs: readonly Cost[]
  readonly target: number
}

/** Throughput of ingest over that of the others, by processor time; and by the clock, as figures. */
function judge(name: string, rows: number, ingest: readonly Cost[], others: readonly Judged[]) {
  const rate = (costs: readonly Cost[]) => median(costs.map(({ ms }) => rows / (ms / 1_000)))
  const share = (other: Judged, of: (cost: Cost) => number) =>
    median(ingest.map((mine, round) => of(other.costs[round]!) / of(mine)))
  const figures: Figure[] = [{ label: `${name}: ingest`, value: rate(ingest), unit: 'rows/s' }]
  for (const other of others) {
    figures.push({ label: `${name}: ${other.label}`, value: rate(other.costs), unit: 'rows/s' })
    figures.push({ label: '  ingest / that, by the clock', value: share(other, ({ ms }) => ms), unit: '' })
  }
  const ratios: Ratio[] = others.map((other) => ({
    label: `${name}: ingest / ${other.label}`,
    value: share(other, ({ cpuMs }) => cpuMs),
    target: other.target,
    bound: 'at least',
  }))
  return { figures, ratios }
}

async function sqlite(rows: number, rounds: number) {
  const dir = await mkdtemp(join(tmpdir(), 'routemq-bench-'))
  const options = { logger: silentLogger, instance: 'bench' }
  const open = (file: string) => openDatabase({ kind: 'sqlite', file: join(dir, file) }, options) as Promise<Store>
  const store = await open('ingest.db')
  // Ingest takes more at once where readings pile up, as here: also against transactions of that size.
  const bare = [await bareLoop(open, dir, BATCH), await bareLoop(open, dir, PILED)]
  const costs: Cost[] = []
  for (let run = 0; run < rounds; run += 1) {
    const offered = samples(rows, run)
    const settled = () => throughIngest(store, offered, `run${run}`).then(() => store.readings.settle())
    costs.push(await cost(settled))
    for (const loop of bare) await loop.round(rows, run)
  }
  for (const { close } of bare) close()
  await store.close()
  await rm(dir, { recursive: true })
  return judge(
    'SQLite',
    rows,
    costs,
    bare.map(({ size, costs }) => ({ label: `bare transactions of ${size}`, costs, target: 0.8 })),
  )
}

async function bareLoop(open: (file: string) => Promise<Store>, dir: string, size: number) {
  const file = `bare-${size}.db`
  // Made by the product, so that page size and schema are the same.
  await (await open(file)).close()
  const database = new Database(join(dir, file))
  for (const pragma of [
    'journal_mode = wal',
    'synchronous = normal',
    'cache_size = -32768',
    'wal_autocheckpoint = 16384',
  ]) {
    database.pragma(pragma)
  }
  const statement = database.prepare(
    `insert into routemq_readings (${COLUMNS}) values (?,?,?,?,?,?,?,?,?) on conflict do nothing`,
  )
  const transaction = database.transaction((batch: readonly Row[]) => {
    for (const row of batch) statement.run(...row)
  })
  const costs: Cost[] = []
  return {
    size,
    costs,
    async round(rows: number, run: number) {
      const parts = batches(tuples(rows, run), size)
      costs.push(await cost(() => parts.forEach(transaction)))
    },
    close: () => database.close(),
  }
}

async function postgres(rows: number, rounds: number) {
  const name = `routemq_bench_${process.pid}`
  const admin = new pg.Client({ connectionString: `${PG}/postgres`, connectionTimeoutMillis: 2_000 })
  try {
    await admin.connect()
  } catch (error) {
    console.log(`PostgreSQL: skipped, it does not answer: ${String(error)}`)
    return { figures: [], ratios: [] }
  }
  await admin.query(`create database ${name}`)
  const config = { kind: 'postgres', url: `${PG}/${name}`, poolSize: 4, echo: false } as const
  const store = (await openDatabase(config, { logger: silentLogger, instance: 'bench' }))!
  for (const table of ['bench_bare', 'bench_copy']) {
    await sql`create table ${sql.table(table)} (like routemq_readings including all)`.execute(store.kysely)
  }
  const client = new pg.Client({ connectionString: config.url })
  await client.connect()
  const servers: Pids = async () => {
    const activity = await admin.query(
      `select pid from pg_stat_activity where datname = '${name}' and backend_type = 'client backend'`,
    )
    return activity.rows.map(({ pid }: { pid: number }) => pid)
  }
  const copy = (table: string, part: readonly Row[]) => {
    const text = `${part.map((row) => row.map((value) => value ?? '\\N').join('\t')).join('\n')}\n`
    return copyInto(client, `copy ${table} (${COLUMNS}) from stdin`, new CopyRows(text))
  }
  const costs = { ingest: [] as Cost[], bare: [] as Cost[], copy: [] as Cost[] }
  // The connections of the pool are there from here on, so that none is counted from its birth.
  await throughIngest(store, samples(4 * BATCH, rounds), 'warm')
  for (let run = 0; run < rounds; run += 1) {
    const offered = samples(rows, run)
    costs.ingest.push(await cost(() => throughIngest(store, offered, `run${run}`), servers))
    const bare = tuples(rows, run)
    const inBatches = async () => {
      for (const batch of batches(bare, BATCH)) await copy('bench_bare', batch)
    }
    costs.bare.push(await cost(inBatches, servers))
    costs.copy.push(await cost(() => copy('bench_copy', bare), servers))
  }
  await client.end()
  await store.close()
  await admin.query(`drop database ${name} with (force)`)
  await admin.end()
  return judge('PostgreSQL', rows, costs.ingest, [
    { label: 'bare loop, same statement', costs: costs.bare, target: 0.9 },
    { label: 'one COPY', costs: costs.copy, target: 0.6 },
  ])
}

const benchmark: Benchmark = {
  title: 'readings from the poller into the database, against bare drivers; ratios by processor time',
  async run({ short, rounds }: BenchOptions) {
    const rows = short ? 60_000 : 200_000
    const [embedded, server] = [await sqlite(rows, rounds), await postgres(rows, rounds)]
    return { figures: [...embedded.figures, ...server.figures], ratios: [...embedded.ratios, ...server.ratios] }
  },
}

export default benchmark
