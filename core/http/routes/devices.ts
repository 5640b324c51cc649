import { z } from 'zod'
import { deviceIdSchema } from '../../modbus/device-schema.js'
import type { FieldRequest, WriteItem } from '../../modbus/field.js'
import { plainText } from '../../modbus/plain-text.js'
import { RouteMQError } from '../../support/errors.js'
import { type SidecarApp, signalOf } from '../app.js'
import { plainReadFirst } from '../plain-read.js'
import { answers } from '../schemas/answers.js'
import { pointReadingSchema, registersSchema, writtenSchema } from '../schemas/device-requests.js'
import { fieldValue, pduAddress, registerType } from '../schemas/fields.js'
import { deviceSummarySchema, gatewaySchema, pointViewSchema } from '../schemas/plant.js'
import { queryBoolean, queryInteger } from '../schemas/query.js'
import { deviceSummary, pointReadingView, registersView } from '../views.js'
import type { RouteContext } from './context.js'

/** What a device may say no with: unknown, refused, answered nonsense, busy, silent. */
const FIELD_PROBLEMS = [404, 409, 410, 502, 504]

const deviceParams = z.object({ device_id: deviceIdSchema })

const allowStale = queryBoolean()
  .default(false)
  .describe('While the device cannot answer: its last known value, of quality stale')

export const readQuery = z.object({
  address: queryInteger(0, 65_535),
  count: queryInteger(1, 2_000).default(1),
  register_type: registerType.default('holding'),
  source: z.enum(['live', 'cache']).default('live').describe('cache falls back to a live read'),
  allow_stale: allowStale,
})

const writeBody = z
  .strictObject({
    address: pduAddress.optional(),
    value: fieldValue.optional(),
    values: z
      .array(z.union([z.number(), z.boolean()]))
      .min(1)
      .max(1968)
      .optional(),
    register_type: z.enum(['holding', 'coil']).default('holding'),
    point: plainText(1, 100).optional().describe('Instead of an address'),
  })
  .superRefine((body, context) => {
    const wrong = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message })
    if (body.point !== undefined) {
      if (body.address !== undefined) wrong('address', 'does not go with a point')
      if (body.values !== undefined) wrong('values', 'does not go with a point')
      if (body.value === undefined) wrong('value', 'is needed')
      return
    }
    if (body.address === undefined) wrong('address', 'is needed')
    if (body.value === undefined && body.values === undefined) wrong('value', 'is needed, or values')
    if (body.value !== undefined && body.values !== undefined) wrong('values', 'does not go with value')
    if (typeof body.value === 'string' || body.value === null) wrong('value', 'must be a number or a boolean')
  })
  .meta({
    id: 'Write',
    description: 'address with value or values (register_type holding by default), or point with value.',
  })

/** Reading and writing devices. */
export function deviceRoutes(app: SidecarApp, { services }: RouteContext): void {
  const tags = ['devices']

  app.get(
    '/api/devices',
    { schema: { tags, summary: 'Active devices', response: answers({ 200: z.array(deviceSummarySchema) }) } },
    async () => (await services.devices.list({ activeOnly: true })).map(deviceSummary),
  )

  app.get(
    '/api/devices/gateways',
    { schema: { tags, summary: 'Buses and their connection', response: answers({ 200: z.array(gatewaySchema) }) } },
    async () => services.devices.gateways(),
  )

  app.get(
    '/api/devices/:device_id/registers',
    {
      validatorCompiler: plainReadFirst,
      schema: {
        tags,
        summary: 'Reads registers or coils',
        params: deviceParams,
        querystring: readQuery,
        response: answers({ 200: registersSchema }, FIELD_PROBLEMS),
      },
    },
    (request, reply) => {
      const { address, count, register_type, source, allow_stale } = request.query
      const { device_id } = request.params
      // A cached read is answered at once and needs nothing to end it early.
      const signal = source === 'live' ? signalOf(reply) : undefined
      const read = { op: 'read', device_id, register_type, address, count, source, allow_stale } satisfies FieldRequest
      return services.field.request(read, signal).then(registersView)
    },
  )

  app.post(
    '/api/devices/:device_id/registers/write',
    {
      config: { scope: 'write' },
      schema: {
        tags,
        summary: 'Writes registers, coils or a point',
        description: 'Answered after the device confirmed; 202 where it accepted and is still working.',
        params: deviceParams,
        body: writeBody,
        response: answers({ 200: writtenSchema, 202: writtenSchema }, FIELD_PROBLEMS),
      },
    },
    async (request, reply) => {
      const { device_id } = request.params
      const { register_type, ...rest } = request.body
      const written = { device_id, ...rest, ...(rest.point === undefined ? { register_type } : {}) }
      const { actor } = request.caller
      try {
        const write = { op: 'write', device_id, items: [itemOf(request.body)], actor } satisfies FieldRequest
        const { results } = await services.field.request(write, signalOf(reply))
        const rounded = results[0]?.written
        return { status: 'ok', ...written, ...(rounded === undefined ? {} : { written: rounded }) }
      } catch (error) {
        if (!(error instanceof RouteMQError) || error.code !== 'MODBUS_ACKNOWLEDGE') throw error
        return reply.code(202).send({ status: 'accepted', ...written })
      }
    },
  )

  app.get(
    '/api/devices/:device_id/points',
    {
      schema: {
        tags,
        summary: 'Reads points by name',
        params: deviceParams,
        querystring: z.object({
          points: z
            .string()
            .min(1)
            .max(10_000)
            .optional()
            .describe('Names with commas between; all readable ones by default'),
          point: z
            .union([z.string(), z.array(z.string())])
            .optional()
            .describe('A name, as often as there are names: also those with a comma in them'),
          source: z.enum(['live', 'cache']).default('live'),
          allow_stale: allowStale,
        }),
        response: answers(
          { 200: z.object({ device_id: z.string(), points: z.array(pointReadingSchema) }) },
          FIELD_PROBLEMS,
        ),
      },
    },
    async (request, reply) => {
      const { device_id } = request.params
      const { source, allow_stale, point = [] } = request.query
      const named = [...(request.query.points?.split(',') ?? []), ...[point].flat()]
      const points = named.length > 0 ? named : await readablePoints(device_id)
      if (points.length === 0) return { device_id, points: [] }
      const read = { op: 'read_points', device_id, points, source, allow_stale } satisfies FieldRequest
      const answer = await services.field.request(read, signalOf(reply))
      return { device_id, points: answer.points.map(pointReadingView) }
    },
  )

  app.get(
    '/api/points',
    {
      schema: {
        tags,
        summary: 'Points of all active devices, or of one',
        querystring: z.object({ device_id: deviceIdSchema.optional() }),
        response: answers({ 200: z.array(pointViewSchema) }, [404]),
      },
    },
    async (request) => {
      const { device_id } = request.query
      const devices =
        device_id === undefined
          ? await services.devices.list({ activeOnly: true })
          : [await services.devices.get(device_id)]
      return devices.flatMap((device) => device.points.map((point) => ({ device_id: device.device_id, ...point })))
    },
  )

  async function readablePoints(deviceId: string): Promise<string[]> {
    const device = await services.devices.get(deviceId)
    return device.points.filter((point) => point.access !== 'w').map((point) => point.name)
  }
}

function itemOf(body: z.infer<typeof writeBody>): WriteItem {
  if (body.point !== undefined) return { point: body.point, value: body.value ?? null }
  const values = body.values ?? [body.value as number | boolean]
  return { register_type: body.register_type, address: body.address!, values }
}
