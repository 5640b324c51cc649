import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify, { type FastifyRequest } from 'fastify'
import { until } from '../core/support/until.js'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { ok, RestClient } from '../e2e/support/rest-client.js'

interface Operation {
  readonly security?: readonly object[]
  readonly responses: Record<string, { readonly content?: Record<string, { readonly schema?: object }> }>
}
interface Document {
  readonly paths: Record<string, Record<string, Operation>>
}

/** What fails where an answer is not what the document promises for its status and type. Nothing is bent to fit. */
async function judgeOf(document: Document) {
  const ajv = {
    coerceTypes: false,
    removeAdditional: false,
    useDefaults: false,
    allErrors: true,
    strict: false,
  } as const
  const fastify = Fastify({ ajv: { customOptions: ajv } })
  fastify.addSchema({ $id: 'document', ...document })
  let compile: FastifyRequest['compileValidationSchema'] | undefined
  fastify.get('/', async (request) => {
    compile = request.compileValidationSchema.bind(request)
  })
  await fastify.inject('/')
  const step = (name: string) => encodeURIComponent(name.replaceAll('~', '~0').replaceAll('/', '~1'))
  return (method: string, path: string, answer: { status: number; headers: Headers; text: string }) => {
    const where = `${method} ${path} -> ${answer.status} ${answer.text.slice(0, 300)}`
    const operation = document.paths[path]?.[method.toLowerCase()]
    const response = operation?.responses[answer.status]
    assert.ok(response !== undefined, `${where}: this status is not in the document`)
    const type = (answer.headers.get('content-type') ?? '').split(';')[0]!
    assert.ok(response.content?.[type]?.schema !== undefined, `${where}: ${type} is not in the document`)
    if (!type.endsWith('json')) return
    const steps = ['paths', path, method.toLowerCase(), 'responses', String(answer.status), 'content', type, 'schema']
    const schema = { $ref: `document#/${steps.map(step).join('/')}` }
    const validate = compile!(schema)
    assert.ok(validate(JSON.parse(answer.text)), `${where}: ${JSON.stringify(validate.errors)}`)
  }
}

test('what a running product answers is what its OpenAPI document says, on every path', async (t) => {
  const project = makeProject()
  const product = await Product.start(project.root, {
    env: { ROUTEMQ_DEMO: 'true', DATABASE_URL: 'sqlite://plant.db', LOG_LEVEL: 'warn' },
  })
  t.after(async () => {
    await product.stop()
    project.remove()
  })
  const { url, token } = product.run.http!
  const rest = new RestClient(url, { authorization: `Bearer ${token}` })
  const document = (await rest.get('/openapi.json')).body as Document
  const judge = await judgeOf(document)

  const { host, port } = product.run.device!
  const device = { host, port, framer: 'SOCKET', timeout_ms: 2_000 }
  const points = [
    { name: 'level', address: 10, unit: '%' },
    { name: 'open', address: 1, register_type: 'coil' },
  ]
  await ok(rest.send('POST', '/api/admin/devices', { ...device, device_id: 'tank', points }), 201)
  // Without points a block is stored as it is.
  await ok(rest.send('POST', '/api/admin/devices', { ...device, device_id: 'raw' }), 201)
  const poll = (target: object) => ok(rest.send('POST', '/api/admin/polling', { interval_ms: 1_000, ...target }), 201)
  const { id } = await poll({ device_id: 'tank', address: 10, count: 2 })
  await poll({ device_id: 'raw', address: 20, count: 4 })
  await poll({ device_id: 'raw', register_type: 'coil', address: 0, count: 3 })
  const { prefix } = await ok(rest.send('POST', '/api/admin/keys', { name: 'n', scope: 'read' }), 201)
  assert.match(prefix, /^[0-9a-f]{12}$/)
  for (const path of ['/api/readings?device_id=tank', '/api/readings?device_id=raw&register_type=coil&address=0']) {
    await until(async () => (await ok(rest.get(path))).items.length > 0, path)
  }
  await ok(rest.send('POST', '/api/devices/tank/registers/write', { point: 'level', value: 5 }))

  const hour = new Date(Date.now() - 3_600_000).toISOString()
  const asked: Readonly<Record<string, readonly string[]>> = {
    '/api/devices/{device_id}/registers': ['?address=10', '?address=10&source=cache', '?address=x'],
    '/api/readings': ['', '?device_id=raw', '?device_id=raw&register_type=coil&address=0', '?cursor=x'],
    '/api/readings/buckets': [
      `?device_id=tank&point=level&from=${hour}&bucket=1m`,
      `?device_id=tank&point=level&from=${hour}&bucket=1s`,
    ],
    '/api/events': ['', '?cursor=x'],
  }
  const fill = (path: string, device: string) =>
    path
      .replace('{device_id}', device)
      .replace('{point}', 'level')
      .replace('{target_id}', String(id))
      .replace('{id}', 'unknown')
  const good = new Set<string>()
  const ask = async (path: string, target: string) => {
    const answer = await rest.get(target)
    judge('GET', path, answer)
    if (answer.status === 200) good.add(path)
  }
  const paths = Object.keys(document.paths).filter((path) => document.paths[path]?.get !== undefined)
  for (const path of paths.filter((each) => each !== '/api/stream')) {
    for (const query of asked[path] ?? ['']) await ask(path, fill(path, 'tank') + query)
    if (path.includes('{')) await ask(path, `${fill(path, 'nobody')}${asked[path]?.[0] ?? ''}`)
  }
  const never = paths.filter((path) => !good.has(path))
  assert.deepEqual(
    never.sort(),
    ['/api/admin/dead/{id}', '/api/stream'],
    'all others have been judged when they succeed',
  )

  const blocks = (await ok(rest.get('/api/readings?device_id=raw'))).items as { value: unknown }[]
  assert.ok(blocks.length > 0 && blocks.every(({ value }) => Array.isArray(value)), 'raw blocks were among them')
  const post = async (path: string, body: string, type = 'application/json') => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': type }
    const response = await fetch(url + path, { method: 'POST', headers, body })
    judge('POST', path, { status: response.status, headers: response.headers, text: await response.text() })
    return response.status
  }
  assert.equal(await post('/api/admin/devices', JSON.stringify({ pad: 'x'.repeat(2_000_000) })), 413)
  assert.equal(await post('/api/admin/devices', 'x', 'application/xml'), 415)
  assert.equal(await post('/api/metrics/reset', 'x', 'application/xml'), 415)
  for (const [path, { get }] of Object.entries(document.paths)) {
    assert.deepEqual(get?.security, /^\/(live|ready)$/.test(path) ? [] : undefined, path)
  }
})
