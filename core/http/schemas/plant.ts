import { z } from 'zod'
import { pointSchema } from '../../modbus/device-schema.js'
import { isoTime, registerType } from './fields.js'

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
