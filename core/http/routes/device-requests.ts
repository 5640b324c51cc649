import { z } from 'zod'
import { deviceIdSchema } from '../../modbus/device-schema.js'
import type { FieldRequest, WriteItem } from '../../modbus/field.js'
import { plainText } from '../../modbus/plain-text.js'
import { MAX_WRITE_ITEMS } from '../../modbus/write-item.js'
import { RouteMQError } from '../../support/errors.js'
import { type SidecarApp, signalOf } from '../app.js'
import { answers } from '../schemas/answers.js'
import { identitySchema, writeResultsSchema } from '../schemas/device-requests.js'
import { fieldValue, pduAddress } from '../schemas/fields.js'
import type { RouteContext } from './context.js'

const FIELD_PROBLEMS = [404, 409, 410, 502, 504]

const word = z.number().int().min(0).max(65_535)
const writeItem = z.union([
  z.strictObject({ point: plainText(1, 100), value: fieldValue }),
  z.strictObject({
    register_type: z.enum(['holding', 'coil']).default('holding'),
    address: pduAddress,
    values: z
      .array(z.union([z.number(), z.boolean()]))
      .min(1)
      .max(1968),
    read: z
      .strictObject({ address: pduAddress, count: z.number().int().min(1).max(125) })
      .optional()
      .describe('Holding registers to be read in the same request (function 23)'),
  }),
  z
    .strictObject({ register_type: z.literal('holding').default('holding'), address: pduAddress, and: word, or: word })
    .describe('Some bits of a holding register (function 22): (now & and) | (or & ~and)'),
  z
    .strictObject({ function: z.number().int().min(1).max(127), data: z.string().max(504).default('') })
    .describe('A function of the device: the bytes after its code, as hexadecimal digits'),
])
const writeItems = z
  .strictObject({ items: z.array(writeItem).min(1).max(MAX_WRITE_ITEMS) })
  .meta({ id: 'WriteItems', description: 'Carried out in this order, up to the first that fails.' })

/** What devices can do besides reading and writing registers: several writes at once, functions 17, 22, 23, 43 and their own. */
export function deviceRequestRoutes(app: SidecarApp, { services }: RouteContext): void {
  const tags = ['devices']
  const params = z.object({ device_id: deviceIdSchema })

  app.post(
    '/api/devices/:device_id/write',
    {
      config: { scope: 'write' },
      schema: {
        tags,
        summary: 'Writes several items in their order: registers, coils, points, bits, functions of the device',
        description: 'Answered after the device confirmed; 202 where it accepted and is still working.',
        params,
        body: writeItems,
        response: answers({ 200: writeResultsSchema, 202: writeResultsSchema }, FIELD_PROBLEMS),
      },
    },
    async (request, reply) => {
      const { device_id } = request.params
      const items = request.body.items as WriteItem[]
      const write = { op: 'write', device_id, items, actor: request.caller.actor } satisfies FieldRequest
      try {
        return { status: 'ok', ...(await services.field.request(write, signalOf(reply))) }
      } catch (error) {
        if (!(error instanceof RouteMQError) || error.code !== 'MODBUS_ACKNOWLEDGE') throw error
        return reply.code(202).send({ status: 'accepted', device_id, results: error.details?.results })
      }
    },
  )

  app.get(
    '/api/devices/:device_id/identity',
    {
      schema: {
        tags,
        summary: 'What the device says of itself (functions 17 and 43/14)',
        params,
        response: answers({ 200: identitySchema }, FIELD_PROBLEMS),
      },
    },
    async (request, reply) =>
      services.field.request({ op: 'identify', device_id: request.params.device_id }, signalOf(reply)),
  )
}
