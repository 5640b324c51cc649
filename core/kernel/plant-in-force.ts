import type { DeviceRecord, TargetRecord } from '../modbus/device-record.js'
import { normalizeDevice, updateDevice } from '../modbus/device-schema.js'
import { normalizeTarget, updateTarget } from '../modbus/target-schema.js'
import type { Logger } from '../observability/logger.js'
import type { BusLoad } from '../poller/bus-load.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { OneAtATime } from '../support/one-at-a-time.js'
import type { PlantDefinition } from './create-app.js'
import type { PlantTables } from './plant-tables.js'
import { PlantWarnings } from './plant-warnings.js'
import { changedFields, settable } from './record-changes.js'

export interface PlantInForceOptions {
  /** What the application's own file says. */
  readonly file: PlantDefinition
  /** The tables while the database can be used; undefined otherwise. */
  readonly tables: () => PlantTables | undefined
  /** Makes a change real: buses, poller. Gets everything, each time. */
  readonly apply: (devices: readonly DeviceRecord[], targets: readonly TargetRecord[]) => void
  /** What polling takes of each bus, as it is in force. @default nothing is known of it */
  readonly loads?: () => readonly BusLoad[]
  /** A record as it is in force here: the virtual device of demo mode has its address from the run, not from the record. */
  readonly relocate: (device: DeviceRecord) => DeviceRecord
  readonly logger: Logger
  readonly clock: Clock
}

/** Direct edits in the database show within 5 s. */
const WATCH_EVERY_MS = 2_000

/**
 * What is in force of the devices and polling targets: what was last read from the database. While that is away at the start,
 * the application's file is used as it stands.
 */
export class PlantInForce {
  readonly #options: PlantInForceOptions
  readonly #warnings: PlantWarnings
  /** As kept; {@link #devices} is the same with demo addresses put right. A change starts from what is kept. */
  #kept: readonly DeviceRecord[] = []
  #devices: readonly DeviceRecord[] = []
  #targets: readonly TargetRecord[] = []
  #relocated: ReadonlyMap<string, Partial<DeviceRecord>> = new Map()
  #revision: string | undefined
  #source: 'file' | 'database' = 'file'
  #cancelWatch: (() => void) | undefined
  #stopped = false
  /** Reads and changes: a list that was read before a change must not come into force after it. */
  readonly #turns = new OneAtATime()

  constructor(options: PlantInForceOptions) {
    this.#options = options
    this.#warnings = new PlantWarnings(options.logger)
  }

  get source(): 'file' | 'database' {
    return this.#source
  }

  /** As they are stored: a change starts from these. */
  get kept(): readonly DeviceRecord[] {
    return this.#kept
  }

  get devices(): readonly DeviceRecord[] {
    return this.#devices
  }

  get targets(): readonly TargetRecord[] {
    return this.#targets
  }

  /** Fields of devices that are in force here otherwise than they are stored, by the id of the device. */
  get relocated(): ReadonlyMap<string, Partial<DeviceRecord>> {
    return this.#relocated
  }

  /** @throws DEVICE_UNKNOWN */
  device(id: string): DeviceRecord {
    const device = this.#devices.find(({ device_id }) => device_id === id)
    if (device !== undefined) return device
    throw new RouteMQError('DEVICE_UNKNOWN', `there is no device ${JSON.stringify(id)}`, { details: { device_id: id } })
  }

  /** @throws TARGET_UNKNOWN */
  target(id: number): TargetRecord {
    const target = this.#targets.find((candidate) => candidate.id === id)
    if (target !== undefined) return target
    throw new RouteMQError('TARGET_UNKNOWN', `there is no polling target ${id}`, { details: { id } })
  }

  async start(): Promise<void> {
    this.#useFile()
    await this.#turns.run(() => this.#refresh())
    this.#watch()
  }

  stop(): void {
    this.#stopped = true
    this.#cancelWatch?.()
  }

