import type { AuditInput } from '../database/repositories/log-repositories.js'
import type { PlantChanged, PlantChanges, RefusedChange } from '../http/services/plant.js'
import { deviceView, withStoredSecrets } from '../http/views.js'
import type { DeviceInput, DeviceRecord, TargetRecord } from '../modbus/device-record.js'
import { normalizeDevice, updateDevice } from '../modbus/device-schema.js'
import { busChanges, busIdOf, checkBusConflict, devicesByBus } from '../modbus/endpoint.js'
import type { Actor } from '../modbus/field.js'
import { normalizeTarget, updateTarget } from '../modbus/target-schema.js'
import { checkWatches } from '../modbus/watched-points.js'
import { withoutSecrets } from '../observability/redact.js'
import { RouteMQError } from '../support/errors.js'
import type { PlantTables } from './plant-tables.js'
import { changedFields, difference, settable } from './record-changes.js'

export interface PlantState {
  readonly devices: readonly DeviceRecord[]
  readonly targets: readonly TargetRecord[]
}

/** A record that a change makes, or makes another. */
export interface ChangedRecord<R> {
  /** Which change, as {@link RefusedChange} names it. */
  readonly change: string
  /** Undefined where it is new. */
  readonly before: R | undefined
  readonly after: R
}

/** A plant with all changes made, checked; nothing is stored. A target that is new has a negative number so far. */
export interface ChangedPlant {
  readonly after: PlantState
  /** Without those that stay as they were. */
  readonly devices: readonly ChangedRecord<DeviceRecord>[]
  readonly targets: readonly ChangedRecord<TargetRecord>[]
  readonly refused: readonly RefusedChange[]
}

/** What the buses would refuse to carry of the targets that changed. */
export type LoadCheck = (after: PlantState, changed: readonly TargetRecord[]) => ReadonlyMap<TargetRecord, RouteMQError>

/** Makes all changes of what is known, and checks what comes of them together: never one against what another replaces. */
export function changedPlant(
  known: PlantState,
  changes: PlantChanges,
  checkLoad: LoadCheck,
  now: number,
): ChangedPlant {
  const refused: RefusedChange[] = []
  const attempt = (change: string, work: () => void) => {
    try {
      work()
    } catch (error) {
      if (!(error instanceof RouteMQError)) throw error
      refused.push({ change, code: error.code, message: error.message })
    }
  }
  const devices = new Map(known.devices.map((device) => [device.device_id, device]))
  const changedDevices = new Map<string, ChangedRecord<DeviceRecord>>()
  const keepDevice = (change: string, before: DeviceRecord | undefined, after: DeviceRecord) => {
    devices.set(after.device_id, after)
    if (before === undefined || isChanged(before, after)) changedDevices.set(after.device_id, { change, before, after })
  }
  changes.devices.create.forEach((input, index) => {
    const change = `devices.create.${index}`
    attempt(change, () => {
      const record = normalizeDevice(withStoredSecrets(input, undefined), now)
      if (devices.has(record.device_id)) throw deviceExists(record.device_id)
      keepDevice(change, undefined, record)
    })
  })
  changes.devices.update.forEach(({ device_id, changes }, index) => {
    const change = `devices.update.${index}`
    attempt(change, () => {
      const before = devices.get(device_id) ?? unknown('device', device_id)
      keepDevice(change, before, updateDevice(before, withStoredSecrets(changes, before), now))
    })
  })
  const all = [...devices.values()]
  const buses = devicesByBus(all)
  for (const { change, after } of changedDevices.values()) {
    if (after.is_active) attempt(change, () => checkBusConflict(buses.get(busIdOf(after)) ?? [], after))
  }

  const targets = new Map(known.targets.map((target) => [target.id, target]))
  const changedTargets = new Map<number, ChangedRecord<TargetRecord>>()
  const keepTarget = (change: string, before: TargetRecord | undefined, after: TargetRecord) => {
    const device = devices.get(after.device_id) ?? unknown('device', after.device_id)
    if (after.is_active) checkWatches(after, device)
    targets.set(after.id, after)
    if (before === undefined || isChanged(before, after)) changedTargets.set(after.id, { change, before, after })
  }
  changes.targets.create.forEach((input, index) => {
    const change = `targets.create.${index}`
    attempt(change, () => keepTarget(change, undefined, normalizeTarget(input, -1 - index, now)))
  })
  changes.targets.update.forEach(({ id, changes }, index) => {
    const change = `targets.update.${index}`
    attempt(change, () => {
      const before = targets.get(id) ?? unknown('polling target', id)
      keepTarget(change, before, updateTarget(before, changes, now))
    })
  })
  const after = { devices: all, targets: [...targets.values()] }
  // What the buses would carry can be said of a plant that is in order only.
  if (refused.length === 0) {
    const overloads = checkLoad(
      after,
      [...changedTargets.values()].map((one) => one.after),
    )
    for (const { change, after } of changedTargets.values()) {
      const error = overloads.get(after)
      if (error !== undefined) refused.push({ change, code: error.code, message: error.message })
    }
  }
  return { after, devices: [...changedDevices.values()], targets: [...changedTargets.values()], refused }
}

