import type { AuditInput } from '../database/repositories/log-repositories.js'
import type { DeviceService, PlantChanged, PlantChanges, PlantService, TargetService } from '../http/services.js'
import { deviceView, withStoredSecrets } from '../http/views.js'
import type { DeviceInput, DeviceRecord, TargetInput, TargetRecord } from '../modbus/device-record.js'
import { normalizeDevice, updateDevice } from '../modbus/device-schema.js'
import { checkBusConflict } from '../modbus/endpoint.js'
import type { Actor } from '../modbus/field.js'
import { type DeviceProfile, expandProfile } from '../modbus/profile.js'
import { normalizeTarget, updateTarget } from '../modbus/target-schema.js'
import { checkWatches } from '../modbus/watched-points.js'
import type { Logger } from '../observability/logger.js'
import { withoutSecrets } from '../observability/redact.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { OneAtATime } from '../support/one-at-a-time.js'
import type { PlantDefinition } from './create-app.js'
import {
  auditEntries,
  busUpdate,
  changedPlant,
  countChanges,
  deviceExists,
  type LoadCheck,
  type PlantState,
  refusedChanges,
  storeChanges,
} from './plant-changes.js'
import type { PlantTables } from './plant-tables.js'
import { deafTargets, deviceWarnings } from './plant-warnings.js'
import { changedFields, difference, settable } from './record-changes.js'

export interface PlantOptions {
  /** What the application's own file says. */
  readonly file: PlantDefinition
  /** The tables while the database can be used; undefined otherwise. */
  readonly tables: () => PlantTables | undefined
  /** Makes a change real: buses, poller. Gets everything, each time. */
  readonly apply: (devices: readonly DeviceRecord[], targets: readonly TargetRecord[]) => void
  readonly gateways: DeviceService['gateways']
  /** Profiles that a new device may name; read again for each. @default none */
  readonly profiles?: () => Promise<ReadonlyMap<string, DeviceProfile>>
  /** Who changed what. Awaited before the caller gets its answer. */
  readonly audit: (entry: AuditInput) => Promise<void>
  /** Refuses a target that its bus cannot carry. */
  readonly checkLoad?: (target: TargetRecord, options: { readonly force: boolean }) => void
  /** The same for a plant that is not in force, with all its changes made. @default everything can be carried */
  readonly checkLoads?: LoadCheck
  /** A record as it is in force here: the virtual device of demo mode has its address from the run, not from the record. */
  readonly relocate: (device: DeviceRecord) => DeviceRecord
  readonly logger: Logger
  readonly clock: Clock
}

/** Direct edits in the database show within 5 s. */
const WATCH_EVERY_MS = 2_000

/**
 * The devices and polling targets of this installation. They live in the database; while it is away at the start, the
 * application's file is used as it stands, and while it goes away later, what was last read.
 */
export class Plant implements PlantService {
  readonly #options: PlantOptions
  /** As kept; {@link #devices} is the same with demo addresses put right. A change starts from what is kept. */
  #kept: readonly DeviceRecord[] = []
  #devices: readonly DeviceRecord[] = []
  #targets: readonly TargetRecord[] = []
  #revision: string | undefined
  #source: 'file' | 'database' = 'file'
  #cancelWatch: (() => void) | undefined
  /** What was said of targets in force, so that it is said once. */
  #said: ReadonlySet<string> = new Set()
  #stopped = false
  /** Reads and changes: a list that was read before a change must not come into force after it. */
  readonly #turns = new OneAtATime()

  readonly devices: DeviceService
  readonly targets: TargetService

  constructor(options: PlantOptions) {
    this.#options = options
    this.devices = this.#deviceService()
    this.targets = this.#targetService()
  }

  get source(): 'file' | 'database' {
    return this.#source
  }

