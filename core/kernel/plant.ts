import { isDeepStrictEqual } from 'node:util'
import type { AuditInput } from '../database/repositories/log-repositories.js'
import type { DeviceService, PlantChanged, PlantChanges, PlantService, TargetService } from '../http/services/plant.js'
import { deviceView, withStoredSecrets } from '../http/views.js'
import type { DeviceInput, DeviceRecord, TargetInput, TargetRecord } from '../modbus/device-record.js'
import { normalizeDevice, updateDevice } from '../modbus/device-schema.js'
import { busIdOf, checkBusConflict } from '../modbus/endpoint.js'
import type { Actor } from '../modbus/field.js'
import { type DeviceProfile, expandProfile } from '../modbus/profile.js'
import { normalizeTarget, updateTarget } from '../modbus/target-schema.js'
import { checkWatches } from '../modbus/watched-points.js'
import { withoutSecrets } from '../observability/redact.js'
import {
  auditEntries,
  busUpdate,
  type ChangedPlant,
  changedPlant,
  countChanges,
  deviceExists,
  type LoadCheck,
  type PlantState,
  refusedChanges,
  storeChanges,
} from './plant-changes.js'
import { PlantInForce, type PlantInForceOptions } from './plant-in-force.js'
import { deviceWarnings } from './plant-warnings.js'
import { changedFields, difference, settable } from './record-changes.js'

export interface PlantOptions extends PlantInForceOptions {
  readonly gateways: DeviceService['gateways']
  /** Profiles that a new device may name; read again for each. @default none */
  readonly profiles?: () => Promise<ReadonlyMap<string, DeviceProfile>>
  /** Who changed what. Awaited before the caller gets its answer. */
  readonly audit: (entry: AuditInput) => Promise<void>
  /** Refuses a target that its bus cannot carry. */
  readonly checkLoad?: (target: TargetRecord, options: { readonly force: boolean }) => void
  /** The same for a plant that is not in force, with all its changes made. @default everything can be carried */
  readonly checkLoads?: LoadCheck
}

/** The devices and polling targets of this installation, and how they are changed. They live in the database. */
export class Plant implements PlantService {
  readonly #options: PlantOptions
  readonly #inForce: PlantInForce

  readonly devices: DeviceService
  readonly targets: TargetService

  constructor(options: PlantOptions) {
    this.#options = options
    this.#inForce = new PlantInForce(options)
    this.devices = this.#deviceService()
    this.targets = this.#targetService()
  }

  get source(): 'file' | 'database' {
    return this.#inForce.source
  }

  /** What a person should know about devices that are not as the application's file says. */
  get warnings(): string[] {
    return deviceWarnings(this.#options.file, this.#inForce.kept, this.#inForce.devices)
  }

  /** Every device as it is in force. */
  get records(): readonly DeviceRecord[] {
    return this.#inForce.devices
  }

  /** @throws DEVICE_UNKNOWN */
  need(deviceId: string): void {
    this.#inForce.device(deviceId)
  }

  start(): Promise<void> {
    return this.#inForce.start()
  }

  stop(): void {
    this.#inForce.stop()
  }

  change(
    changes: PlantChanges,
    actor: Actor,
    { force = false, dryRun = false }: { readonly force?: boolean; readonly dryRun?: boolean } = {},
  ): Promise<PlantChanged> {
    const ask = async () => {
      const { devices, targets } = await this.#withProfiles(changes)
      const update = devices.update.map(({ device_id, changes }) => ({
        device_id,
        changes: this.#meant(device_id, changes),
      }))
      return { devices: { ...devices, update }, targets }
    }
    return this.#changeAll(ask, actor, { force, dryRun })
  }

  /** Many changes of what the tables hold now, stored in one transaction. */
  async #changeAll(
    ask: (known: PlantState) => Promise<PlantChanges>,
    actor: Actor,
    { force, dryRun }: { readonly force: boolean; readonly dryRun: boolean },
  ): Promise<PlantChanged> {
    const { clock, audit, checkLoads } = this.#options
    const { changes, changed, ids } = await this.#inForce.change(async (tables) => {
      const known = { devices: this.#inForce.kept, targets: this.#inForce.targets }
      const changes = await ask(known)
      const checkLoad: LoadCheck = force || checkLoads === undefined ? () => new Map() : checkLoads
      const changed = changedPlant(known, changes, checkLoad, clock.now())
      if (changed.refused.length > 0) throw refusedChanges(changed.refused)
      const isIdle = dryRun || changed.devices.length + changed.targets.length === 0
      const ids = isIdle ? undefined : await tables.transaction((within) => storeChanges(within, changed))
      return { changes, changed, ids }
    })
    if (ids !== undefined) await Promise.all(auditEntries(changed, ids, actor).map(audit))
    return { ...countChanges(changes, changed), warnings: ids === undefined ? [] : this.#warningsOf(changed) }
  }

