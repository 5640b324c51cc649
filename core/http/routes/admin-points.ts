import { z } from 'zod'
import type { DeviceRecord } from '../../modbus/device-record.js'
import { deviceIdSchema, pointSchema } from '../../modbus/device-schema.js'
import type { Actor } from '../../modbus/field.js'
import { plainText } from '../../modbus/plain-text.js'
import type { PointDefinition } from '../../modbus/point.js'
import { RouteMQError } from '../../support/errors.js'
import type { SidecarApp } from '../app.js'
import { answers } from '../schemas/answers.js'
import { noContent } from '../schemas/fields.js'
import { pointViewSchema } from '../schemas/plant.js'
import type { RouteContext } from './context.js'

const params = z.object({ device_id: deviceIdSchema, point: plainText(1, 100) })

/** Points one by one; a device record holds them all, so each change rewrites the list of its device. */
export function adminPointRoutes(app: SidecarApp, { services }: RouteContext): void {
  const tags = ['admin: points']

  app.get(
    '/api/admin/points',
    {
      schema: {
        tags,
        summary: 'Points of all devices, or of one',
        querystring: z.object({ device_id: deviceIdSchema.optional() }),
        response: answers({ 200: z.array(pointViewSchema) }, [404]),
      },
    },
    async (request) => {
      const { device_id } = request.query
      const devices = device_id === undefined ? await services.devices.list() : [await services.devices.get(device_id)]
      return devices.flatMap((device) => device.points.map((point) => ({ device_id: device.device_id, ...point })))
    },
  )

  app.get(
    '/api/admin/points/:device_id/:point',
    { schema: { tags, summary: 'One point', params, response: answers({ 200: pointViewSchema }, [404]) } },
    async (request) => {
      const { device_id, point: name } = request.params
      const { points } = await services.devices.get(device_id)
      return { device_id, ...points[positionOf(points, name, device_id)] }
    },
  )

  app.post(
    '/api/admin/points',
    {
      schema: {
        tags,
        summary: 'Adds a point to a device',
        body: pointSchema.extend({ device_id: deviceIdSchema }).meta({ id: 'NewPoint' }),
        response: answers({ 201: pointViewSchema }, [404, 409]),
      },
    },
    async (request, reply) => {
      const { device_id, ...given } = request.body
      const point = given as PointDefinition
      await change(device_id, request.caller.actor, (points) => {
        if (points.some(({ name }) => name === point.name)) {
          throw new RouteMQError('POINT_EXISTS', `device ${device_id} already has a point ${point.name}`)
        }
        return [...points, point]
      })
      return reply.code(201).send({ device_id, ...point })
    },
  )

  app.put(
    '/api/admin/points/:device_id/:point',
    {
      schema: {
        tags,
        summary: 'Changes the named fields',
        params,
        body: pointSchema.extend({ device_id: deviceIdSchema }).partial().meta({ id: 'PointChanges' }),
        response: answers({ 200: pointViewSchema }, [404, 409]),
      },
    },
    async (request) => {
      const { device_id, point: name } = request.params
      const { device_id: sentDevice = device_id, ...changes } = request.body
      // A whole point may be sent back as it was shown; who it is does not change.
      refuseOther('device_id', sentDevice, device_id)
      refuseOther('name', changes.name ?? name, name)
      const points = await change(device_id, request.caller.actor, (before) => {
        const position = positionOf(before, name, device_id)
        return before.with(position, { ...before[position]!, ...(changes as Partial<PointDefinition>) })
      })
      return { device_id, ...points[positionOf(points, name, device_id)] }
    },
  )

  app.delete(
    '/api/admin/points/:device_id/:point',
    { schema: { tags, summary: 'Removes a point', params, response: answers({ 204: noContent }, [404]) } },
    async (request, reply) => {
      const { device_id, point: name } = request.params
      await change(device_id, request.caller.actor, (points) =>
        points.toSpliced(positionOf(points, name, device_id), 1),
      )
      return reply.code(204).send()
    },
  )

  /** Made of the list as it is when its turn comes: of one read before, it would lose what another changed since. */
  async function change(
    deviceId: string,
    actor: Actor,
    alter: (points: readonly PointDefinition[]) => readonly PointDefinition[],
  ): Promise<readonly PointDefinition[]> {
    const changes = ({ points }: DeviceRecord) => ({ points: alter(points) })
    return (await services.devices.update(deviceId, changes, actor)).points
  }
}

function positionOf(points: readonly PointDefinition[], name: string, deviceId: string): number {
  const position = points.findIndex((point) => point.name === name)
  if (position === -1) throw new RouteMQError('POINT_UNKNOWN', `device ${deviceId} has no point ${name}`)
  return position
}

function refuseOther(field: string, sent: string, current: string): void {
  if (sent === current) return
  const fields = [{ field, message: `cannot be changed: this is ${current}` }]
  throw new RouteMQError('POINT_INVALID', `The point is not valid: ${field} cannot be changed`, { details: { fields } })
}
