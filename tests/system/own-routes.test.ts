import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { createApp } from 'routemq'
import { z } from 'zod'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { ok, RestClient, refused } from '../e2e/support/rest-client.js'

const KEY = 'a-key-of-sixteen-or-more'

test("what createApp() hands an application's own routes has its types", () => {
  // The compiler is the judge here; the project below is only run.
  const app = createApp({
    root: '/nowhere',
    http: (fastify, services) => {
      fastify.post(
        '/plant/recipes',
        { config: { scope: 'write' }, schema: { body: z.object({ name: z.string() }) } },
        async ({ body, caller }) => ({
          name: body.name,
          by: caller.actor.name,
          devices: await services.devices.list(),
        }),
      )
    },
  })
  assert.equal(app.root, '/nowhere')
})

const APP = `import { createApp, RouteMQError } from 'routemq'
import { z } from 'zod'

const summary = z.object({ devices: z.array(z.string()), level: z.number() })

export default createApp({
  root: new URL('..', import.meta.url),
  http: (fastify, services) => {
    fastify.get('/plant/summary', { schema: { summary: 'The plant at a glance', response: { 200: summary } } }, async () => {
      const read = { op: 'read', device_id: 'office-eng', register_type: 'holding', address: 10, count: 1 } as const
      const { values } = await services.field.request(read)
      const devices = (await services.devices.list()).map(({ device_id }) => device_id)
      return { devices, level: Number(values[0]) }
    })
    fastify.post(
      '/plant/recipes/:id',
      {
        config: { scope: 'write' },
        schema: { params: z.object({ id: z.string().max(5) }), body: z.strictObject({ level: z.number().int() }) },
      },
      async ({ params, body, caller }) => {
        if (params.id === 'none') throw new RouteMQError('DEVICE_UNKNOWN', 'there is no such recipe')
        return { id: params.id, level: body.level, by: caller.actor.name }
      },
    )
    fastify.get('/plant/broken', async () => {
      throw new Error('secret words of a defect')
    })
    fastify.get('/plant/page', { config: { scope: 'open' } }, async () => ({ hello: 'everyone' }))
  },
})
`

test("an application's own routes share credentials, validation, problem documents and the OpenAPI document", async (t) => {
  const project = makeProject({ 'bootstrap/app.ts': APP })
  const product = await Product.start(project.root, { env: { ROUTEMQ_DEMO: 'true', HTTP_API_KEYS: KEY } })
  t.after(async () => {
    await product.stop()
    project.remove()
  })
  const url = product.run.http!.url
  const stranger = new RestClient(url)
  const admin = new RestClient(url, { authorization: `Bearer ${KEY}` })
  const { key } = await ok(admin.send('POST', '/api/admin/keys', { name: 'panel', scope: 'read' }), 201)
  const reader = new RestClient(url, { 'x-api-key': key })

  await refused(stranger.get('/plant/summary'), 401, 'UNAUTHENTICATED')
  await refused(reader.send('POST', '/plant/recipes/a', { level: 1 }), 403, 'FORBIDDEN')
  assert.deepEqual(await ok(stranger.get('/plant/page')), { hello: 'everyone' })
  await ok(admin.send('POST', '/api/devices/office-eng/registers/write', { address: 10, value: 77 }))
  assert.deepEqual(await ok(reader.get('/plant/summary')), { devices: ['formation', 'office-eng'], level: 77 })
  assert.deepEqual(await ok(admin.send('POST', '/plant/recipes/a', { level: 3 })), {
    id: 'a',
    level: 3,
    by: 'key:configured-1',
  })
  const { body } = await refused(admin.send('POST', '/plant/recipes/a', { level: 'x' }), 422, 'REQUEST_INVALID')
  assert.equal(body.errors[0].field, 'level')
  await refused(admin.send('POST', '/plant/recipes/toolong', { level: 1 }), 422, 'REQUEST_INVALID')
  await refused(admin.send('POST', '/plant/recipes/none', { level: 1 }), 404, 'DEVICE_UNKNOWN')
  const broken = await refused(admin.get('/plant/broken'), 500, 'INTERNAL')
  assert.ok(!broken.text.includes('secret words'), 'the cause is for the log, not for the caller')
  for (let tries = 0; tries < 100 && !product.text.includes('secret words of a defect'); tries += 1) await pause(50)
  assert.ok(product.text.includes('secret words of a defect'))
  const { paths } = await ok(admin.get('/openapi.json'))
  assert.equal(paths['/plant/summary'].get.summary, 'The plant at a glance')
  assert.ok(paths['/plant/recipes/{id}'].post.requestBody)
  const { headers } = await reader.get('/plant/summary')
  assert.equal(headers.get('x-content-type-options'), 'nosniff')
  const metrics = await admin.get('/metrics')
  assert.match(metrics.text, /route="\/plant\/recipes\/:id"/)
})
