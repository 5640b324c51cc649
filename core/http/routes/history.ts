import { Readable } from 'node:stream'
import { stringify } from 'csv-stringify/sync'
import { z } from 'zod'
import { deviceIdSchema } from '../../modbus/device-schema.js'
import type { Quality } from '../../modbus/field.js'
import { plainText } from '../../modbus/plain-text.js'
import { type SidecarApp, signalOf } from '../app.js'
import { answers } from '../schemas/answers.js'
import { registerType } from '../schemas/fields.js'
import { auditSchema, bucketSchema, eventSchema, pageOf, readingSchema } from '../schemas/history.js'
import { queryInteger, queryNumber, queryTime } from '../schemas/query.js'
import type { ReadingQuery, ReadingService, ReadingView } from '../services/history.js'
import { present, type RouteContext } from './context.js'

/** Rows of one page at most, as collectors know it. */
const MAX_PAGE = 1_000
/** Rows a CSV download fetches at a time. */
const CSV_BATCH = 1_000

const range = {
  from: queryTime.optional().describe('Inclusive'),
  to: queryTime.optional().describe('Exclusive'),
}
/** Nothing lies between: an empty answer would hide the mistake. */
const isForwards = ({ from, to }: { from?: string | undefined; to?: string | undefined }) =>
  from === undefined || to === undefined || Date.parse(from) <= Date.parse(to)
const BACKWARDS = { path: ['from'], message: 'must not be after to' }
const paging = {
  limit: queryInteger(1, MAX_PAGE).default(100),
  cursor: plainText(1, 500).optional().describe('`next` of the page before'),
}
const readingFilter = {
  device_id: deviceIdSchema.optional(),
  point: plainText(1, 100).optional(),
  register_type: registerType.optional(),
  address: queryInteger(0, 65_535).optional(),
  value: plainText(1, 500).optional().describe('Exactly this one: a number, true, false, or text (also "in quotes")'),
  quality: z.enum(['good', 'uncertain', 'bad', 'stale'] satisfies Quality[]).optional(),
  min: queryNumber().optional(),
  max: queryNumber().optional(),
  ...range,
}

/** A block is named by its address; a register type alone would name nothing, and everything would be answered. */
const namesBlock = ({ register_type, address }: { register_type?: unknown; address?: unknown }) =>
  register_type === undefined || address !== undefined
const BLOCK_UNNAMED = { path: ['address'], message: 'is needed beside register_type' }

/** What was read, what happened and who did what: newest first, a page at a time. */
export function historyRoutes(app: SidecarApp, { services }: RouteContext): void {
  const tags = ['history']
  const readings = () => present(services.readings, 'readings', true)

  app.get(
    '/api/readings',
    {
      schema: {
        tags,
        summary: 'Readings, newest first',
        querystring: z
          .strictObject({ ...readingFilter, ...paging })
          .refine(namesBlock, BLOCK_UNNAMED)
          .refine(isForwards, BACKWARDS),
        response: answers({ 200: pageOf(readingSchema) }, [504]),
      },
    },
    async (request, reply) => readings().page(queryOf(request.query), signalOf(reply)),
  )

  app.get(
    '/api/readings/buckets',
    {
      schema: {
        tags,
        summary: 'Average, least, greatest and last value of a point per interval or day, oldest first',
        description: 'At most 1,000 buckets; those without a number are left out.',
        querystring: z
          .strictObject({
            device_id: deviceIdSchema,
            point: plainText(1, 100),
            from: queryTime.describe('Inclusive'),
            to: queryTime.optional().describe('Exclusive; now by default'),
            bucket: z
              .string()
              .regex(/^(day|[1-9]\d{0,5}[smh])$/)
              .describe('Width: day, or for example 10s, 15m, 1h'),
            tz: z.string().min(1).max(60).refine(isTimeZone, 'must be an IANA time zone').default('UTC'),
          })
          .refine(isForwards, BACKWARDS),
        response: answers({ 200: z.array(bucketSchema) }, [504]),
      },
    },
    async (request, reply) => {
      const { device_id, point, from, to, bucket, tz } = request.query
      const buckets = present(readings().buckets?.bind(readings()), 'buckets of readings')
      const query = {
        device_id,
        point,
        from,
        ...(to === undefined ? {} : { to }),
        bucket: bucket === 'day' ? ('day' as const) : widthOf(bucket),
        tz,
      }
      return buckets(query, signalOf(reply))
    },
  )

  app.get(
    '/api/readings.csv',
    {
      // A HEAD would read every row to say how it went.
      exposeHeadRoute: false,
      schema: {
        tags,
        summary: 'Readings as CSV, newest first, as a stream',
        querystring: z.strictObject(readingFilter).refine(namesBlock, BLOCK_UNNAMED).refine(isForwards, BACKWARDS),
        response: answers({ 200: { description: 'CSV', content: { 'text/csv': { schema: z.string() } } } }, [504]),
      },
    },
    async (request, reply) => {
      const rows = csvRows(readings(), queryOf({ ...request.query, limit: CSV_BATCH }), signalOf(reply))
      // The first chunk is made before the headers go, so that a database that is away is a problem document.
      const first = await rows.next()
      const whole = async function* () {
        if (first.done !== true) yield first.value
        yield* rows
      }
      return reply.type('text/csv; charset=utf-8').send(Readable.from(whole()))
    },
  )

  app.get(
    '/api/events',
    {
      schema: {
        tags,
        summary: 'What happened, newest first',
        querystring: z
          .strictObject({
            device_id: deviceIdSchema.optional(),
            kind: plainText(1, 100).optional(),
            ...range,
            ...paging,
          })
          .refine(isForwards, BACKWARDS),
        response: answers({ 200: pageOf(eventSchema) }, [504]),
      },
    },
    async (request, reply) => present(services.events, 'events', true)(given(request.query), signalOf(reply)),
  )

  app.get(
    '/api/audit',
    {
      config: { scope: 'admin' },
      schema: {
        tags,
        summary: 'Writes and changes, and who made them',
        querystring: z
          .strictObject({ device_id: deviceIdSchema.optional(), ...range, ...paging })
          .refine(isForwards, BACKWARDS),
        response: answers({ 200: pageOf(auditSchema) }, [504]),
      },
    },
    async (request, reply) => present(services.audit, 'audit records', true)(given(request.query), signalOf(reply)),
  )
}

