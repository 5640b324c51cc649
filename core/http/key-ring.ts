import { readFileSync } from 'node:fs'
import { z } from 'zod'
import type { Actor } from '../modbus/field.js'
import { type Logger, silentLogger } from '../observability/logger.js'
import { type Clock, systemClock } from '../support/clock.js'
import { replaceFile } from '../support/durable-file.js'
import { RouteMQError } from '../support/errors.js'
import { type ApiKeyRecord, KEY_SCOPES, type KeyService } from './services/keys.js'

/** Where keys are kept; the database implements it. */
export interface KeyTable {
  /** A row that is no key is left out, and `onDamaged` told. */
  list(onDamaged: (prefix: string, error: unknown) => void): Promise<readonly ApiKeyRecord[]>
  add(record: ApiKeyRecord): Promise<void>
  /** False where there is no such key, or it was revoked before. */
  revoke(prefix: string): Promise<boolean>
}

export interface KeyRingOptions {
  /** The table while the database can be used; undefined otherwise. */
  readonly table: () => KeyTable | undefined
  /** Where the records (digests, no keys) are copied to, readable by the owner only: the door stays closed to strangers and
   * open to keys while the database is away at a start. */
  readonly file: string
  /** How soon a change made elsewhere shows, milliseconds. @default 5000 */
  readonly refreshMs?: number
  readonly clock?: Clock
  readonly logger?: Logger
}

const recordsSchema = z.array(
  z.object({
    prefix: z.string(),
    hash: z.string(),
    name: z.string(),
    scope: z.enum(KEY_SCOPES),
    created_at: z.string(),
    expires_at: z.string().nullable(),
    revoked_at: z.string().nullable(),
  }),
)

const copySchema = z.object({
  /** That keys are asked for, also where the records of none are left: only who revokes the last key wants that to end. */
  asks: z.boolean(),
  keys: recordsSchema,
})

/** API keys in memory, as the table last said: a request never waits for the database, and works while that is away. */
export class KeyRing implements KeyService {
  readonly #options: Required<KeyRingOptions>
  #records = new Map<string, ApiKeyRecord>()
  #cancel: (() => void) | undefined
  #stopped = false
  #wasAway = false
  readonly #damaged = new Set<string>()
  #asks = false
  /** What the copy holds, as far as is known. */
  #copied = ''
  /** Counts the changes made here: what was read before one of them is older than what is known. */
  #generation = 0

  constructor(options: KeyRingOptions) {
    this.#options = { refreshMs: 5_000, clock: systemClock, logger: silentLogger, ...options }
  }

  /** Idempotent. @throws RouteMQError CONFIG_INVALID where the copy exists and cannot be read: better closed than open. */
  async start(): Promise<void> {
    if (this.#cancel !== undefined || this.#stopped) return
    const { asks, keys } = this.#readCopy()
    this.#asks = asks
    this.#hold(keys)
    this.#copied = this.#copy()
    await this.#refresh()
    this.#schedule()
  }

  stop(): void {
    this.#stopped = true
    this.#cancel?.()
  }

  any(): boolean {
    return this.#asks
  }

  find(prefix: string): ApiKeyRecord | undefined {
    return this.#records.get(prefix)
  }

  async list(): Promise<readonly ApiKeyRecord[]> {
    return [...this.#records.values()]
  }

  async add(record: ApiKeyRecord, actor: Actor): Promise<void> {
    await this.#table().add(record)
    this.#options.logger.info({ prefix: record.prefix, scope: record.scope, actor }, 'API key created')
    this.#generation += 1
    this.#take([...this.#records.values(), record])
  }

  async revoke(prefix: string, actor: Actor): Promise<void> {
    const { clock, logger } = this.#options
    if (!(await this.#table().revoke(prefix))) {
      throw new RouteMQError('KEY_UNKNOWN', `no usable key has the prefix ${prefix}`, { details: { prefix } })
    }
    logger.info({ prefix, actor }, 'API key revoked')
    this.#generation += 1
    const revoked_at = new Date(clock.now()).toISOString()
    this.#take([...this.#records.values()].map((each) => (each.prefix === prefix ? { ...each, revoked_at } : each)))
    // What the table holds besides is read again: a key added elsewhere meanwhile must not be lost in the copy.
    await this.#refresh()
  }

  #table(): KeyTable {
    const table = this.#options.table()
    if (table !== undefined) return table
    throw new RouteMQError('DATABASE_UNAVAILABLE', 'API keys can only be changed while the database is there')
  }

  /** While the table cannot be read, the keys that are known stay good. */
  async #refresh(): Promise<void> {
    const table = this.#options.table()
    if (table === undefined) return
    const generation = this.#generation
    try {
      const records = await table.list((prefix, error) => this.#tellDamaged(prefix, error))
      // A key that was revoked meanwhile must not come back; the next reading sees all.
      if (generation === this.#generation) this.#take(records)
      this.#wasAway = false
    } catch (error) {
      if (!this.#wasAway) this.#options.logger.warn({ error }, 'API keys could not be read; the known ones stay good')
      this.#wasAway = true
    }
  }

  /** Once a row: it is read again and again. */
  #tellDamaged(prefix: string, error: unknown): void {
    if (this.#damaged.has(prefix)) return
    this.#damaged.add(prefix)
    this.#options.logger.error(
      { prefix, error },
      'a row of the API keys is no key and opens nothing; mend or remove it',
    )
  }

  #schedule(): void {
    if (this.#stopped) return
    const { clock, refreshMs } = this.#options
    this.#cancel = clock.after(refreshMs, () => void this.#refresh().finally(() => this.#schedule()), { unref: true })
  }

  #take(records: readonly ApiKeyRecord[]): void {
    this.#hold(records)
    const text = this.#copy()
    if (text === this.#copied) return
    const { file, logger } = this.#options
    try {
      replaceFile(file, `${text}\n`)
      this.#copied = text
    } catch (error) {
      logger.warn({ error, file }, 'the copy of the API keys could not be written')
    }
  }

  /** A key that expires, or is no longer found, opens nothing; only who revokes the last one wants the door open. */
  #hold(records: readonly ApiKeyRecord[]): void {
    const good = [...this.#records.values()].filter(isKept)
    this.#records = mapOf(records)
    if (records.some(isKept)) this.#asks = true
    else if (good.length > 0 && good.every(({ prefix }) => this.#records.has(prefix))) this.#asks = false
  }

  #copy(): string {
    return JSON.stringify({ asks: this.#asks, keys: [...this.#records.values()] } satisfies z.infer<typeof copySchema>)
  }

  #readCopy(): z.infer<typeof copySchema> {
    const { file } = this.#options
    try {
      const copy: unknown = JSON.parse(readFileSync(file, 'utf8'))
      // Before this was kept, the file was the records alone.
      return copySchema.parse(Array.isArray(copy) ? { asks: false, keys: copy } : copy)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { asks: false, keys: [] }
      throw new RouteMQError('CONFIG_INVALID', `${file}, the copy of the API keys, cannot be read; mend or remove it`, {
        details: { file },
        cause: error,
      })
    }
  }
}

function isKept({ revoked_at }: ApiKeyRecord): boolean {
  return revoked_at === null
}

function mapOf(records: readonly ApiKeyRecord[]): Map<string, ApiKeyRecord> {
  return new Map(records.map((record) => [record.prefix, record]))
}
