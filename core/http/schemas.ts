import { z } from 'zod'
import { pointSchema } from '../modbus/device-schema.js'
import { REGISTER_TYPES } from '../modbus/field.js'
import { problemSchema } from './problem.js'

/** A whole number in a query string: `10`, never `1e1`, `0x0a` or nothing at all. */
export function queryInteger(min: number, max: number) {
  return z.preprocess(
    (value) => (typeof value === 'string' && /^[+-]?\d+$/.test(value) ? Number(value) : value),
    z.number().int().min(min).max(max),
  )
}

/** A decimal number in a query string. */
export function queryNumber() {
  return z.preprocess(
    (value) => (typeof value === 'string' && /^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(value) ? Number(value) : value),
    z.number(),
  )
}

/** `true` or `false` in a query string. */
export function queryBoolean() {
  return z.preprocess((value) => (value === 'true' ? true : value === 'false' ? false : value), z.boolean())
}

/** An ISO 8601 time with its zone. */
export const queryTime = z.iso.datetime({
  offset: true,
  error: ({ input }) =>
    typeof input === 'string' && WITHOUT_ZONE.test(input)
      ? 'has no zone: end it with Z, or such as +01:00 (%2B01:00 in a URL)'
      : undefined,
})
/** Also one whose `+` became a space on its way. */
const WITHOUT_ZONE = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?( \d\d:?\d\d)?)?$/

export const isoTime = z.iso.datetime({ offset: true }).describe('ISO 8601, UTC')
export const registerType = z.enum(REGISTER_TYPES)
export const pduAddress = z.number().int().min(0).max(65_535).describe('PDU address, 0-based')
export const fieldValue = z.union([z.number(), z.boolean(), z.string(), z.null()])
const quality = z.enum(['good', 'uncertain', 'bad', 'stale'])
const blockValues = z.array(z.union([z.number(), z.boolean()]))

export const okMessage = z.object({ status: z.literal('ok'), message: z.string() })
export const noContent = z.null().describe('No content')

const serviceState = z.enum(['ok', 'warning', 'error', 'disconnected', 'disabled'])

export const healthSchema = z
  .object({
    status: z.enum(['ok', 'degraded']),
    mode: z.enum(['demo', 'normal']),
    timestamp: isoTime,
    version: z.string(),
    uptime: z.number().describe('Seconds since the start'),
    services: z.object({
      database: serviceState,
      mqtt: serviceState,
      modbus: serviceState,
      poller: serviceState,
      workers: serviceState,
    }),
    details: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'Health' })

export const readySchema = z
  .object({ ready: z.boolean(), checks: z.record(z.string(), z.string()) })
  .meta({ id: 'Ready' })

export const deviceSummarySchema = z
  .object({
    device_id: z.string(),
    host: z.string().nullable(),
    port: z.number().int().nullable(),
    slave_id: z.number().int(),
    timeout: z.number(),
    gateway: z.string().describe('host:port, or the path of a serial line'),
  })
  .meta({ id: 'DeviceSummary' })

export const gatewaySchema = z
  .looseObject({ host: z.string().nullable(), port: z.number().int().nullable(), connected: z.boolean() })
  .meta({ id: 'Gateway' })

export const registersSchema = z
  .object({
    device_id: z.string(),
    register_type: registerType,
    address: z.number().int(),
    count: z.number().int(),
    values: blockValues,
    source: z.enum(['live', 'cache']),
    cached_at: isoTime.optional(),
    quality,
  })
  .meta({ id: 'Registers' })

export const pointReadingSchema = z
  .object({
    point: z.string(),
    value: fieldValue,
    unit: z.string().nullable(),
    quality,
    reason: z.string().optional(),
    timestamp: isoTime,
  })
  .meta({ id: 'PointReading' })

export const writtenSchema = z
  .object({
    device_id: z.string(),
    status: z.enum(['ok', 'accepted']),
    address: z.number().int().optional(),
    value: fieldValue.optional(),
    values: blockValues.optional(),
    point: z.string().optional(),
    register_type: registerType.optional(),
    written: fieldValue.optional().describe('What the point holds now, where rounding made it another value'),
  })
  .meta({ id: 'Written' })

const errorShape = z.looseObject({ code: z.string(), message: z.string() })

export const writeResultsSchema = z
  .object({
    device_id: z.string(),
    status: z.enum(['ok', 'accepted']),
    results: z.array(
      z.object({
        item: z.looseObject({}),
        outcome: z.enum(['ok', 'rejected', 'not_sent', 'unknown']),
        written: fieldValue.optional().describe('What a point holds now, where rounding made it another value'),
        values: z.array(z.number()).optional().describe('What was read with the write'),
        data: z.string().optional().describe('What a function answered, as hexadecimal digits'),
        error: errorShape.optional(),
      }),
    ),
  })
  .meta({ id: 'WriteResults' })

