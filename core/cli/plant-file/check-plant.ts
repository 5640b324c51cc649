import { withStoredSecrets } from '../../http/views.js'
import { resolvePoint } from '../../modbus/codec/point-codec.js'
import type { DeviceInput, DeviceRecord, TargetRecord } from '../../modbus/device-record.js'
import {
  type DeviceOptions,
  type FieldMistake,
  mistakesOf,
  normalizeDevice,
  pointSchema,
  updateDevice,
} from '../../modbus/device-schema.js'
import { busIdOf, checkBusConflict, devicesByBus } from '../../modbus/endpoint.js'
import type { PointDefinition } from '../../modbus/point.js'
import { type DeviceProfile, expandProfile } from '../../modbus/profile.js'
import { RouteMQError } from '../../support/errors.js'
import { planTargets, type TargetPlan } from './check-targets.js'
import type { LineMistake, PlantFile, PointEntry } from './plant-file.js'

/** What an import would do, everything checked against the devices there are. */
export interface ImportPlan {
  readonly create: readonly DeviceInput[]
  readonly update: readonly { readonly device_id: string; readonly changes: Partial<DeviceInput> }[]
  readonly targets: TargetPlan
  /** Where each device stands, by its id. */
  readonly lines: ReadonlyMap<string, number>
  readonly mistakes: readonly LineMistake[]
}

/**
 * Checks every line and merges: fields that a line names replace those of a known device; its points are replaced name
 * by name by single points, and as a whole where a YAML device lists them.
 */
export function planImport(
  file: PlantFile,
  { devices: known, targets }: { readonly devices: readonly DeviceRecord[]; readonly targets: readonly TargetRecord[] },
  profiles: ReadonlyMap<string, DeviceProfile>,
): ImportPlan {
  const mistakes: LineMistake[] = [...file.mistakes]
  const before = new Map(known.map((device) => [device.device_id, device]))
  const lines = new Map<string, number>()
  const drafts = new Map<
    string,
    { line: number; fields: Record<string, unknown>; points: Map<string, PointDefinition> | undefined }
  >()

  for (const { line, fields, points } of file.devices) {
    const id = String(fields.device_id ?? '')
    const first = lines.get(id)
    if (first !== undefined) {
      mistakes.push({ line, message: `device ${id} stands in line ${first} already` })
      continue
    }
    lines.set(id, line)
    drafts.set(id, {
      line,
      fields: { ...fields },
      points: points === undefined ? undefined : pointsOf(points, mistakes),
    })
  }
  const single = new Map<string, PointEntry[]>()
  for (const point of file.points) {
    const entries = single.get(point.device_id)
    if (entries === undefined) single.set(point.device_id, [point])
    else entries.push(point)
  }
  for (const [id, entries] of single) {
    const line = entries[0]!.line
    const draft = drafts.get(id) ?? { line, fields: { device_id: id }, points: undefined }
    if (!drafts.has(id) && !before.has(id)) {
      for (const entry of entries) mistakes.push({ line: entry.line, message: `there is no device "${id}"` })
      continue
    }
    const kept = before.get(id)?.points.map((point) => [point.name, point] as const)
    draft.points = new Map([...(draft.points ?? new Map(kept)), ...pointsOf(entries, mistakes)])
    drafts.set(id, draft)
  }

  const create: DeviceInput[] = []
  const update: { device_id: string; changes: Partial<DeviceInput> }[] = []
  const after = new Map(before)
  const failed = new Set<string>()
  const attempt = (id: string, line: number, work: () => void) => {
    try {
      work()
    } catch (error) {
      if (!(error instanceof RouteMQError)) throw error
      failed.add(id)
      const named = error.details?.fields as readonly FieldMistake[] | undefined
      if (named === undefined) mistakes.push({ line, message: error.message })
      else for (const { field, message } of named) mistakes.push({ line, message: `${field}: ${message}` })
    }
  }
  for (const [id, { line, fields, points }] of drafts) {
    const given = {
      ...fields,
      ...(points === undefined ? {} : { points: [...points.values()] }),
    } as unknown as DeviceInput
    attempt(id, line, () => {
      const old = before.get(id)
      const { device_id: _, ...changes } = withStoredKey(withProfile(given, profiles, old), old)
      const record =
        old === undefined ? normalizeDevice({ ...changes, device_id: given.device_id }) : updateDevice(old, changes)
      after.set(id, record)
      if (old === undefined) create.push({ ...changes, device_id: id })
      else update.push({ device_id: id, changes: asKept(changes, record) })
    })
  }
  // Devices of one bus may change together: only what comes of all of them has to agree.
  const buses = devicesByBus([...after.values()])
  for (const [id, { line }] of drafts) {
    const record = after.get(id)
    if (record?.is_active === true && !failed.has(id))
      attempt(id, line, () => checkBusConflict(buses.get(busIdOf(record)) ?? [], record))
  }
  const ids = new Set([...after.keys(), ...drafts.keys()])
  // Of a device with mistakes of its own there is no record to check targets against.
  const devices = new Map([...ids].map((id) => [id, failed.has(id) ? undefined : after.get(id)]))
  const targetPlan = planTargets(file.targets, targets, devices, mistakes)
  const lineOf = new Map([...drafts].map(([id, { line }]) => [id, line]))
  return { create, update, targets: targetPlan, lines: lineOf, mistakes: mistakes.sort((a, b) => a.line - b.line) }
}

