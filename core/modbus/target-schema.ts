import { z } from 'zod'
import type { TargetInput, TargetRecord } from './device-record.js'
import { deviceIdSchema, inputError, mistakesOf, shownTimes } from './device-schema.js'
import { REGISTER_TYPES } from './field.js'
import { plainText } from './plain-text.js'

const pduAddress = z.number().int().min(0).max(65_535)

/** A field inside the block of a target: a point of the device by name, or a register by its PDU address. */
const watched = z.union([z.strictObject({ point: z.string() }), z.strictObject({ address: pduAddress })])

export const targetOptionsSchema = z.strictObject({
  /** Difference from the last published value that publishes again; for `publish: deadband`. */
  deadband: z.number().min(0).optional(),
  /** Publish at least so often, changed or not, milliseconds. */
  at_least_every_ms: z.number().int().min(1).max(86_400_000).optional(),
  /** The field whose change makes a new record; for `publish: trigger`. */
  trigger: watched.optional(),
  /** Fields whose change is an event. */
  events: z.array(watched).max(20).optional(),
  /** @default false */
  retain: z.boolean().optional(),
  /** @default 0 for `always`, 1 otherwise */
  qos: z.union([z.literal(0), z.literal(1)]).optional(),
  /** Which forms are published. @default both */
  form: z.enum(['block', 'points', 'both']).optional(),
})
export type TargetOptions = z.infer<typeof targetOptionsSchema>

const fields = {
  register_type: z.enum(REGISTER_TYPES),
  address: pduAddress,
  count: z.number().int().min(1).max(2000),
  description: plainText(0, 200).nullable(),
  is_active: z.boolean(),
  interval_ms: z.number().int().min(10).max(86_400_000).nullable(),
  publish: z.enum(['always', 'change', 'deadband', 'trigger']),
  options: targetOptionsSchema,
}

/** Of a record that is sent back as it was shown. */
const shown = {
  id: z.number().int().meta({ readOnly: true }),
  bus_load_percent: z.number().nullable().meta({ readOnly: true }),
  warning: z.string().nullable().meta({ readOnly: true }),
  ...shownTimes,
}

/** Body of a polling target that is created. The id of one that it is a copy of is ignored. */
export const targetInputSchema = z
  .strictObject({ device_id: deviceIdSchema, ...fields, ...shown })
  .partial()
  .required({ device_id: true, address: true })
/** Body of a partial update: also a whole record as it was shown. */
export const targetUpdateSchema = z.strictObject({ device_id: deviceIdSchema, ...fields, ...shown }).partial()
export type TargetUpdate = z.infer<typeof targetUpdateSchema>

/**
 * A polling target out of what a caller wrote, defaults filled in, everything checked.
 *
 * @throws RouteMQError TARGET_INVALID, `details.fields` naming every mistake.
 */
export function normalizeTarget(input: TargetInput | unknown, id: number, now: number = Date.now()): TargetRecord {
  const parsed = targetInputSchema.safeParse(input)
  if (!parsed.success) throw inputError('TARGET_INVALID', 'The polling target', mistakesOf(parsed.error))
  const given = parsed.data
  const time = new Date(now).toISOString()
  const record: TargetRecord = {
    id,
    device_id: given.device_id,
    register_type: given.register_type ?? 'holding',
    address: given.address,
    count: given.count ?? 1,
    description: given.description ?? null,
    is_active: given.is_active ?? true,
    interval_ms: given.interval_ms ?? null,
    publish: given.publish ?? 'always',
    options: given.options ?? {},
    created_at: time,
    updated_at: time,
  }
  const mistakes = contradictions(record)
  if (mistakes.length > 0) throw inputError('TARGET_INVALID', 'The polling target', mistakes)
  return record
}

/** A target with a partial update applied and checked again. @throws RouteMQError TARGET_INVALID */
export function updateTarget(record: TargetRecord, update: TargetUpdate | unknown, now: number = Date.now()) {
  const parsed = targetUpdateSchema.safeParse(update)
  if (!parsed.success) throw inputError('TARGET_INVALID', `Polling target ${record.id}`, mistakesOf(parsed.error))
  const { id, created_at, updated_at: _, ...known } = record
  if ((parsed.data.id ?? id) !== id) {
    const field = { field: 'id', message: `cannot be changed: this is ${id}` }
    throw inputError('TARGET_INVALID', `Polling target ${id}`, [field])
  }
  return { ...normalizeTarget({ ...known, ...parsed.data }, id, now), created_at }
}

function contradictions(record: TargetRecord) {
  const mistakes: { field: string; message: string }[] = []
  const wrong = (field: string, message: string) => mistakes.push({ field, message })
  const bits = record.register_type === 'coil' || record.register_type === 'discrete'
  if (!bits && record.count > 125) wrong('count', 'must be at most 125 for registers')
  if (record.address + record.count > 65_536) wrong('count', 'reaches beyond address 65535')
  const options = record.options as TargetOptions
  if (record.publish === 'trigger' && options.trigger === undefined) {
    wrong('options.trigger', 'is needed when publish is trigger')
  }
  if (record.publish === 'deadband' && options.deadband === undefined) {
    wrong('options.deadband', 'is needed when publish is deadband')
  }
  for (const [field, watch] of [
    ['options.trigger', options.trigger] as const,
    ...(options.events ?? []).map((event, i) => [`options.events.${i}`, event] as const),
  ]) {
    // A trigger and its capture must come from one request, or they may belong to different operations.
    if (watch !== undefined && 'address' in watch) {
      const inside = watch.address >= record.address && watch.address < record.address + record.count
      if (!inside) wrong(field, 'must lie inside the block of the target')
    }
  }
  return mistakes
}