/** Leaves out what was not asked for. Times go on as they were written: as a number they would lose their microseconds. */
function given<T extends object>(query: T) {
  return Object.fromEntries(Object.entries(query).filter(([, value]) => value !== undefined)) as Given<T>
}
type Given<T> = { [K in keyof T]: Exclude<T[K], undefined> }

type Filter = z.infer<z.ZodObject<typeof readingFilter>>

function queryOf({ value, ...query }: Filter & { limit: number; cursor?: string | undefined }) {
  return given({ ...query, value: value === undefined ? undefined : meantBy(value) })
}

/** What a query string means by a value. A whole number that a double cannot hold stays its digits, as readings show it. */
function meantBy(text: string): number | boolean | string {
  if (text === 'true' || text === 'false') return text === 'true'
  if (/^".*"$/s.test(text)) return text.slice(1, -1)
  if (!/^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(text)) return text
  const value = Number(text)
  return /^-?\d+$/.test(text) && !Number.isSafeInteger(value) ? text : value
}

function widthOf(text: string): number {
  const unit = { s: 1_000, m: 60_000, h: 3_600_000 }[text.at(-1) as 's' | 'm' | 'h']
  return Number(text.slice(0, -1)) * unit
}

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name })
    return true
  } catch {
    return false // the one way Intl has to say that it does not know the name
  }
}

const DECIMAL = /^-?\d+(\.\d+)?$/

const CSV_COLUMNS = ['timestamp', 'device_id', 'point', 'value', 'quality'] as const

async function* csvRows(readings: ReadingService, query: ReadingQuery, signal: AbortSignal): AsyncGenerator<string> {
  // The first piece holds the first page too: until that is there, nothing has been promised to the caller.
  let head = `${CSV_COLUMNS.join(',')}\n`
  let cursor: string | undefined
  do {
    const page = await readings.page(cursor === undefined ? query : { ...query, cursor }, signal)
    const rows = head + stringify(page.items.map(csvRow))
    if (rows !== '') yield rows
    head = ''
    cursor = page.next ?? undefined
  } while (cursor !== undefined && !signal.aborted)
}

function csvRow(reading: ReadingView): unknown[] {
  return CSV_COLUMNS.map((column) => {
    const value = reading[column]
    // What a device says must not run in the reader's spreadsheet. Numbers are left alone, also those that are digits
    // because a double cannot hold them.
    if (typeof value === 'string' && /^[=+\-@\t\r]/.test(value) && !DECIMAL.test(value)) return `'${value}`
    return typeof value === 'boolean' ? String(value) : value
  })
}