/** A device with its profile worked in. A known one keeps the options that neither its line nor the profile names. */
function withProfile(
  given: DeviceInput,
  profiles: ReadonlyMap<string, DeviceProfile>,
  old: DeviceRecord | undefined,
): DeviceInput {
  const expanded = expandProfile(given, profiles)
  if (given.profile === undefined || given.options !== undefined || old === undefined) return expanded
  return { ...expanded, options: { ...old.options, ...expanded.options } }
}

/**
 * Private keys are neither exported nor shown: a file that came from an export must not take them away, nor one that holds
 * the mark that is shown in their place.
 */
function withStoredKey(input: DeviceInput, old: DeviceRecord | undefined): DeviceInput {
  const given = input.options?.tls
  const stored = (old?.options as DeviceOptions | undefined)?.tls?.key
  if (typeof given !== 'object' || given === null) return input
  const known = withStoredSecrets(input, old)
  if (stored === undefined || known !== input || 'key' in given) return known
  return { ...input, options: { ...input.options, tls: { ...given, key: stored } } }
}

/** The named fields as the checked record has them: defaults and spelling put right. */
function asKept(changes: Partial<DeviceInput>, record: DeviceRecord): Partial<DeviceInput> {
  return Object.fromEntries(Object.keys(changes).map((field) => [field, record[field as keyof DeviceRecord]]))
}

/** Points by name; those that break a rule are named with their line and left out. */
function pointsOf(entries: readonly PointEntry[], mistakes: LineMistake[]): Map<string, PointDefinition> {
  const points = new Map<string, PointDefinition>()
  const lines = new Map<string, number>()
  for (const { line, fields } of entries) {
    const parsed = pointSchema.safeParse(fields)
    if (!parsed.success) {
      for (const { field, message } of mistakesOf(parsed.error))
        mistakes.push({ line, message: `${field}: ${message}` })
      continue
    }
    const point = parsed.data as PointDefinition
    const first = lines.get(point.name)
    if (first !== undefined) {
      mistakes.push({ line, message: `point ${point.name} stands in line ${first} already` })
      continue
    }
    lines.set(point.name, line)
    try {
      resolvePoint(point)
      points.set(point.name, point)
    } catch (error) {
      if (!(error instanceof RouteMQError)) throw error
      const problems = (error.details?.problems ?? []) as { field: string; problem: string }[]
      for (const { field, problem } of problems) mistakes.push({ line, message: `${field}: ${problem}` })
    }
  }
  return points
}
