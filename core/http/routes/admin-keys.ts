import { z } from 'zod'
import { plainText } from '../../modbus/plain-text.js'
import { RouteMQError } from '../../support/errors.js'
import type { SidecarApp } from '../app.js'
import { createKey } from '../keys.js'
import { answers } from '../schemas/answers.js'
import { isoTime, noContent } from '../schemas/fields.js'
import { keySchema } from '../schemas/runtime.js'
import { type ApiKeyRecord, KEY_SCOPES } from '../services/keys.js'
import { present, type RouteContext } from './context.js'

/** API keys: made here, shown once. */
export function adminKeyRoutes(app: SidecarApp, { services, clock }: RouteContext): void {
  const tags = ['admin: keys']
  const keys = () => present(services.keys, 'API keys', true)

  app.get(
    '/api/admin/keys',
    {
      config: { scope: 'admin' },
      schema: { tags, summary: 'API keys, without their secrets', response: answers({ 200: z.array(keySchema) }) },
    },
    async () => (await keys().list()).map(keyView),
  )

  app.post(
    '/api/admin/keys',
    {
      schema: {
        tags,
        summary: 'Creates a key; the answer is the only place where it is shown',
        body: z.strictObject({
          name: plainText(1, 100),
          scope: z.enum(KEY_SCOPES),
          expires_at: isoTime.nullish(),
        }),
        response: answers({ 201: keySchema.extend({ key: z.string() }).meta({ id: 'NewApiKey' }) }, [409]),
      },
    },
    async (request, reply) => {
      const { name, scope, expires_at } = request.body
      const expiresAt = expires_at == null ? null : new Date(expires_at).toISOString()
      // A key that nobody could use would still close the door to everyone without one.
      if (expires_at != null && Date.parse(expires_at) <= clock.now()) {
        const fields = [{ field: 'expires_at', message: 'must be in the future' }]
        throw new RouteMQError('REQUEST_INVALID', 'a key must expire in the future', { details: { fields } })
      }
      const { key, record } = createKey({ name, scope, expiresAt }, clock.now())
      await keys().add(record, request.caller.actor)
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ ...keyView(record), key })
    },
  )

  app.delete(
    '/api/admin/keys/:prefix',
    {
      schema: {
        tags,
        summary: 'Revokes a key at once',
        params: z.object({ prefix: z.string().regex(/^[0-9a-f]{12}$/) }),
        response: answers({ 204: noContent }, [404]),
      },
    },
    async (request, reply) => {
      await keys().revoke(request.params.prefix, request.caller.actor)
      return reply.code(204).send()
    },
  )
}

function keyView({ hash: _, ...shown }: ApiKeyRecord) {
  return shown
}