/** The error of changes that are refused together: the first, and `details.refused` with all of them. */
export function refusedChanges([first, ...others]: readonly RefusedChange[]): RouteMQError {
  const { code, message } = first!
  const more = others.length === 0 ? '' : ` (and ${others.length} more changes are refused)`
  return new RouteMQError(code, `${message}${more}; nothing was changed`, {
    details: { refused: [first, ...others] },
  })
}

/** Writes them; for a transaction. What each target is called, by what it was called before. */
export async function storeChanges(
  { devices, targets }: Pick<PlantTables, 'devices' | 'targets'>,
  changed: ChangedPlant,
): Promise<ReadonlyMap<number, number>> {
  for (const { before, after } of changed.devices) {
    if (before === undefined) await devices.insert(settable(after))
    else await devices.update(after.device_id, changedFields(settable(before), settable(after)))
  }
  const ids = new Map<number, number>()
  for (const { before, after } of changed.targets) {
    const { id, ...fields } = settable(after)
    if (before === undefined) ids.set(id, (await targets.insert(fields)).id)
    else await targets.update(id, changedFields(settable(before), settable(after)))
  }
  return ids
}

export function countChanges(
  changes: PlantChanges,
  { devices, targets }: ChangedPlant,
): Omit<PlantChanged, 'warnings'> {
  const count = (asked: { readonly update: readonly unknown[] }, done: readonly ChangedRecord<unknown>[]) => {
    const created = done.filter(({ before }) => before === undefined).length
    const updated = done.length - created
    return { created, updated, unchanged: asked.update.length - updated }
  }
  return { devices: count(changes.devices, devices), targets: count(changes.targets, targets) }
}

/** The audit of what was changed. @param ids numbers of the targets that are new */
export function auditEntries(
  { devices, targets }: ChangedPlant,
  ids: ReadonlyMap<number, number>,
  actor: Actor,
): AuditInput[] {
  return [
    ...devices.map(({ before, after }): AuditInput => {
      const { device_id } = after
      const entry = { actor, device_id, outcome: 'ok' } as const
      if (before !== undefined) return { ...entry, action: 'device.update', ...difference(before, after, deviceView) }
      return { ...entry, action: 'device.create', after: withoutSecrets(settable(deviceView(after))) }
    }),
    ...targets.map(({ before, after }): AuditInput => {
      const { id, ...fields } = settable(after)
      const entry = {
        actor,
        device_id: after.device_id,
        subject: `target/${ids.get(id) ?? id}`,
        outcome: 'ok',
      } as const
      if (before !== undefined) return { ...entry, action: 'target.update', ...difference(before, after) }
      return { ...entry, action: 'target.create', after: fields }
    }),
  ]
}

/** One device's changes, and what follows from them for the other devices of its bus. */
export function busUpdate(
  devices: readonly DeviceRecord[],
  before: DeviceRecord,
  changes: Partial<DeviceInput>,
): PlantChanges {
  const after = updateDevice(before, changes)
  const bus = busIdOf(before)
  const others = devices.filter((device) => device !== before && busIdOf(device) === bus)
  const update = [
    { device_id: before.device_id, changes },
    ...others.map((other) => ({ device_id: other.device_id, changes: busChanges(before, after, other) })),
  ]
  return { devices: { create: [], update }, targets: { create: [], update: [] } }
}

export function deviceExists(device_id: string): RouteMQError {
  return new RouteMQError('DEVICE_EXISTS', `there is a device ${device_id} already`, { details: { device_id } })
}

function unknown(what: 'device' | 'polling target', id: string | number): never {
  const code = what === 'device' ? 'DEVICE_UNKNOWN' : 'TARGET_UNKNOWN'
  throw new RouteMQError(code, `there is no ${what} ${JSON.stringify(id)}`)
}

function isChanged<R extends { readonly created_at: string; readonly updated_at: string }>(before: R, after: R) {
  return Object.keys(changedFields(settable(before), settable(after))).length > 0
}
