import { z } from 'zod'
import { plainText } from '../../modbus/plain-text.js'
import type { SidecarApp } from '../app.js'
import { answers } from '../schemas/answers.js'
import { noContent, okMessage } from '../schemas/fields.js'
import { busViewSchema } from '../schemas/plant.js'
import { queryInteger } from '../schemas/query.js'
import { deadLetterSchema, routeViewSchema, workerViewSchema } from '../schemas/runtime.js'
import { present, type RouteContext } from './context.js'

const workersSchema = z.array(workerViewSchema)

/** Routes, workers, buses and dead letters of the running product. */
export function adminRuntimeRoutes(app: SidecarApp, { services }: RouteContext): void {
  const tags = ['admin: runtime']
  const workers = () => present(services.workers, 'worker processes')
  const dead = () => present(services.dead, 'dead letters', true)

  app.get(
    '/api/admin/routes',
    { schema: { tags, summary: 'Routes of the application', response: answers({ 200: z.array(routeViewSchema) }) } },
    async () => present(services.routes, 'routes')(),
  )

  app.get(
    '/api/admin/buses',
    {
      schema: { tags, summary: 'Buses, their queues and devices', response: answers({ 200: z.array(busViewSchema) }) },
    },
    async () => present(services.buses, 'buses')(),
  )

  app.get(
    '/api/admin/workers',
    { schema: { tags, summary: 'Worker processes', response: answers({ 200: workersSchema }) } },
    async () => workers().list(),
  )

  app.post(
    '/api/admin/workers/restart',
    {
      schema: {
        tags,
        summary: 'Restarts one worker, or all in turn, losing nothing',
        body: z.strictObject({ name: plainText(1, 100).optional() }).nullish(),
        response: answers({ 200: workersSchema }, [404, 504]),
      },
    },
    async (request) => workers().restart(request.body?.name, request.caller.actor),
  )

  app.post(
    '/api/admin/workers/scale',
    {
      schema: {
        tags,
        summary: 'Sets the number of slots',
        body: z.strictObject({ slots: z.number().int().min(1).max(64) }),
        response: answers({ 200: workersSchema }, [409, 504]),
      },
    },
    async (request) => workers().scale(request.body.slots, request.caller.actor),
  )

  const letterParams = z.object({ id: plainText(1, 200) })

  app.get(
    '/api/admin/dead',
    {
      config: { scope: 'admin' },
      schema: {
        tags,
        summary: 'Dead letters, newest first',
        querystring: z.object({
          limit: queryInteger(1, 1_000).default(100),
          route: plainText(1, 200).optional(),
        }),
        response: answers({ 200: z.array(deadLetterSchema) }),
      },
    },
    async (request) => {
      const { limit, route } = request.query
      return dead().list(route === undefined ? { limit } : { limit, route })
    },
  )

  app.get(
    '/api/admin/dead/:id',
    {
      config: { scope: 'admin' },
      schema: {
        tags,
        summary: 'One dead letter',
        params: letterParams,
        response: answers({ 200: deadLetterSchema }, [404]),
      },
    },
    async (request) => dead().show(request.params.id),
  )

  app.post(
    '/api/admin/dead/:id/retry',
    {
      schema: {
        tags,
        summary: 'Runs a dead letter again',
        params: letterParams,
        body: z.strictObject({ force: z.boolean().default(false).describe('Also past its deadline') }).nullish(),
        response: answers({ 200: okMessage }, [404, 409, 410, 502, 504]),
      },
    },
    async (request) => {
      await dead().retry(request.params.id, { force: request.body?.force === true }, request.caller.actor)
      return { status: 'ok', message: `Dead letter ${request.params.id} runs again` }
    },
  )

  app.delete(
    '/api/admin/dead/:id',
    {
      schema: {
        tags,
        summary: 'Forgets a dead letter',
        params: letterParams,
        response: answers({ 204: noContent }, [404]),
      },
    },
    async (request, reply) => {
      await dead().forget(request.params.id, request.caller.actor)
      return reply.code(204).send()
    },
  )
}
