import type { Kysely } from 'kysely'
import type { DatabaseConfig } from '../config/config.js'
import type { DialectName } from './dialect.js'
import type { StepStatus } from './migrator.js'
import type { ReadingRepository } from './readings/repository.js'
import type { DeadLetterRepository } from './repositories/dead-letters.js'
import type { DeviceRepository } from './repositories/devices.js'
import type { IdempotencyRepository } from './repositories/idempotency.js'
import type { KeyRepository } from './repositories/keys.js'
import type { LeaseRepository } from './repositories/leases.js'
import type { AuditRepository, EventRepository } from './repositories/log-repositories.js'
import type { ParkedRepository } from './repositories/parked.js'
import type { Revision } from './repositories/revision.js'
import type { TargetRepository } from './repositories/targets.js'

export type StoreState =
  /** Reached and migrated. */
  | { readonly name: 'ok' }
  /** Not reached (yet); tried again by itself. */
  | { readonly name: 'disconnected'; readonly reason: string }
  /** Reached and unusable: credentials, schema, a full or read-only disk. Tried again by itself. */
  | { readonly name: 'error'; readonly reason: string }

export interface MigrationReport {
  /** Names of the framework's and the application's migrations that ran now. */
  readonly framework: readonly string[]
  readonly app: readonly string[]
  /** The copy that was made of an SQLite file before. */
  readonly copy: string | undefined
  /** True where the readings became a hypertable of TimescaleDB now. */
  readonly hypertable: boolean
}

export interface MigrationStatus {
  readonly framework: readonly StepStatus[]
  readonly app: readonly StepStatus[]
}

/** What takes part in a transaction of the store. */
export type StoreTransaction = Pick<
  Store,
  'dialect' | 'kysely' | 'devices' | 'targets' | 'readings' | 'deadLetters' | 'audit'
>

/** The database of the product. Every call rejects with DATABASE_UNAVAILABLE while it is away. */
export interface Store {
  readonly dialect: DialectName
  /** Where it is, without secrets. */
  readonly address: string
  readonly state: StoreState
  /** Calls `listener` with every change of state; returns a function that stops that. */
  onState(listener: (state: StoreState) => void): () => void
  /** Asks the database for an answer. Rejects with DATABASE_UNAVAILABLE. */
  ping(): Promise<void>
  /**
   * Runs what has not run; done by `openDatabase` too. Readings that are there already are moved into a hypertable only with
   * `moveReadings`. Rejects with DATABASE_SCHEMA, DATABASE_UNAVAILABLE.
   */
  migrate(options?: { readonly moveReadings?: boolean }): Promise<MigrationReport>
  migrationStatus(): Promise<MigrationStatus>
  /** Takes the last migration of the application back; undefined where there is none. The framework's stay. */
  rollback(): Promise<string | undefined>
  /** SQLite only: a consistent copy into a file that does not exist yet, while everything goes on. */
  backup(file: string): Promise<void>
  /** Runs work in one transaction: where it rejects, everything is as it was. */
  transaction<T>(work: (within: StoreTransaction) => Promise<T>): Promise<T>
  /**
   * Takes the password of a generation of the configuration that names the same server, user and database: connections are made
   * with it from now on, and those that are open are replaced as they become free.
   */
  usePassword(config: DatabaseConfig): void
  close(): Promise<void>
  /** For the tables of the application (`ctx.db`). */
  readonly kysely: Kysely<unknown>
  readonly devices: DeviceRepository
  readonly targets: TargetRepository
  /** Tells whether devices or targets changed, by whatever hand. */
  readonly revision: Revision
  readonly readings: ReadingRepository
  readonly events: EventRepository
  readonly audit: AuditRepository
  readonly deadLetters: DeadLetterRepository
  readonly parked: ParkedRepository
  readonly idempotency: IdempotencyRepository
  readonly leases: LeaseRepository
  readonly keys: KeyRepository
}
