import { z } from 'zod'
import { blockValues, fieldValue, isoTime } from './fields.js'

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

export function pageOf(item: z.ZodType) {
  return z.object({ items: z.array(item), next: z.string().nullable().describe('Cursor of the next page') })
}
