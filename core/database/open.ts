import type { DatabaseConfig } from '../config/config.js'
import type { Logger } from '../observability/logger.js'
import { type Clock, systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { SqlStore } from './sql-store.js'
import type { Store } from './store.js'

export interface OpenOptions {
  readonly logger: Logger
  /** Id of this installation. */
  readonly instance: string
  readonly clock?: Clock
  /** Folder of the application's migrations. */
  readonly appMigrationsDir?: string
  /** False in workers: the gateway migrates. @default true */
  readonly migrate?: boolean
  /** Milliseconds an attempt to connect may take. @default 3,000 */
  readonly connectMs?: number
  /** Milliseconds a statement may take on a server. @default 15,000 */
  readonly statementMs?: number
  /** Milliseconds between two looks at whether the database is there. @default 5,000 while it is, 1,000 while not */
  readonly checkMs?: { readonly there: number; readonly away: number }
}

/**
 * Opens the database and migrates it; undefined for `kind: 'none'`. Where it cannot be reached the store comes back in
 * the state `disconnected` or `error`, goes on trying, and migrates when the database comes.
 *
 * Rejects with DATABASE_SCHEMA where the database answers and holds what this version must not touch, and with
 * DATABASE_DRIVER_MISSING where there is no SQLite driver: the product may then start without a database.
 */
export async function openDatabase(config: DatabaseConfig, options: OpenOptions): Promise<Store | undefined> {
  if (config.kind === 'none') return undefined
  const store = new SqlStore(config, { ...options, clock: options.clock ?? systemClock })
  try {
    await store.start()
  } catch (error) {
    await store.close()
    throw error
  }
  return store
}

/** True where the product should go on without a database rather than end. */
export function isDriverMissing(error: unknown): boolean {
  return error instanceof RouteMQError && error.code === 'DATABASE_DRIVER_MISSING'
}
