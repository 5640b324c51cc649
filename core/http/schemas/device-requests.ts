import { z } from 'zod'
import { blockValues, errorShape, fieldValue, isoTime, quality, registerType } from './fields.js'

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