export const identitySchema = z
  .object({
    device_id: z.string(),
    server_id: z.object({ hex: z.string(), text: z.string() }).nullable(),
    objects: z.record(z.string(), z.string()).nullable(),
    errors: z.array(errorShape),
  })
  .meta({ id: 'Identity' })

const storedPoint = z.looseObject(pointSchema.partial().shape).extend({ name: z.string(), address: z.number().int() })

export const deviceSchema = z
  .object({
    device_id: z.string(),
    host: z.string().nullable(),
    port: z.number().int().nullable(),
    slave_id: z.number().int(),
    unit_id: z.number().int().nullable(),
    timeout: z.number(),
    timeout_ms: z.number().nullable(),
    poll_timeout_ms: z.number().nullable(),
    framer: z.enum(['RTU', 'SOCKET', 'ASCII']),
    transport: z.enum(['tcp', 'udp', 'tls', 'serial']),
    path: z.string().nullable(),
    baud_rate: z.number().nullable(),
    parity: z.enum(['none', 'even', 'odd']).nullable(),
    data_bits: z.number().nullable(),
    stop_bits: z.number().nullable(),
    max_retries: z.number().int(),
    retry_delay: z.number(),
    write_enabled: z.boolean(),
    raw_write: z.enum(['allow', 'points', 'deny']),
    is_active: z.boolean(),
    points: z.array(storedPoint),
    options: z.record(z.string(), z.unknown()),
    created_at: isoTime,
    updated_at: isoTime,
  })
  .meta({ id: 'Device' })

export const targetSchema = z
  .object({
    id: z.number().int(),
    device_id: z.string(),
    register_type: registerType,
    address: z.number().int(),
    count: z.number().int(),
    description: z.string().nullable(),
    is_active: z.boolean(),
    interval_ms: z.number().int().nullable(),
    publish: z.enum(['always', 'change', 'deadband', 'trigger']),
    options: z.record(z.string(), z.unknown()),
    created_at: isoTime,
    updated_at: isoTime,
  })
  .meta({ id: 'PollingTarget' })

/** As it is answered when it was made or changed. */
export const targetReportSchema = targetSchema
  .extend({
    bus_load_percent: z.number().nullable().describe('What polling takes of its bus now; null where it is not polled'),
    warning: z.string().nullable().describe('Where the bus is over 80 % full, or the answer may come too late'),
  })
  .meta({ id: 'PollingTargetReport' })

export const pointViewSchema = storedPoint.extend({ device_id: z.string() }).meta({ id: 'Point' })

export const cacheEntrySchema = z
  .object({
    key: z.string().describe('device:type:address:count'),
    device_id: z.string(),
    register_type: registerType,
    address: z.number().int(),
    count: z.number().int(),
    values: blockValues,
    cached_at: isoTime,
    age_seconds: z.number(),
  })
  .meta({ id: 'CacheEntry' })

export const cacheStatsSchema = z
  .object({
    total_entries: z.number().int(),
    devices: z.array(z.string()),
    oldest_entry: isoTime.nullable(),
    newest_entry: isoTime.nullable(),
    cache_keys: z.array(z.string()),
  })
  .meta({ id: 'CacheStats' })

const counts = z.record(z.string(), z.number())

export const metricsSchema = z
  .object({
    modbus: z.object({
      total_requests: z.number(),
      successful_requests: z.number(),
      failed_requests: z.number(),
      success_rate_percent: z.number(),
      average_latency_ms: z.number(),
      requests_by_type: counts,
      errors_by_type: counts,
    }),
    cache: z.object({
      hits: z.number(),
      misses: z.number(),
      sets: z.number(),
      evictions: z.number(),
      hit_rate_percent: z.number(),
    }),
    polling: z.object({
      total_cycles: z.number(),
      successful_cycles: z.number(),
      failed_cycles: z.number(),
      total_targets_polled: z.number(),
      total_targets_success: z.number(),
      total_targets_failed: z.number(),
      success_rate_percent: z.number(),
      average_cycle_duration_ms: z.number(),
      last_cycle_time: isoTime.nullable(),
      skipped_slots: z.number().describe('Passed unused: the one before had not ended, or the process could not run'),
      average_lateness_ms: z.number(),
      p99_lateness_ms: z.number().describe('99 of 100 slots began no later'),
      max_lateness_ms: z.number(),
      published_messages: z.number(),
      publish_failures: z.number(),
      sink_failures: z.number(),
    }),
  })
  .meta({ id: 'Metrics' })