  /** What a person should know about devices that are not as the application's file says. */
  get warnings(): string[] {
    return deviceWarnings(this.#options.file, this.#kept, this.#devices)
  }

  /** Every device as it is in force. */
  get records(): readonly DeviceRecord[] {
    return this.#devices
  }

  /** @throws DEVICE_UNKNOWN */
  need(deviceId: string): void {
    this.#device(deviceId)
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

  /** What somebody asks for by name is done, or refused. */
  async #reload(): Promise<string[]> {
    const tables = this.#options.tables()
    if (tables === undefined) throw unreadable()
    await this.#mustRead(tables, true)
    return this.#devices.filter(({ is_active }) => is_active).map(({ device_id }) => device_id)
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
  #change<T>(work: (tables: PlantTables) => Promise<T>): Promise<T> {
    return this.#turns.run(async () => {
      const tables = this.#writable()
      await this.#mustRead(tables, false)
      const done = await work(tables)
      await this.#refresh(true)
      return done
    })
  }

  change(
    changes: PlantChanges,
    actor: Actor,
    { force = false, dryRun = false }: { readonly force?: boolean; readonly dryRun?: boolean } = {},
  ): Promise<PlantChanged> {
    return this.#changeAll(async () => this.#withProfiles(changes), actor, { force, dryRun })
  }

  /** Many changes of what the tables hold now, stored in one transaction. */
  async #changeAll(
    ask: (known: PlantState) => Promise<PlantChanges>,
    actor: Actor,
    { force, dryRun }: { readonly force: boolean; readonly dryRun: boolean },
  ): Promise<PlantChanged> {
    const { clock, audit, checkLoads } = this.#options
    const { changes, changed, ids } = await this.#change(async (tables) => {
      const known = { devices: this.#kept, targets: this.#targets }
      const changes = await ask(known)
      const checkLoad: LoadCheck = force || checkLoads === undefined ? () => new Map() : checkLoads
      const changed = changedPlant(known, changes, checkLoad, clock.now())
      if (changed.refused.length > 0) throw refusedChanges(changed.refused)
      const isIdle = dryRun || changed.devices.length + changed.targets.length === 0
      const ids = isIdle ? undefined : await tables.transaction((within) => storeChanges(within, changed))
      return { changes, changed, ids }
    })
    if (ids !== undefined) await Promise.all(auditEntries(changed, ids, actor).map(audit))
    return countChanges(changes, changed)
  }

  async #withProfiles(changes: PlantChanges): Promise<PlantChanges> {
    const { create, update } = changes.devices
    if (create.every(({ profile }) => profile === undefined)) return changes
    const profiles = (await this.#options.profiles?.()) ?? new Map()
    return { ...changes, devices: { create: create.map((input) => expandProfile(input, profiles)), update } }
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
    this.#warn()
    apply(this.#devices, this.#targets)
  }

  /** A point may go after a target that watches it came, and rows are edited by hand: they stay in force, but not unsaid. */
  #warn(): void {
    const said = new Map(deafTargets(this.#devices, this.#targets).map((one) => [one.sentence, one]))
    for (const [sentence, { target, field }] of said) {
      if (!this.#said.has(sentence)) this.#options.logger.warn({ target, field }, sentence)
    }
    this.#said = new Set(said.keys())
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

  #device(id: string): DeviceRecord {
    const device = this.#devices.find(({ device_id }) => device_id === id)
    if (device !== undefined) return device
    throw new RouteMQError('DEVICE_UNKNOWN', `there is no device ${JSON.stringify(id)}`, { details: { device_id: id } })
  }

  #target(id: number): TargetRecord {
    const target = this.#targets.find((candidate) => candidate.id === id)
    if (target !== undefined) return target
    throw new RouteMQError('TARGET_UNKNOWN', `there is no polling target ${id}`, { details: { id } })
  }

  async #replaceDevice(
    action: string,
    actor: Actor,
    id: string,
    change: (device: DeviceRecord) => DeviceRecord,
  ): Promise<DeviceRecord> {
    const { before, changed } = await this.#change(async ({ devices }) => {
      this.#device(id)
      const before = this.#kept.find(({ device_id }) => device_id === id)!
      const changed = change(before)
      if (changed.is_active) checkBusConflict(this.#kept, changed)
      const patch = changedFields(settable(before), settable(changed))
      if (Object.keys(patch).length > 0) await devices.update(id, patch)
      return { before, changed }
    })
    const what = difference(before, changed, deviceView)
    await this.#options.audit({ actor, action, device_id: id, outcome: 'ok', ...what })
    return this.#device(id)
  }

  async #replaceTarget(
    action: string,
    actor: Actor,
    id: number,
    change: (target: TargetRecord) => TargetRecord,
    force = false,
  ): Promise<TargetRecord> {
    const { before, changed } = await this.#change(async ({ targets }) => {
      const before = this.#target(id)
      const changed = change(before)
      const device = this.#device(changed.device_id)
      if (changed.is_active) {
        checkWatches(changed, device)
        this.#options.checkLoad?.(changed, { force })
      }
      const patch = changedFields(settable(before), settable(changed))
      if (Object.keys(patch).length > 0) await targets.update(id, patch)
      return { before, changed }
    })
    const subject = `target/${id}`
    const { device_id } = changed
    await this.#options.audit({ actor, action, device_id, subject, outcome: 'ok', ...difference(before, changed) })
    return this.#target(id)
  }

  #deviceService(): DeviceService {
    const { clock } = this.#options
    return {
      list: async (filter) => this.#devices.filter(({ is_active }) => is_active || filter?.activeOnly !== true),
      get: async (id) => this.#device(id),
      create: async (input: DeviceInput, actor: Actor) => {
        const profiles = input.profile === undefined ? undefined : await this.#options.profiles?.()
        const expanded = expandProfile(input, profiles ?? new Map())
        const record = normalizeDevice(withStoredSecrets(expanded, undefined), clock.now())
        await this.#change(async ({ devices }) => {
          if (this.#devices.some(({ device_id }) => device_id === record.device_id)) {
            throw deviceExists(record.device_id)
          }
          checkBusConflict(this.#kept, record)
          await devices.insert(settable(record))
        })
        const { device_id } = record
        await this.#options.audit({
          actor,
          action: 'device.create',
          device_id,
          outcome: 'ok',
          after: withoutSecrets(settable(deviceView(record))),
        })
        return this.#device(record.device_id)
      },
      update: async (id, changes, actor, options) => {
        const fieldsOf = (device: DeviceRecord) => (typeof changes === 'function' ? changes(device) : changes)
        if (options?.wholeBus !== true)
          return this.#replaceDevice('device.update', actor, id, (device) =>
            updateDevice(device, fieldsOf(device), clock.now()),
          )
        const ofBus = async ({ devices }: PlantState) => {
          this.#device(id)
          const before = devices.find(({ device_id }) => device_id === id)!
          return busUpdate(devices, before, fieldsOf(before))
        }
        await this.#changeAll(ofBus, actor, { force: false, dryRun: false })
        return this.#device(id)
      },
      remove: async (id, actor) => {
        await this.#replaceDevice('device.remove', actor, id, (device) =>
          updateDevice(device, { is_active: false }, clock.now()),
        )
      },
      activate: (id, actor) =>
        this.#replaceDevice('device.activate', actor, id, (device) =>
          updateDevice(device, { is_active: true }, clock.now()),
        ),
      reload: () => this.#turns.run(() => this.#reload()),
      gateways: this.#options.gateways,
    }
  }

  #targetService(): TargetService {
    const { clock, checkLoad } = this.#options
    return {
      list: async (filter) => {
        if (filter?.deviceId !== undefined) this.#device(filter.deviceId)
        return this.#targets.filter(
          ({ is_active, device_id }) =>
            (is_active || filter?.activeOnly !== true) &&
            (filter?.deviceId === undefined || filter.deviceId === device_id),
        )
      },
      get: async (id) => this.#target(id),
      create: async (input: TargetInput, actor: Actor, options) => {
        const record = normalizeTarget(input, 0, clock.now())
        const { id: _, ...fresh } = settable(record)
        const { id } = await this.#change(async ({ targets }) => {
          const device = this.#device(record.device_id)
          if (record.is_active) {
            checkWatches(record, device)
            checkLoad?.(record, { force: options?.force ?? false })
          }
          return targets.insert(fresh)
        })
        const { device_id } = record
        const subject = `target/${id}`
        await this.#options.audit({ actor, action: 'target.create', device_id, subject, outcome: 'ok', after: fresh })
        return this.#target(id)
      },
      update: (id, changes, actor, options) =>
        this.#replaceTarget(
          'target.update',
          actor,
          id,
          (target) => updateTarget(target, changes, clock.now()),
          options?.force,
        ),
      remove: async (id, actor) => {
        await this.#replaceTarget('target.remove', actor, id, (target) =>
          updateTarget(target, { is_active: false }, clock.now()),
        )
      },
      activate: (id, actor) =>
        this.#replaceTarget('target.activate', actor, id, (target) =>
          updateTarget(target, { is_active: true }, clock.now()),
        ),
    }
  }
}

function unreadable(cause?: unknown): RouteMQError {
  const message = 'devices could not be read from the database; the known ones stay in force'
  return new RouteMQError('DATABASE_UNAVAILABLE', message, { cause })
}
