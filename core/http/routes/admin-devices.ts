import { z } from 'zod'
import type { DeviceInput, DeviceRecord } from '../../modbus/device-record.js'
import { deviceIdSchema, deviceInputSchema, deviceUpdateSchema } from '../../modbus/device-schema.js'
import type { SidecarApp } from '../app.js'
import { answers } from '../schemas/answers.js'
import { noContent } from '../schemas/fields.js'
import { deviceSchema } from '../schemas/plant.js'
import { queryBoolean } from '../schemas/query.js'
import { deviceView, withStoredSecrets } from '../views.js'
import type { RouteContext } from './context.js'

const params = z.object({ device_id: deviceIdSchema })

/** Device records: changes apply at once. */
export function adminDeviceRoutes(app: SidecarApp, { services }: RouteContext): void {
  const tags = ['admin: devices']
  const { devices } = services

  app.get(
    '/api/admin/devices',
    { schema: { tags, summary: 'All devices', response: answers({ 200: z.array(deviceSchema) }) } },
    async () => (await devices.list()).map(deviceView),
  )

  app.get(
    '/api/admin/devices/active',
    { schema: { tags, summary: 'Active devices', response: answers({ 200: z.array(deviceSchema) }) } },
    async () => (await devices.list({ activeOnly: true })).map(deviceView),
  )

  app.get(
    '/api/admin/devices/:device_id',
    { schema: { tags, summary: 'One device', params, response: answers({ 200: deviceSchema }, [404]) } },
    async (request) => deviceView(await devices.get(request.params.device_id)),
  )

  app.post(
    '/api/admin/devices',
    {
      schema: {
        tags,
        summary: 'Creates a device',
        body: deviceInputSchema,
        response: answers({ 201: deviceSchema }, [409]),
      },
    },
    async (request, reply) => {
      const created = await devices.create(request.body as DeviceInput, request.caller.actor)
      return reply.code(201).send(deviceView(created))
    },
  )

  app.put(
    '/api/admin/devices/:device_id',
    {
      schema: {
        tags,
        summary: 'Changes the named fields',
        params,
        querystring: z.object({
          whole_bus: queryBoolean()
            .default(false)
            .describe('What changes of where its bus is and how it is used changes for all devices of the bus'),
        }),
        body: deviceUpdateSchema,
        response: answers({ 200: deviceSchema }, [404, 409]),
      },
    },
    async (request) => {
      const { device_id } = request.params
      const changes = (device: DeviceRecord) => withStoredSecrets(request.body, device) as Partial<DeviceInput>
      const options = { wholeBus: request.query.whole_bus }
      return deviceView(await devices.update(device_id, changes, request.caller.actor, options))
    },
  )

  app.delete(
    '/api/admin/devices/:device_id',
    {
      schema: {
        tags,
        summary: 'Switches a device off',
        description: 'Soft: the record stays, `is_active` becomes false.',
        params,
        response: answers({ 204: noContent }, [404]),
      },
    },
    async (request, reply) => {
      await devices.remove(request.params.device_id, request.caller.actor)
      return reply.code(204).send()
    },
  )

  app.post(
    '/api/admin/devices/:device_id/activate',
    { schema: { tags, summary: 'Switches a device on', params, response: answers({ 200: deviceSchema }, [404, 409]) } },
    async (request) => deviceView(await devices.activate(request.params.device_id, request.caller.actor)),
  )

  app.post(
    '/api/admin/devices/reload',
    {
      schema: {
        tags,
        summary: 'Reads the database again',
        response: answers({
          200: z.object({ status: z.literal('ok'), message: z.string(), devices: z.array(z.string()) }),
        }),
      },
    },
    async (request) => {
      const ids = await devices.reload(request.caller.actor)
      return { status: 'ok', message: `Reloaded ${ids.length} devices`, devices: ids }
    },
  )
}
