import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Logger } from '../../observability/logger.js'
import type { Clock } from '../../support/clock.js'
import type { Slave } from './slave.js'

/** Holding registers and coils of a unit; addresses left out are 0. */
export interface StoredUnit extends Readonly<Record<'holding' | 'coil', Readonly<Record<string, number>>>> {
  /** First addresses of the values that moved by themselves until somebody set them. */
  readonly halted?: readonly number[]
}

/** Units by their id. */
export type StoredRegisters = Readonly<Record<string, StoredUnit>>

/** Where a virtual device keeps what was written to it. */
export interface RegisterStore {
  /** Undefined: nothing was stored yet. */
  load(): Promise<StoredRegisters | undefined>
  save(registers: StoredRegisters): Promise<void>
}

/** A JSON file, replaced as a whole, so that a crash leaves the old or the new one. */
export function fileStore(path: string): RegisterStore {
  return {
    async load() {
      const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return undefined
        throw error
      })
      return text === undefined ? undefined : (JSON.parse(text) as StoredRegisters)
    },
    async save(registers) {
      await mkdir(dirname(path), { recursive: true })
      await writeFile(`${path}.new`, JSON.stringify(registers))
      await rename(`${path}.new`, path)
    },
  }
}

/** Changes gather for this long before they are stored together. */
const GATHER_MS = 200
/** What could not be stored is tried again after so long. */
const AGAIN_MS = 5_000

/**
 * Keeps a slave's registers in a store. Where that fails they live on in memory; the failure is logged once, not for
 * every attempt.
 */
export class Persistence {
  readonly #slave: Slave
  readonly #store: RegisterStore
  readonly #clock: Clock
  readonly #logger: Logger
  #cancel: (() => void) | undefined
  #saving: Promise<void> = Promise.resolve()
  #isFailing = false
  #isClosed = false

  constructor(slave: Slave, store: RegisterStore, clock: Clock, logger: Logger) {
    this.#slave = slave
    this.#store = store
    this.#clock = clock
    this.#logger = logger
  }

  /** Puts what was stored in place of the initial values, and follows changes from here on. */
  async start(): Promise<void> {
    try {
      const stored = await this.#store.load()
      if (stored !== undefined) this.#slave.restore(stored)
    } catch (error) {
      this.#logger.error({ err: error }, 'stored registers could not be read; starting with the initial values')
    }
    this.#slave.onChange(() => {
      this.#cancel ??= this.#clock.after(GATHER_MS, () => void this.flush(), { unref: true })
    })
  }

  /** Stores now what is not stored yet. */
  flush(): Promise<void> {
    if (this.#cancel === undefined) return this.#saving
    this.#cancel()
    this.#cancel = undefined
    this.#saving = this.#saving.then(() => this.#save())
    return this.#saving
  }

  /** Stores what is not stored yet, for the last time. */
  close(): Promise<void> {
    this.#isClosed = true
    return this.flush()
  }

  async #save(): Promise<void> {
    try {
      await this.#store.save(this.#slave.snapshot())
      if (this.#isFailing) this.#logger.info({}, 'registers are stored again')
      this.#isFailing = false
    } catch (error) {
      if (!this.#isFailing) this.#logger.error({ err: error }, 'registers could not be stored; they live in memory')
      this.#isFailing = true
      if (!this.#isClosed) this.#cancel ??= this.#clock.after(AGAIN_MS, () => void this.flush(), { unref: true })
    }
  }
}
