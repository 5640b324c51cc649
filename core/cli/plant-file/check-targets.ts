import { isDeepStrictEqual } from 'node:util'
import type { DeviceRecord, TargetInput, TargetRecord } from '../../modbus/device-record.js'
import type { FieldMistake } from '../../modbus/device-schema.js'
import { normalizeTarget, updateTarget } from '../../modbus/target-schema.js'
import { checkWatches } from '../../modbus/watched-points.js'
import { RouteMQError } from '../../support/errors.js'
import type { LineMistake, TargetEntry } from './plant-file.js'

/** What an import does to the polling targets, with the line each stands in. */
export interface TargetPlan {
  readonly create: readonly { readonly line: number; readonly input: TargetInput }[]
  readonly update: readonly { readonly line: number; readonly id: number; readonly changes: Partial<TargetInput> }[]
}

/**
 * Checks every line. A target is known by what it reads: device, register type, address and count; where several read the
 * same, the first of the file is the first that is known, and so on. What a line does not name stays as it is.
 */
export function planTargets(
  entries: readonly TargetEntry[],
  known: readonly TargetRecord[],
  devices: ReadonlyMap<string, DeviceRecord | undefined>,
  mistakes: LineMistake[],
): TargetPlan {
  const create: { line: number; input: TargetInput }[] = []
  const update: { line: number; id: number; changes: Partial<TargetInput> }[] = []
  const waiting = new Map<string, TargetRecord[]>()
  for (const target of known) waiting.set(placeOf(target), [...(waiting.get(placeOf(target)) ?? []), target])
  const lines = new Map<string, TargetEntry[]>()
  for (const entry of entries) {
    const { line, fields } = entry
    try {
      const record = normalizeTarget(fields, 0, 0)
      if (!devices.has(record.device_id)) {
        mistakes.push({ line, message: `there is no device "${record.device_id}"` })
        continue
      }
      const place = placeOf(record)
      const twin = lines.get(place)?.find((one) => isDeepStrictEqual(one.fields, fields))
      if (twin !== undefined) {
        mistakes.push({ line, message: `the same target stands in line ${twin.line} already` })
        continue
      }
      lines.set(place, [...(lines.get(place) ?? []), entry])
      const old = waiting.get(place)?.shift()
      const device = devices.get(record.device_id)
      if (old === undefined) {
        if (device !== undefined && record.is_active) checkWatches(record, device)
        create.push({ line, input: fields as unknown as TargetInput })
      } else {
        const { device_id: _, ...changes } = fields as Partial<TargetInput>
        const changed = updateTarget(old, changes)
        if (device !== undefined && changed.is_active) checkWatches(changed, device)
        update.push({ line, id: old.id, changes })
      }
    } catch (error) {
      if (!(error instanceof RouteMQError)) throw error
      const named = error.details?.fields as readonly FieldMistake[] | undefined
      for (const { field, message } of named ?? []) mistakes.push({ line, message: `${field}: ${message}` })
      if (named === undefined) mistakes.push({ line, message: error.message })
    }
  }
  return { create, update }
}

function placeOf({ device_id, register_type, address, count }: TargetRecord): string {
  return JSON.stringify([device_id, register_type, address, count])
}
