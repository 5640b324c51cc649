import { z } from 'zod'
import { deviceIdSchema, deviceInputSchema, deviceUpdateSchema } from '../../modbus/device-schema.js'
import { targetInputSchema, targetUpdateSchema } from '../../modbus/target-schema.js'
import type { SidecarApp } from '../app.js'
import { answers } from '../schemas/answers.js'
import { queryBoolean } from '../schemas/query.js'
import type { PlantChanges } from '../services/plant.js'
import { present, type RouteContext } from './context.js'

/** A plant of thousands of points is larger than any other body. */
const BODY_LIMIT_BYTES = 33_554_432

const targetId = z.number().int().min(1)
const changesSchema = z
  .strictObject({
    devices: z
      .strictObject({
        create: z.array(deviceInputSchema).default([]),
        update: z.array(z.strictObject({ device_id: deviceIdSchema, changes: deviceUpdateSchema })).default([]),
      })
      .default({ create: [], update: [] }),
    targets: z
      .strictObject({
        create: z.array(targetInputSchema).default([]),
        update: z.array(z.strictObject({ id: targetId, changes: targetUpdateSchema })).default([]),
      })
      .default({ create: [], update: [] }),
  })
  .meta({ id: 'PlantChanges' })

const counts = z.object({ created: z.number().int(), updated: z.number().int(), unchanged: z.number().int() })

/** Devices and polling targets that change together: all of them or none. */
export function adminPlantRoutes(app: SidecarApp, { services }: RouteContext): void {
  app.post(
    '/api/admin/plant',
    {
      bodyLimit: BODY_LIMIT_BYTES,
      schema: {
        tags: ['admin: devices'],
        summary: 'Changes devices and polling targets together, all or none',
        description:
          'Checked as they are with all changes made, the load of the buses too. Where one is refused nothing is changed, ' +
          'and `details.refused` names each as `targets.create.3`.',
        querystring: z.object({
          force: queryBoolean().default(false).describe('Take targets although a bus would be overloaded'),
          dry_run: queryBoolean().default(false).describe('Check only'),
        }),
        body: changesSchema,
        response: answers(
          { 200: z.object({ devices: counts, targets: counts, warnings: z.array(z.string()) }) },
          [404, 409],
        ),
      },
    },
    async (request) => {
      const { force, dry_run: dryRun } = request.query
      const plant = present(services.plant, 'devices that can be changed together')
      return plant.change(request.body as PlantChanges, request.caller.actor, { force, dryRun })
    },
  )
}
