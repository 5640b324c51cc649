import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openDatabase } from '../../../core/database/open.js'
import type { Store } from '../../../core/database/store.js'
import type { DeliveryTables } from '../../../core/delivery/gateway-ports.js'
import { GatewayStore } from '../../../core/delivery/gateway-store.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Spool } from '../../../core/spool/spool.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { closedGate, until } from './harness.js'

/** A folder with a real database and a real spool; the database can be taken away and lives of the gateway follow each other. */
export async function plant({ copyWaitMs = 100 } = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'routemq-delivery-'))
  const database = (await openDatabase(
    { kind: 'sqlite', file: join(dir, 'd.db') },
    { logger: silentLogger, instance: 'i' },
  )) as Store
  let away = false
  let refuses: (method: string, subject: unknown) => boolean = () => false
  let isFull = false
  let held: { method: string; entered: () => void; until: Promise<void> } | undefined
  const guarded = <T extends object>(port: T): T =>
    new Proxy(port, {
      get: (target, name) => {
        const method = Reflect.get(target, name) as (...args: unknown[]) => Promise<unknown>
        return async (...args: unknown[]) => {
          if (away) throw new RouteMQError('DATABASE_UNAVAILABLE', 'away', { details: { state: 'disconnected' } })
          if (refuses(String(name), args[0])) {
            throw Object.assign(new Error('Got a packet bigger than allowed'), { code: 'ER_NET_PACKET_TOO_LARGE' })
          }
          if (held?.method === name) {
            held.entered()
            await held.until
          }
          return method.apply(target, args)
        }
      },
    })
  const tables: DeliveryTables = {
    deadLetters: guarded(database.deadLetters),
    parked: guarded(database.parked),
    claims: guarded(database.idempotency),
  }
  let life = 0
  const open: { store: GatewayStore; spool: Spool }[] = []
  const start = async (remembered?: number) => {
    const spool = await Spool.open({ dir: join(dir, 'spool'), maxBytes: 1_048_576 })
    const store = new GatewayStore({
      tables,
      spool: {
        get count() {
          return spool.count
        },
        append: (records) => (isFull ? Promise.reject(new RouteMQError('SPOOL_FULL', 'full')) : spool.append(records)),
        read: (after) => spool.read(after),
        peek: (limit, after) => spool.peek(limit, after),
        ack: (position) => spool.ack(position),
      },
      owner: { instance: 'i', boot: `boot-${++life}` },
      logger: silentLogger,
      copyWaitMs,
      replayMs: 100,
      ...(remembered !== undefined && { remembered }),
      parkedPage: 7,
    })
    await store.start()
    if (!away && !held) await until('the claims are known', () => store.knowsClaims)
    open.push({ store, spool })
    return { store, spool }
  }
  const end = async () => {
    const { store, spool } = open.pop()!
    await store.stop()
    await spool.close()
  }
  return {
    dir,
    database,
    refuse: (which: typeof refuses) => {
      refuses = which
    },
    /** The next calls of this method stand still in the database. */
    hold: (method: string) => {
      const entry = closedGate()
      const exit = closedGate()
      held = { method, entered: entry.open, until: exit.opened }
      return { entered: entry.opened, letGo: exit.open }
    },
    full: (value: boolean) => {
      isFull = value
    },
    start,
    end,
    setAway: (value: boolean) => {
      away = value
    },
    close: async () => {
      while (open.length > 0) await end()
      await database.close()
      await rm(dir, { recursive: true })
    },
  }
}
