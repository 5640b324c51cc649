import { z } from 'zod'
import { RouteMQError } from '../support/errors.js'
import { resolvePoint } from './codec/point-codec.js'
import type { DeviceInput, DeviceRecord } from './device-record.js'
import { REGISTER_TYPES } from './field.js'
import { isWellFormed, plainText } from './plain-text.js'
import { POINT_TYPES, type PointDefinition } from './point.js'
import { profileUseSchema } from './profile-use.js'

/** Last parts of paths that would hide a device of that name, and what a URL takes for a step. */
const RESERVED: ReadonlySet<string> = new Set(['active', 'gateways', 'reload', '.', '..'])

/** Device ids become MQTT topic levels: wildcards, separators and control characters are refused where an id enters. */
export const deviceIdSchema = z
  .string()
  .min(1)
  .max(50)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
  .regex(/^[^/+#\u0000-\u001f\u007f-\u009f]+$/, 'must not contain "/", "+", "#" or control characters')
  .refine((id) => id.trim() === id, 'must not begin or end with a space')
  .refine(isWellFormed, 'must be whole characters')
  .refine((id) => !RESERVED.has(id), 'is a word of the REST paths; choose another')

const registerType = z.enum(REGISTER_TYPES)
const milliseconds = z.number().min(0).max(3_600_000)
const pduAddress = z.number().int().min(0).max(65_535)

export const pointSchema = z.strictObject({
  name: z
    .string()
    .min(1)
    .max(100)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
    .regex(/^[^/+#\u0000-\u001f\u007f-\u009f]+$/, 'must not contain "/", "+", "#" or control characters')
    .refine(isWellFormed, 'must be whole characters'),
  register_type: registerType.optional(),
  address: pduAddress,
  type: z.enum(POINT_TYPES).optional(),
  order: z.enum(['ABCD', 'CDAB', 'BADC', 'DCBA']).optional(),
  bit: z.number().int().min(0).max(15).optional(),
  width: z.number().int().min(1).max(16).optional(),
  length: z.number().int().min(1).max(125).optional(),
  scale: z.number().optional(),
  offset: z.number().optional(),
  unit: plainText(0, 50).optional(),
  min: z.number().optional(),
  max: z.number().optional(),
  step: z.number().positive().optional(),
  access: z.enum(['r', 'w', 'rw']).optional(),
  /** Decimal text for what a number of JSON cannot hold. */
  invalid: z.array(z.union([z.number(), z.string().regex(/^-?\d{1,20}$/, 'must be decimal digits')])).optional(),
  enum: z.record(z.string(), z.number()).optional(),
  retry: z.enum(['safe', 'never']).optional(),
})

const addressRange = z
  .strictObject({ register_type: registerType.default('holding'), from: pduAddress, to: pduAddress })
  .refine((range) => range.from <= range.to, { message: '`from` must not be above `to`', path: ['from'] })

/** Settings of a device and its bus beyond the contract. Where devices of one bus differ, the more careful value holds. */
export const deviceOptionsSchema = z.strictObject({
  /** Requests in flight on each connection of the bus: 1 to 16; only with transaction ids. @default 1 */
  in_flight: z.number().int().min(1).max(16).optional(),
  /** Connections of the bus, 1 to 8; TCP and TLS only. @default 1 */
  connections: z.number().int().min(1).max(8).optional(),
  /** Silence between two frames on the bus, milliseconds. @default 0 (the transport keeps t3.5 on serial lines) */
  silence_ms: milliseconds.optional(),
  /** Extra silence when the next frame goes to another unit, milliseconds. @default 0 */
  unit_switch_ms: milliseconds.optional(),
  /** Silence before each request to this device, milliseconds. @default 0 */
  delay_ms: milliseconds.optional(),
  /** After a time-out without transaction ids, how long a late answer may come, milliseconds. @default 500 */
  late_grace_ms: milliseconds.optional(),
  /** After an answer without transaction ids, how long a copy of it may come, milliseconds. @default 20 */
  copy_grace_ms: milliseconds.optional(),
  /** The line gives back what is sent, without transaction ids: it is taken out. @default what reads show */
  local_echo: z.boolean().optional(),
  /** Close the connection after so long without requests, milliseconds; 0 keeps it open. @default 0 */
  idle_close_ms: milliseconds.optional(),
  /** @default 3000 */
  connect_timeout_ms: z.number().min(20).max(60_000).optional(),
  /** Requests of this device that may wait in the queue. @default 100 */
  queue_limit: z.number().int().min(1).max(10_000).optional(),
  /** Registers in one read. @default 125 */
  max_registers: z.number().int().min(1).max(125).optional(),
  /** Coils or discrete inputs in one read. @default 2000 */
  max_bits: z.number().int().min(1).max(2000).optional(),
  /** Registers in one write. @default 123 */
  max_write_registers: z.number().int().min(1).max(123).optional(),
  /** Coils in one write. @default 1968 */
  max_write_coils: z.number().int().min(1).max(1_968).optional(),
  /** Functions 15 and 16 also for one coil or register: for devices that know no 5 and 6. @default false */
  write_multiple: z.boolean().optional(),
  /** Ranges that are never read unless a caller names them. */
  forbidden: z.array(addressRange).max(1000).optional(),
  /** Unused addresses that may be read to join two blocks. @default what costs less */
  max_gap: z.number().int().min(0).max(2000).optional(),
  /** Points may be split over several reads. @default false */
  allow_tearing: z.boolean().optional(),
  /** Reads a write back: never, when its outcome is unknown, or always. @default never */
  read_back: z.enum(['never', 'unknown', 'always']).optional(),
  /** Shortest time between two writes of the same register or coil, milliseconds. @default 0 */
  min_interval_ms: milliseconds.optional(),
  /** False closes the whole bus of the device to writes. @default true */
  bus_write_enabled: z.boolean().optional(),
  /** It is the virtual device of demo mode, wherever that listens; without one it is not active. @default false */
  virtual: z.boolean().optional(),
  /** Name of the device profile the record was made from. */
  profile: plainText(0, 100).optional(),
  /** PEM texts and name for TLS. */
  tls: z
    .strictObject({
      ca: z.string().optional(),
      cert: z.string().optional(),
      key: z.string().optional(),
      servername: z.string().optional(),
    })
    .optional(),
})
export type DeviceOptions = z.infer<typeof deviceOptionsSchema>

const upperFramer = z.preprocess(
  (value) => (typeof value === 'string' ? value.toUpperCase() : value),
  z.enum(['RTU', 'SOCKET', 'ASCII']),
)

const fields = {
  host: plainText(1, 100).nullable(),
  port: z.number().int().min(1).max(65_535).nullable(),
  slave_id: z.number().int().min(1).max(247),
  unit_id: z.number().int().min(0).max(255).nullable(),
  timeout: z.number().min(1).max(300),
  timeout_ms: z.number().min(20).max(300_000).nullable(),
  poll_timeout_ms: z.number().min(20).max(300_000).nullable(),
  framer: upperFramer,
  transport: z.enum(['tcp', 'udp', 'tls', 'serial']),
  path: plainText(1, 255).nullable(),
  baud_rate: z.number().int().min(50).max(4_000_000).nullable(),
  parity: z.enum(['none', 'even', 'odd']).nullable(),
  data_bits: z.union([z.literal(7), z.literal(8)]).nullable(),
  stop_bits: z.union([z.literal(1), z.literal(2)]).nullable(),
  max_retries: z.number().int().min(0).max(10),
  retry_delay: z.number().min(0).max(10),
  write_enabled: z.boolean(),
  raw_write: z.enum(['allow', 'points', 'deny']),
  is_active: z.boolean(),
  points: z
    .array(pointSchema)
    .max(10_000)
    .refine((points) => new Set(points.map((point) => point.name)).size === points.length, 'names must be unique'),
  options: deviceOptionsSchema,
}

/** Times of a record that is sent back as it was shown: taken and ignored, the product keeps them itself. */
export const shownTimes = {
  created_at: z.string().meta({ readOnly: true }),
  updated_at: z.string().meta({ readOnly: true }),
}

/** Body of a device that is created: the contract's names; everything with a default may be left out. */
export const deviceInputSchema = z
  .strictObject({ device_id: deviceIdSchema, ...fields, ...shownTimes, profile: profileUseSchema })
  .partial()
  .required({
    device_id: true,
  })
/** Body of a partial update: also a whole record as it was shown. The id of a device never changes. */
export const deviceUpdateSchema = z.strictObject({ device_id: deviceIdSchema, ...fields, ...shownTimes }).partial()
export type DeviceUpdate = z.infer<typeof deviceUpdateSchema>

/** One mistake in an input: which field, what is wrong with it. */
export interface FieldMistake {
  readonly field: string
  readonly message: string
}

/** Field mistakes of a zod error, in the order of the schema. */
export function mistakesOf(error: z.ZodError): FieldMistake[] {
  return error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => ({ field: [...issue.path, key].join('.'), message: 'is not a known field' }))
      : [{ field: issue.path.join('.'), message: issue.message }],
  )
}

/** The error for input that breaks its schema: one sentence naming each field, and `details.fields` for machines. */
export function inputError(
  code: 'DEVICE_INVALID' | 'TARGET_INVALID' | 'POINT_INVALID',
  what: string,
  fields: readonly FieldMistake[],
) {
  const named = fields.map(({ field, message }) => `${field || 'input'}: ${message}`).join('; ')
  return new RouteMQError(code, `${what} is not valid: ${named}`, { details: { fields } })
}

/**
 * A device record out of what a caller wrote: defaults of the contract filled in, everything checked.
 *
 * @throws RouteMQError DEVICE_INVALID, `details.fields` naming every mistake.
 */
export function normalizeDevice(input: DeviceInput | unknown, now: number = Date.now()): DeviceRecord {
  const parsed = deviceInputSchema.safeParse(input)
  if (!parsed.success) throw inputError('DEVICE_INVALID', 'The device', mistakesOf(parsed.error))
  const given = parsed.data
  if (given.profile !== undefined) {
    const field = { field: 'profile', message: 'cannot be used here: profiles are worked in before' }
    throw inputError('DEVICE_INVALID', `Device ${given.device_id}`, [field])
  }
  const transport = given.transport ?? (given.path != null ? 'serial' : 'tcp')
  const serial = transport === 'serial'
  const time = new Date(now).toISOString()
  const record: DeviceRecord = {
    device_id: given.device_id,
    host: given.host ?? null,
    port: given.port ?? null,
    slave_id: given.slave_id ?? 1,
    unit_id: given.unit_id ?? null,
    timeout: given.timeout ?? 10,
    timeout_ms: given.timeout_ms ?? null,
    poll_timeout_ms: given.poll_timeout_ms ?? null,
    // Over TCP the contract's default is RTU framing; datagrams and TLS only exist with MBAP.
    framer: given.framer ?? (transport === 'udp' || transport === 'tls' ? 'SOCKET' : 'RTU'),
    transport,
    path: given.path ?? null,
    baud_rate: given.baud_rate ?? (serial ? 9_600 : null),
    parity: given.parity ?? (serial ? 'none' : null),
    data_bits: given.data_bits ?? (serial ? (given.framer === 'ASCII' ? 7 : 8) : null),
    stop_bits: given.stop_bits ?? (serial ? 1 : null),
    max_retries: given.max_retries ?? 5,
    retry_delay: given.retry_delay ?? 0.1,
    write_enabled: given.write_enabled ?? true,
    raw_write: given.raw_write ?? 'allow',
    is_active: given.is_active ?? true,
    points: (given.points ?? []) as readonly PointDefinition[],
    options: given.options ?? {},
    created_at: time,
    updated_at: time,
  }
  const mistakes = contradictions(record)
  if (mistakes.length > 0) throw inputError('DEVICE_INVALID', `Device ${record.device_id}`, mistakes)
  return record
}

/** A record with a partial update applied and checked again. @throws RouteMQError DEVICE_INVALID */
export function updateDevice(record: DeviceRecord, update: DeviceUpdate | unknown, now: number = Date.now()) {
  const parsed = deviceUpdateSchema.safeParse(update)
  if (!parsed.success) throw inputError('DEVICE_INVALID', `Device ${record.device_id}`, mistakesOf(parsed.error))
  const { device_id = record.device_id } = parsed.data
  if (device_id !== record.device_id) {
    const field = { field: 'device_id', message: `cannot be changed: this is ${record.device_id}` }
    throw inputError('DEVICE_INVALID', `Device ${record.device_id}`, [field])
  }
  const { created_at, updated_at: _, ...known } = record
  return { ...normalizeDevice({ ...known, ...parsed.data }, now), created_at }
}

/** What no single field shows: fields that need or exclude each other. */
function contradictions(record: DeviceRecord): FieldMistake[] {
  const mistakes: FieldMistake[] = []
  const wrong = (field: string, message: string) => mistakes.push({ field, message })
  if (record.transport === 'serial') {
    if (record.path === null) wrong('path', 'is needed for a serial device')
    if (record.host !== null) wrong('host', 'does not belong to a serial device')
    if (record.framer === 'SOCKET') wrong('framer', 'must be RTU or ASCII on a serial line')
    if (record.unit_id !== null && record.unit_id !== 0) {
      wrong('unit_id', 'is for TCP, UDP and TLS; use slave_id on a serial line (0, everybody, is allowed)')
    }
    if (record.framer === 'RTU' && record.data_bits === 7) wrong('data_bits', 'must be 8 for RTU framing')
  } else {
    if (record.host === null) wrong('host', 'is needed')
    if (record.port === null) wrong('port', 'is needed')
    if (record.path !== null) wrong('path', 'belongs to a serial device; host and port are for the network')
    if ((record.transport === 'udp' || record.transport === 'tls') && record.framer !== 'SOCKET') {
      wrong('framer', `must be SOCKET over ${record.transport.toUpperCase()}`)
    }
  }
  record.points.forEach((point, index) => {
    try {
      resolvePoint(point)
    } catch (error) {
      const problems = (error as RouteMQError).details?.problems as { field: string; problem: string }[] | undefined
      if (problems === undefined) throw error
      for (const { field, problem } of problems) wrong(`points.${index}.${field}`, problem)
    }
  })
  return mistakes
}
