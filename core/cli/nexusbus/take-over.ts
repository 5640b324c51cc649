import type { PlantChanges, RefusedChange } from '../../http/services/plant.js'
import type { DeviceInput, DeviceRecord, TargetInput, TargetRecord } from '../../modbus/device-record.js'
import { normalizeDevice } from '../../modbus/device-schema.js'
import { checkBusConflict } from '../../modbus/endpoint.js'
import { normalizeTarget } from '../../modbus/target-schema.js'
import { RouteMQError, toErrorShape } from '../../support/errors.js'
import type { NexusBusPlant } from './read-nexusbus.js'

export interface Outcome {
  created: number
  /** Already there. */
  kept: number
  readonly refused: { readonly what: string; readonly code: string; readonly message: string }[]
}

export interface TakenOver {
  readonly devices: Outcome
  readonly targets: Outcome
}

/**
 * Takes over what is not here yet and can be had, all of it in one change: whatever ends it half way leaves nothing behind.
 * What is refused is told, and holds up nothing else.
 *
 * @param change makes all changes or none; `details.refused` of its error names those at fault
 */
export async function takeOver(
  plant: NexusBusPlant,
  known: { readonly devices: readonly DeviceRecord[]; readonly targets: readonly TargetRecord[] },
  change: (changes: PlantChanges) => Promise<unknown>,
): Promise<TakenOver> {
  const outcome: TakenOver = { devices: nothingYet(), targets: nothingYet() }
  const ids = new Set(known.devices.map(({ device_id }) => device_id))
  const places = new Set(known.targets.map(placeOf))
  const records = [...known.devices]
  let devices = wanted(plant.devices, outcome.devices, nameOfDevice, {
    isKnown: ({ device_id }) => ids.has(String(device_id)),
    check: (row) => {
      const record = normalizeDevice(row)
      if (record.is_active) checkBusConflict(records, record)
      records.push(record)
    },
  }) as DeviceInput[]
  let targets = wanted(plant.targets, outcome.targets, nameOfTarget, {
    isKnown: (row) => places.has(placeOf(row)),
    check: (row) => void normalizeTarget(row, 0),
  }) as TargetInput[]
  while (devices.length + targets.length > 0) {
    const changes = { devices: { create: devices, update: [] }, targets: { create: targets, update: [] } }
    const refused = await change(changes).then(() => [], refusedOf)
    if (refused.length === 0) break
    devices = withoutRefused('devices', devices, refused, outcome.devices, nameOfDevice)
    targets = withoutRefused('targets', targets, refused, outcome.targets, nameOfTarget)
  }
  outcome.devices.created = devices.length
  outcome.targets.created = targets.length
  return outcome
}

type Row = Readonly<Record<string, unknown>>

/** The rows that are not here yet, without those that no record can be made of. */
function wanted(
  rows: readonly Row[],
  outcome: Outcome,
  nameOf: (row: Row) => string,
  { isKnown, check }: { readonly isKnown: (row: Row) => boolean; readonly check: (row: Row) => void },
): unknown[] {
  return rows.filter((row) => {
    if (isKnown(row)) {
      outcome.kept += 1
      return false
    }
    try {
      check(row)
      return true
    } catch (error) {
      const { code, message } = toErrorShape(error)
      outcome.refused.push({ what: nameOf(row), code, message })
      return false
    }
  })
}

function refusedOf(error: unknown): readonly RefusedChange[] {
  const refused = error instanceof RouteMQError ? error.details?.refused : undefined
  if (Array.isArray(refused) && refused.length > 0) return refused as RefusedChange[]
  throw error
}

function withoutRefused<T>(
  list: 'devices' | 'targets',
  items: readonly T[],
  refused: readonly RefusedChange[],
  outcome: Outcome,
  nameOf: (item: T) => string,
): T[] {
  const reasons = new Map(refused.map((one) => [one.change, one]))
  return items.filter((item, index) => {
    const reason = reasons.get(`${list}.create.${index}`)
    if (reason === undefined) return true
    outcome.refused.push({ what: nameOf(item), code: reason.code, message: reason.message })
    return false
  })
}

function nothingYet(): Outcome {
  return { created: 0, kept: 0, refused: [] }
}

function nameOfDevice({ device_id }: Readonly<{ device_id?: unknown }>): string {
  return `device ${device_id}`
}

function nameOfTarget(target: object): string {
  return `target ${placeOf(target)}`
}

/** Device, register type, address and count: what makes two targets one. */
function placeOf(target: object): string {
  const { device_id, register_type = 'holding', address, count = 1 } = target as Row
  return `${device_id} ${register_type} ${address} ${count}`
}