  /** What is to be said of the load of the buses that a change touched. */
  #warningsOf({ devices, targets }: ChangedPlant): string[] {
    const ids = [...devices, ...targets].map(({ after }) => after.device_id)
    const buses = new Set(ids.map((id) => busIdOf(this.#inForce.device(id))))
    const loads = this.#options.loads?.() ?? []
    return loads.flatMap(({ bus, warning }) => (warning !== null && buses.has(bus) ? [warning] : []))
  }

  /**
   * Without what is sent back as it was shown: of a virtual device that is the address of this run, and that it is not active
   * without demo mode, which is nothing to keep.
   */
  #meant(id: string, changes: Partial<DeviceInput>): Partial<DeviceInput> {
    const shown = this.#inForce.relocated.get(id)
    if (shown === undefined) return changes
    const isShown = (field: string, value: unknown) =>
      field in shown && isDeepStrictEqual(value, shown[field as keyof DeviceRecord])
    return Object.fromEntries(Object.entries(changes).filter(([field, value]) => !isShown(field, value)))
  }

  async #withProfiles(changes: PlantChanges): Promise<PlantChanges> {
    const { create, update } = changes.devices
    if (create.every(({ profile }) => profile === undefined)) return changes
    const profiles = (await this.#options.profiles?.()) ?? new Map()
    return { ...changes, devices: { create: create.map((input) => expandProfile(input, profiles)), update } }
  }

  async #replaceDevice(
    action: string,
    actor: Actor,
    id: string,
    change: (device: DeviceRecord) => DeviceRecord,
  ): Promise<DeviceRecord> {
    const { before, changed } = await this.#inForce.change(async ({ devices }) => {
      this.#inForce.device(id)
      const before = this.#inForce.kept.find(({ device_id }) => device_id === id)!
      const changed = change(before)
      if (changed.is_active) checkBusConflict(this.#inForce.kept, changed)
      const patch = changedFields(settable(before), settable(changed))
      if (Object.keys(patch).length > 0) await devices.update(id, patch)
      return { before, changed }
    })
    const what = difference(before, changed, deviceView)
    await this.#options.audit({ actor, action, device_id: id, outcome: 'ok', ...what })
    return this.#inForce.device(id)
  }

  async #replaceTarget(
    action: string,
    actor: Actor,
    id: number,
    change: (target: TargetRecord) => TargetRecord,
    force = false,
  ): Promise<TargetRecord> {
    const { before, changed } = await this.#inForce.change(async ({ targets }) => {
      const before = this.#inForce.target(id)
      const changed = change(before)
      const device = this.#inForce.device(changed.device_id)
      if (changed.is_active) {
        checkWatches(changed, device)
        // Of a device that is not active nothing is read.
        if (device.is_active) this.#options.checkLoad?.(changed, { force })
      }
      const patch = changedFields(settable(before), settable(changed))
      if (Object.keys(patch).length > 0) await targets.update(id, patch)
      return { before, changed }
    })
    const subject = `target/${id}`
    const { device_id } = changed
    await this.#options.audit({ actor, action, device_id, subject, outcome: 'ok', ...difference(before, changed) })
    return this.#inForce.target(id)
  }

  #deviceService(): DeviceService {
    const { clock } = this.#options
    return {
      list: async (filter) => this.#inForce.devices.filter(({ is_active }) => is_active || filter?.activeOnly !== true),
      get: async (id) => this.#inForce.device(id),
      create: async (input: DeviceInput, actor: Actor) => {
        const profiles = input.profile === undefined ? undefined : await this.#options.profiles?.()
        const expanded = expandProfile(input, profiles ?? new Map())
        const record = normalizeDevice(withStoredSecrets(expanded, undefined), clock.now())
        await this.#inForce.change(async ({ devices }) => {
          if (this.#inForce.devices.some(({ device_id }) => device_id === record.device_id)) {
            throw deviceExists(record.device_id)
          }
          checkBusConflict(this.#inForce.kept, record)
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
        return this.#inForce.device(record.device_id)
      },
      update: async (id, changes, actor, options) => {
        const fieldsOf = (device: DeviceRecord) =>
          this.#meant(id, typeof changes === 'function' ? changes(device) : changes)
        if (options?.wholeBus !== true)
          return this.#replaceDevice('device.update', actor, id, (device) =>
            updateDevice(device, fieldsOf(device), clock.now()),
          )
        const ofBus = async ({ devices }: PlantState) => {
          this.#inForce.device(id)
          const before = devices.find(({ device_id }) => device_id === id)!
          return busUpdate(devices, before, fieldsOf(before))
        }
        await this.#changeAll(ofBus, actor, { force: false, dryRun: false })
        return this.#inForce.device(id)
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
      reload: () => this.#inForce.reload(),
      gateways: this.#options.gateways,
    }
  }

  #targetService(): TargetService {
    const { clock, checkLoad } = this.#options
    return {
      list: async (filter) => {
        if (filter?.deviceId !== undefined) this.#inForce.device(filter.deviceId)
        return this.#inForce.targets.filter(
          ({ is_active, device_id }) =>
            (is_active || filter?.activeOnly !== true) &&
            (filter?.deviceId === undefined || filter.deviceId === device_id),
        )
      },
      get: async (id) => this.#inForce.target(id),
      create: async (input: TargetInput, actor: Actor, options) => {
        const record = normalizeTarget(input, 0, clock.now())
        const { id: _, ...fresh } = settable(record)
        const { id } = await this.#inForce.change(async ({ targets }) => {
          const device = this.#inForce.device(record.device_id)
          if (record.is_active) {
            checkWatches(record, device)
            if (device.is_active) checkLoad?.(record, { force: options?.force ?? false })
          }
          return targets.insert(fresh)
        })
        const { device_id } = record
        const subject = `target/${id}`
        await this.#options.audit({ actor, action: 'target.create', device_id, subject, outcome: 'ok', after: fresh })
        return this.#inForce.target(id)
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
