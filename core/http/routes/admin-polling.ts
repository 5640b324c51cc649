import { z } from 'zod'
import type { TargetInput, TargetRecord } from '../../modbus/device-record.js'
import { deviceIdSchema } from '../../modbus/device-schema.js'
import { targetInputSchema, targetUpdateSchema } from '../../modbus/target-schema.js'
import type { SidecarApp } from '../app.js'
import { answers } from '../schemas/answers.js'
import { noContent, okMessage } from '../schemas/fields.js'
import { devicePlanSchema, targetReportSchema, targetSchema } from '../schemas/plant.js'
import { queryBoolean, queryInteger } from '../schemas/query.js'
import { present, type RouteContext } from './context.js'

const params = z.object({ target_id: queryInteger(1, 2 ** 53 - 1) })
const force = z.object({
  force: queryBoolean().default(false).describe('Take it although the bus would be overloaded'),
})

/** Polling targets: changes apply at once. */
export function adminPollingRoutes(app: SidecarApp, { services }: RouteContext): void {
  const tags = ['admin: polling']
  const { targets } = services
  const reported = (target: TargetRecord) => {
    const bus = target.is_active ? services.busLoad?.(target.device_id) : undefined
    return { ...target, bus_load_percent: bus?.percent ?? null, warning: bus?.warning ?? null }
  }

  app.get(
    '/api/admin/polling',
    { schema: { tags, summary: 'All targets', response: answers({ 200: z.array(targetSchema) }) } },
    async () => targets.list(),
  )

  app.get(
    '/api/admin/polling/active',
    { schema: { tags, summary: 'Active targets', response: answers({ 200: z.array(targetSchema) }) } },
    async () => targets.list({ activeOnly: true }),
  )

  app.get(
    '/api/admin/polling/device/:device_id',
    {
      schema: {
        tags,
        summary: 'Active targets of a device',
        params: z.object({ device_id: deviceIdSchema }),
        response: answers({ 200: z.array(targetSchema) }, [404]),
      },
    },
    async (request) => targets.list({ activeOnly: true, deviceId: request.params.device_id }),
  )

  app.get(
    '/api/admin/polling/device/:device_id/plan',
    {
      schema: {
        tags,
        summary: 'The requests that poll a device, and the load of its bus',
        description: 'Of the planner that runs: with measured round trips, and with what the device refused.',
        params: z.object({ device_id: deviceIdSchema }),
        response: answers({ 200: devicePlanSchema }, [404]),
      },
    },
    async (request) => present(services.devicePlan, 'poller')(request.params.device_id),
  )

  app.get(
    '/api/admin/polling/:target_id',
    { schema: { tags, summary: 'One target', params, response: answers({ 200: targetSchema }, [404]) } },
    async (request) => targets.get(request.params.target_id),
  )

  app.post(
    '/api/admin/polling',
    {
      schema: {
        tags,
        summary: 'Creates a target',
        querystring: force,
        body: targetInputSchema,
        response: answers({ 201: targetReportSchema }, [404, 409]),
      },
    },
    async (request, reply) => {
      const { caller, query } = request
      const created = await targets.create(request.body as TargetInput, caller.actor, { force: query.force })
      return reply.code(201).send(reported(created))
    },
  )

  app.put(
    '/api/admin/polling/:target_id',
    {
      schema: {
        tags,
        summary: 'Changes the named fields',
        params,
        querystring: force,
        body: targetUpdateSchema,
        response: answers({ 200: targetReportSchema }, [404, 409]),
      },
    },
    async (request) => {
      const { caller, query } = request
      const changes = request.body as Partial<TargetInput>
      return reported(await targets.update(request.params.target_id, changes, caller.actor, { force: query.force }))
    },
  )

  app.delete(
    '/api/admin/polling/:target_id',
    {
      schema: {
        tags,
        summary: 'Switches a target off',
        description: 'Soft: the record stays, `is_active` becomes false.',
        params,
        response: answers({ 204: noContent }, [404]),
      },
    },
    async (request, reply) => {
      await targets.remove(request.params.target_id, request.caller.actor)
      return reply.code(204).send()
    },
  )

  app.post(
    '/api/admin/polling/:target_id/activate',
    {
      schema: {
        tags,
        summary: 'Switches a target on',
        params,
        response: answers({ 200: targetReportSchema }, [404, 409]),
      },
    },
    async (request) => reported(await targets.activate(request.params.target_id, request.caller.actor)),
  )

  app.post(
    '/api/admin/polling/reload',
    { schema: { tags, summary: 'Reads the database again', response: answers({ 200: okMessage }) } },
    async (request) => {
      await services.devices.reload(request.caller.actor)
      return { status: 'ok', message: 'Devices and polling targets have been read again' }
    },
  )
}
