import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { z } from 'zod'
import { RouteMQError } from '../../support/errors.js'
import { deviceIdSchema, pointSchema } from '../device-schema.js'
import { csvColumn } from './csv-column.js'
import type { Fault } from './faults.js'
import type { UnitSpec } from './unit-spec.js'
import type { VirtualDeviceOptions } from './virtual-device.js'

const address = z.coerce.number().int().min(0).max(65_535)
const word = z.number().int().min(-32_768).max(65_535)
const bit = z.union([z.boolean(), z.literal(0), z.literal(1)])
const values = <T extends z.ZodType>(value: T) => z.union([z.array(value).max(65_536), z.record(address, value)])
const ranges = z.array(z.tuple([address, address]))
/** How a value lies in its registers. */
const as = pointSchema.pick({ type: true, order: true, scale: true, offset: true, length: true }).optional()
const moving = z.union([
  z.strictObject({
    kind: z.literal('sine'),
    centre: z.number(),
    amplitude: z.number(),
    periodMs: z.number().positive(),
    as,
  }),
  z.strictObject({ kind: z.literal('ramp'), from: z.number(), to: z.number(), periodMs: z.number().positive(), as }),
  z.strictObject({
    kind: z.literal('walk'),
    start: z.number(),
    step: z.number(),
    min: z.number(),
    max: z.number(),
    everyMs: z.number().positive(),
    as,
  }),
  z.strictObject({ kind: z.literal('replay'), values: z.array(z.number()).min(1), everyMs: z.number().positive(), as }),
  /** A recording beside the file. */
  z.strictObject({
    kind: z.literal('replay'),
    csv: z.string(),
    column: z.string(),
    everyMs: z.number().positive(),
    as,
  }),
])

const ms = z.number().min(0).max(3_600_000)
const often = {
  times: z.number().int().min(1).optional(),
  functions: z.array(z.number().int().min(1).max(127)).optional(),
}
const fault = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal([
      'silence',
      'deaf',
      'wrong_unit',
      'wrong_transaction',
      'wrong_function',
      'duplicate',
      'reset',
      'bad_checksum',
    ]),
    ...often,
  }),
  z.strictObject({ kind: z.literal('delay'), ms, ...often }),
  z.strictObject({ kind: z.literal('exception'), code: z.number().int().min(1).max(255), ...often }),
  z.strictObject({ kind: z.literal('split'), ms, at: z.number().int().min(1).optional(), ...often }),
  z.strictObject({ kind: z.literal('babble'), bytes: z.number().int().min(1).max(1_000).optional(), ...often }),
])

const unit = z.strictObject({
  holding: values(word).optional(),
  input: values(word).optional(),
  coils: values(bit).optional(),
  discrete: values(bit).optional(),
  ranges: z.partialRecord(z.enum(['holding', 'input', 'coil', 'discrete']), ranges).optional(),
  readOnly: z.partialRecord(z.enum(['holding', 'coil']), ranges).optional(),
  maxRead: z.number().int().min(1).max(2_000).optional(),
  moving: z.partialRecord(z.enum(['holding', 'input']), z.record(address, moving)).optional(),
  serverId: z.string().max(200).optional(),
  identification: z.record(z.coerce.number().int().min(0).max(255), z.string().max(200)).optional(),
})

const device = z.strictObject({
  /** A topic level, where the product runs it. */
  name: deviceIdSchema.optional(),
  /** What is written survives a restart, where the product runs it. @default true */
  persist: z.boolean().optional(),
  kind: z.enum(['tcp', 'udp', 'rtu_tcp', 'ascii_tcp']).optional(),
  host: z.string().optional(),
  port: z.number().int().min(0).max(65_535).optional(),
  /** A serial line instead of host and port. */
  line: z
    .strictObject({
      kind: z.enum(['serial_rtu', 'serial_ascii']).default('serial_rtu'),
      path: z.string(),
      baudRate: z.number().int().positive().default(9_600),
      parity: z.enum(['none', 'even', 'odd']).default('none'),
      dataBits: z.union([z.literal(7), z.literal(8)]).default(8),
      stopBits: z.union([z.literal(1), z.literal(2)]).default(1),
    })
    .optional(),
  units: z.record(z.coerce.number().int().min(0).max(255), unit),
  /** By unit, `*` for those without their own. */
  faults: z.record(z.string().regex(/^(\*|\d{1,3})$/), fault).optional(),
})

const file = z.union([z.strictObject({ devices: z.array(device).min(1) }), device])

export interface SimulatedDevice extends VirtualDeviceOptions {
  readonly name?: string
  readonly persist?: boolean
}

/** One fault as a file or a command line writes it. @throws RouteMQError USAGE */
export function readFault(content: unknown): Fault {
  const parsed = fault.safeParse(content)
  if (parsed.success) return parsed.data as Fault
  const mistakes = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'kind'}: ${message}`)
  throw new RouteMQError('USAGE', `The fault is not valid: ${mistakes.join('; ')}`, { details: { mistakes } })
}

/**
 * Virtual devices as a file describes them: one device, or `devices` with a list of them.
 *
 * @param folder Where recordings (`csv`) are looked for.
 * @throws RouteMQError USAGE naming every mistake.
 */
export function readSimulation(content: unknown, folder: string): SimulatedDevice[] {
  const isList = typeof content === 'object' && content !== null && 'devices' in content
  // Checked against the form it has, so that mistakes are those of that form.
  const parsed = (isList ? file.options[0] : file.options[1]).safeParse(content)
  if (!parsed.success) {
    const mistakes = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'the file'}: ${message}`)
    throw new RouteMQError('USAGE', `The simulation is not valid: ${mistakes.join('; ')}`, { details: { mistakes } })
  }
  const devices = 'devices' in parsed.data ? parsed.data.devices : [parsed.data]
  return devices.map(({ units, faults, ...rest }) => ({
    ...withoutUndefined(rest),
    ...(faults !== undefined && { faults: faults as Readonly<Record<string, Fault>> }),
    units: Object.fromEntries(Object.entries(units).map(([id, spec]) => [id, unitOf(spec, folder)])),
  }))
}

function unitOf({ moving: movements, ...rest }: z.infer<typeof unit>, folder: string): UnitSpec {
  if (movements === undefined) return withoutUndefined(rest)
  const loaded = Object.fromEntries(
    Object.entries(movements).map(([type, byAddress]) => [
      type,
      Object.fromEntries(
        Object.entries(byAddress ?? {}).map(([at, one]) => {
          if (!('csv' in one)) return [at, one]
          const { csv, column, everyMs, as } = one
          return [at, { kind: 'replay', values: recorded(resolve(folder, csv), column), everyMs, as }]
        }),
      ),
    ]),
  )
  return { ...withoutUndefined(rest), moving: loaded }
}

function recorded(path: string, column: number | string | undefined): number[] {
  try {
    return csvColumn(readFileSync(path, 'utf8'), column)
  } catch (cause) {
    throw new RouteMQError('USAGE', `${path} cannot be read: ${(cause as Error).message}`, { cause })
  }
}

/** Optional fields are absent, never undefined. */
function withoutUndefined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, one]) => one !== undefined)) as never
}
