import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach } from 'node:test'
import { Ingest, type IngestOptions, type IngestStore } from '../../../../core/database/ingest.js'
import type { ReadingWrite } from '../../../../core/database/readings/reading.js'
import type { StoreState } from '../../../../core/database/store.js'
import { silentLogger } from '../../../../core/observability/logger.js'
import { Spool } from '../../../../core/spool/spool.js'
import { RouteMQError } from '../../../../core/support/errors.js'

const MiB = 1024 * 1024
const root = await mkdtemp(join(tmpdir(), 'routemq-ingest-'))
let serial = 0
const ingests: Ingest[] = []
const spools: Spool[] = []
afterEach(async () => {
  await Promise.all(ingests.splice(0).map((ingest) => ingest.stop(100)))
  await Promise.all(spools.splice(0).map((spool) => spool.close()))
})
after(() => rm(root, { recursive: true, force: true }))

/** A database in memory that can be away, hang, and answer late: faults that a real one cannot be made to do on time. */
export class FakeDatabase implements IngestStore {
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

/** An ingest without a spool; it is stopped after its test. */
export function ingestInto(store: FakeDatabase, options: Partial<IngestOptions> = {}): Ingest {
  const ingest = new Ingest({ logger: silentLogger, instance: 'i', store, ...options })
  ingests.push(ingest)
  return ingest
}

/** The same with a spool, and quick. */
export async function spooledIngest(store: FakeDatabase, options: Partial<IngestOptions> & { maxBytes?: number } = {}) {
  const { maxBytes = 64 * MiB, ...rest } = options
  const spool = await Spool.open({ dir: join(root, String(serial++)), maxBytes })
  spools.push(spool)
  return { spool, ingest: ingestInto(store, { spool, batchMs: 20, confirmMs: 60, ...rest }) }
}

/** What makes a database hang until it is released. */
export function hang(store: FakeDatabase): () => void {
  let release = () => {}
  store.hang = new Promise((resolve) => {
    release = resolve
  })
  return () => {
    store.hang = undefined
    release()
  }
}