  /** What somebody asks for by name is done, or refused. */
  reload(): Promise<string[]> {
    return this.#turns.run(async () => {
      const tables = this.#options.tables()
      if (tables === undefined) throw unreadable()
      await this.#mustRead(tables, true)
      return this.#devices.filter(({ is_active }) => is_active).map(({ device_id }) => device_id)
    })
  }

  async #mustRead(tables: PlantTables, force: boolean): Promise<void> {
    await this.#read(tables, force).catch((error: unknown) => {
      throw unreadable(error)
    })
  }

  /**
   * A change of what the tables hold now, which others may have changed since they were last read: made of old records, it
   * would take that back. Its turn ends when it is in force.
   */
  change<T>(work: (tables: PlantTables) => Promise<T>): Promise<T> {
    return this.#turns.run(async () => {
      const tables = this.#writable()
      await this.#mustRead(tables, false)
      const done = await work(tables)
      await this.#refresh(true)
      return done
    })
  }

  #useFile(): void {
    const { file, clock } = this.#options
    this.#source = 'file'
    this.#setForce(
      file.devices.map((input) => normalizeDevice(input, clock.now())),
      (file.targets ?? []).map((input, index) => normalizeTarget(input, index + 1, clock.now())),
    )
  }

  /** Reads the tables if they changed. While they cannot be read, what is in force stays in force. */
  async #refresh(force = false): Promise<void> {
    const tables = this.#options.tables()
    if (tables === undefined) return
    await this.#read(tables, force).catch((error: unknown) => {
      this.#options.logger.warn({ error }, 'devices could not be read from the database; the known ones stay in force')
    })
  }

  async #read(tables: PlantTables, force: boolean): Promise<void> {
    if (this.#source === 'file') await this.#seed(tables)
    const revision = await tables.revision.current()
    if (!force && this.#source === 'database' && revision === this.#revision) return
    const [devices, targets] = await Promise.all([tables.devices.list(), tables.targets.list()])
    this.#revision = revision
    this.#source = 'database'
    this.#setForce(
      devices.filter((device) => this.#isValid(`device ${device.device_id}`, () => updateDevice(device, {}))),
      targets.filter((target) => this.#isValid(`polling target ${target.id}`, () => updateTarget(target, {}))),
    )
  }

  async #seed({ devices, targets }: PlantTables): Promise<void> {
    const { file, clock, logger } = this.#options
    // Checked first, so that a mistake in the file is found here and not row by row later.
    const records = file.devices.map((input) => settable(normalizeDevice(input, clock.now())))
    const wanted = (file.targets ?? []).map((input) => settable(normalizeTarget(input, 0, clock.now())))
    if (await devices.seed(records))
      logger.info({ devices: records.length }, 'devices of the application copied to the database')
    await targets.seed(wanted.map(({ id: _, ...target }) => target))
  }

  #setForce(devices: readonly DeviceRecord[], targets: readonly TargetRecord[]): void {
    const { relocate, apply } = this.#options
    this.#kept = devices
    this.#devices = devices.map(relocate)
    this.#targets = targets
    const moved = devices.flatMap((kept, index) =>
      kept === this.#devices[index] ? [] : [[kept, this.#devices[index]!] as const],
    )
    this.#relocated = new Map(moved.map(([kept, here]) => [kept.device_id, changedFields(kept, here)]))
    apply(this.#devices, this.#targets)
    this.#warnings.tell(this.#devices, this.#targets, this.#options.loads?.() ?? [])
  }

  /** A row edited by hand may be wrong; it is left out and named, its neighbours work. */
  #isValid(what: string, check: () => unknown): boolean {
    try {
      check()
      return true
    } catch (error) {
      this.#options.logger.error({ error }, `${what} in the database is not valid and is left out`)
      return false
    }
  }

  #watch(): void {
    if (this.#stopped) return
    this.#cancelWatch = this.#options.clock.after(
      WATCH_EVERY_MS,
      () => void this.#turns.run(() => this.#refresh()).finally(() => this.#watch()),
      { unref: true },
    )
  }

  /** The tables, for a change that must be kept. */
  #writable(): PlantTables {
    const tables = this.#options.tables()
    if (tables !== undefined && this.#source === 'database') return tables
    throw new RouteMQError(
      'DATABASE_UNAVAILABLE',
      'devices and targets can only be changed while the database is there',
    )
  }
}

function unreadable(cause?: unknown): RouteMQError {
  const message = 'devices could not be read from the database; the known ones stay in force'
  return new RouteMQError('DATABASE_UNAVAILABLE', message, { cause })
}
