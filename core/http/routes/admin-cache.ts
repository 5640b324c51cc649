import { z } from 'zod'
import { deviceIdSchema } from '../../modbus/device-schema.js'
import type { SidecarApp } from '../app.js'
import { answers } from '../schemas/answers.js'
import { cacheEntrySchema, cacheStatsSchema } from '../schemas/device-requests.js'
import { okMessage } from '../schemas/fields.js'
import { cacheStats } from '../views.js'
import type { RouteContext } from './context.js'

/** The last values that polls and reads brought. */
export function adminCacheRoutes(app: SidecarApp, { services }: RouteContext): void {
  const tags = ['admin: cache']
  const { cache } = services

  app.get(
    '/api/admin/cache',
    { schema: { tags, summary: 'All entries', response: answers({ 200: z.array(cacheEntrySchema) }) } },
    async () => cache.entries(),
  )

  app.get(
    '/api/admin/cache/stats',
    { schema: { tags, summary: 'Size and age', response: answers({ 200: cacheStatsSchema }) } },
    async () => cacheStats(cache.entries()),
  )

  app.get(
    '/api/admin/cache/device/:device_id',
    {
      schema: {
        tags,
        summary: 'Entries of one device',
        params: z.object({ device_id: deviceIdSchema }),
        response: answers({ 200: z.array(cacheEntrySchema) }, [404]),
      },
    },
    async (request) => cache.entries(request.params.device_id),
  )

  app.delete(
    '/api/admin/cache',
    { schema: { tags, summary: 'Drops all entries', response: answers({ 200: okMessage }) } },
    async (request) => ({
      status: 'ok',
      message: `Cleared ${await cache.clear(request.caller.actor)} cache entries`,
    }),
  )
}