export const routeViewSchema = z
  .looseObject({
    name: z.string().nullable(),
    topic: z.string(),
    filter: z.string(),
    qos: z.number().int(),
    shared: z.boolean(),
  })
  .meta({ id: 'Route' })

export const workerViewSchema = z
  .looseObject({
    name: z.string(),
    pid: z.number().int().nullable(),
    state: z.string(),
    restarts: z.number().int(),
  })
  .meta({ id: 'Worker' })

export const busViewSchema = z
  .looseObject({ id: z.string(), connected: z.boolean(), devices: z.array(z.string()) })
  .meta({ id: 'Bus' })

export const devicePlanSchema = z
  .object({
    device_id: z.string(),
    bus: z.string(),
    targets: z.number().int(),
    reads: z.array(
      z.object({
        interval_ms: z.number().int(),
        register_type: registerType,
        address: z.number().int(),
        count: z.number().int(),
        targets: z.array(z.number().int()).describe('Targets it brings'),
        unwanted: z.number().int().describe('Addresses that nobody asked for'),
        wire_ms: z.number(),
      }),
    ),
    bus_load_percent: z.number().describe('Of all devices of the bus'),
    warning: z.string().nullable(),
    measured_round_trip_ms: z.number().nullable(),
  })
  .meta({ id: 'DevicePlan' })

export const deadLetterSchema = z
  .looseObject({
    id: z.string(),
    route: z.string(),
    topic: z.string(),
    error: z.looseObject({ code: z.string(), message: z.string() }),
    attempts: z.number().int(),
    failed_at: isoTime,
    payload: z.string().optional().describe('Base64; only where one letter is shown'),
  })
  .meta({ id: 'DeadLetter' })

export const readingSchema = z
  .looseObject({
    device_id: z.string(),
    point: z.string().nullable(),
    value: z.union([fieldValue, blockValues]).describe('Of a raw block: its registers or bits'),
    quality: z.string(),
    timestamp: isoTime,
  })
  .meta({ id: 'Reading' })

export const bucketSchema = z
  .object({
    start: isoTime,
    end: isoTime.describe('The start of the following bucket'),
    device_id: z.string(),
    point: z.string(),
    count: z.number().int(),
    avg: z.number().nullable(),
    min: z.number().nullable(),
    max: z.number().nullable(),
    last: fieldValue,
  })
  .meta({ id: 'Bucket' })

export const eventSchema = z
  .looseObject({ kind: z.string(), device_id: z.string().nullable(), timestamp: isoTime })
  .meta({ id: 'Event' })

export const auditSchema = z
  .looseObject({
    actor: z.object({ kind: z.enum(['mqtt', 'http', 'cli', 'app']), name: z.string() }),
    action: z.string(),
    timestamp: isoTime,
  })
  .meta({ id: 'AuditEntry' })

export const keySchema = z
  .object({
    prefix: z.string(),
    name: z.string(),
    scope: z.enum(['read', 'write', 'admin']),
    created_at: isoTime,
    expires_at: isoTime.nullable(),
    revoked_at: isoTime.nullable(),
  })
  .meta({ id: 'ApiKey' })

export function pageOf(item: z.ZodType) {
  return z.object({ items: z.array(item), next: z.string().nullable().describe('Cursor of the next page') })
}

const PROBLEM_WORDS: Readonly<Record<number, string>> = {
  400: 'Malformed',
  401: 'No or a wrong credential',
  403: 'Not allowed',
  404: 'Unknown',
  408: 'Too slow',
  409: 'In conflict with what is there',
  410: 'Expired',
  413: 'Too large',
  415: 'Not JSON',
  422: 'Bad input, each field named',
  429: 'Too many requests',
  500: 'A defect',
  502: 'The device refused or answered nonsense',
  503: 'Not now; see Retry-After',
  504: 'No answer in time',
}

/** What any call may be refused with: its body, credentials, limits, shutting down, a defect. */
const ALWAYS = [400, 401, 403, 408, 413, 415, 422, 429, 500, 503] as const

/**
 * The answers of a route for its schema: those that succeed, and the problem documents it may send. Handlers are not
 * typed by it: what is sent is checked against it in the tests, where the sidecar runs with `checkAnswers`.
 */
export function answers(success: Readonly<Record<number, unknown>>, problems: readonly number[] = []) {
  const refused = [...new Set([...ALWAYS, ...problems])].sort((a, b) => a - b)
  return {
    ...Object.fromEntries(
      refused.map((status) => [
        status,
        {
          description: PROBLEM_WORDS[status] ?? 'Refused',
          content: { 'application/problem+json': { schema: problemSchema } },
        },
      ]),
    ),
    ...success,
  } as Record<number, z.ZodType<unknown>>
}
