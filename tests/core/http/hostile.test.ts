import assert from 'node:assert/strict'
import { Agent, request } from 'node:http'
import { test } from 'node:test'
import type { ReadingQuery } from '../../../core/http/services.js'
import { RUN_TOKEN } from './fake-services.js'
import { fullPlant } from './full-plant.js'
import { start } from './started.js'

const REQUESTS = 10_000

const HOSTILE: readonly string[] = [
  '',
  ' ',
  '0',
  '-1',
  '1e999',
  '99999999999999999999',
  'NaN',
  'true',
  'null',
  '[]',
  '{}',
  "' OR '1'='1",
  "'; DROP TABLE devices; --",
  '1; SELECT pg_sleep(10)',
  '" UNION SELECT password FROM users --',
  '\\',
  '%',
  '_',
  '../../etc/passwd',
  '..%2f..%2f',
  '/',
  '//',
  '.',
  '..',
  '+',
  '#',
  '$SYS/#',
  '\u0000',
  '\r\nx-evil: 1',
  '\u202e',
  '🏭',
  'ﬀ',
  '\ud800',
  '__proto__',
  'constructor',
  'toString',
  'hasOwnProperty',
  '<script>alert(1)</script>',
  '$' + '{7*7}',
  '{{7*7}}',
  '%00',
  '%n%s',
  'x'.repeat(5_000),
]

/** Small, seeded, good enough to pick (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** As a client puts it into a URL; half a surrogate pair has no UTF-8. */
function textOf(value: unknown): string {
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
  return text.replace(/[\ud800-\udfff]/g, (unit, at: number) =>
    /^[\ud800-\udbff][\udc00-\udfff]/.test(text.slice(at)) || /[\ud800-\udbff]$/.test(text.slice(0, at)) ? unit : '?',
  )
}

interface Schema {
  readonly type?: string | readonly string[]
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly properties?: Readonly<Record<string, Schema>>
  readonly items?: Schema
  readonly anyOf?: readonly Schema[]
  readonly minimum?: number
  readonly maximum?: number
  readonly $ref?: string
}

interface Operation {
  readonly parameters?: readonly { readonly in: string; readonly name: string; readonly schema: Schema }[]
  readonly requestBody?: { readonly content: Record<string, { readonly schema: Schema }> }
  readonly responses: Record<string, unknown>
}

test(`${REQUESTS} requests made from the OpenAPI document, hostile strings in every place: only documented answers`, async (context) => {
  const queries: ReadingQuery[] = []
  const services = fullPlant({
    readings: {
      page: async (query) => {
        queries.push(query)
        return { items: [], next: null }
      },
    },
  })
  const sidecar = await start(context, { services })
  const { body: document } = await sidecar.get('/openapi.json')
  const random = randomOf(20_261)
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!
  const hostile = () => pick(HOSTILE)

  const resolve = (schema: Schema): Schema => {
    const name = schema.$ref?.split('/').at(-1)
    return name === undefined ? schema : (document.components.schemas[name] as Schema)
  }
  /** Mostly what the schema asks for, so that requests get past the door; often enough not. */
  const sample = (given: Schema, depth = 0): unknown => {
    const schema = resolve(given)
    if (random() < 0.25)
      return pick<unknown>([hostile(), -1, 1e308, null, [], {}, [[[]]], true, { __proto__: null, constructor: 1 }])
    if (schema.enum !== undefined) return pick(schema.enum)
    if (schema.const !== undefined) return schema.const
    if (schema.anyOf !== undefined) return sample(pick(schema.anyOf), depth)
    const type = typeof schema.type === 'string' ? schema.type : pick(schema.type ?? ['string'])
    switch (type) {
      case 'object': {
        if (depth > 3) return {}
        const entries = Object.entries(schema.properties ?? {}).filter(() => random() < 0.6)
        const made = Object.fromEntries(entries.map(([key, each]) => [key, sample(each, depth + 1)]))
        return random() < 0.1 ? { ...made, [hostile()]: hostile() } : made
      }
      case 'array':
        return Array.from({ length: Math.floor(random() * 4) }, () => sample(schema.items ?? {}, depth + 1))
      case 'integer':
      case 'number':
        return Math.floor(
          (schema.minimum ?? 0) + random() * Math.min(100, (schema.maximum ?? 100) - (schema.minimum ?? 0)),
        )
      case 'boolean':
        return random() < 0.5
      case 'null':
        return null
      default:
        return random() < 0.5 ? pick(['meter-1', 'level', 'dead-1', 'slot-1', '10']) : hostile()
    }
  }

  const operations = Object.entries(document.paths as Record<string, Record<string, Operation>>)
    .flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
    )
    .filter(({ path }) => path !== '/api/stream')
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  context.after(() => agent.destroy())
  const send = (method: string, path: string, body: string | undefined) =>
    new Promise<{ status: number; text: string; type: string }>((done, fail) => {
      // The run token: some request makes a key, and from then on the door is closed to everyone without one.
      const authorization = `Bearer ${RUN_TOKEN}`
      const headers =
        body === undefined
          ? { authorization }
          : { authorization, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
      const sent = request({ host: '127.0.0.1', port: sidecar.port, method, path, agent, headers }, (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          text += chunk
        })
        response.on('end', () =>
          done({ status: response.statusCode ?? 0, text, type: response.headers['content-type'] ?? '' }),
        )
        response.on('error', fail)
      })
      sent.on('error', fail)
      sent.end(body)
    })

  const counts: Record<number, number> = {}
  const one = async () => {
    const { path, method, operation } = pick(operations)
    const parameters = operation.parameters ?? []
    const filled = path.replace(/\{([^}]+)\}/g, (_, name: string) => {
      const parameter = parameters.find((each) => each.in === 'path' && each.name === name)
      const value = sample(parameter?.schema ?? {})
      return encodeURIComponent(textOf(value).slice(0, 300)) || '%20'
    })
    const query = parameters
      .filter((each) => each.in === 'query' && random() < 0.5)
      .map(({ name, schema }) => `${name}=${encodeURIComponent(textOf(sample(schema)))}`)
    if (random() < 0.1) query.push(`${encodeURIComponent(textOf(hostile()))}=${encodeURIComponent(textOf(hostile()))}`)
    const content = operation.requestBody?.content['application/json']
    const body =
      content === undefined
        ? undefined
        : random() < 0.1
          ? pick(['{', 'nul', '[1,', '\u0000', '"'])
          : JSON.stringify(sample(content.schema))
    const target = `${filled}${query.length === 0 ? '' : `?${query.join('&')}`}`
    const { status, text, type } = await send(method, target, body)
    const where = `${method} ${target.slice(0, 300)} ${body?.slice(0, 300) ?? ''} -> ${status} ${text.slice(0, 300)}`
    counts[status] = (counts[status] ?? 0) + 1
    assert.notEqual(status, 500, where)
    // A path parameter may make another path of it: those answers belong to the router.
    const documented = status in operation.responses || [404, 405, 413].includes(status)
    assert.ok(documented, where)
    if (status >= 400 && method !== 'HEAD' && !(status === 503 && type.startsWith('application/json'))) {
      assert.equal(type, 'application/problem+json', where)
      assert.equal(typeof JSON.parse(text).code, 'string')
    }
    assert.doesNotMatch(text, /node_modules|\.ts:\d+|ENOENT/, where)
  }
  for (let sent = 0; sent < REQUESTS; sent += 8) await Promise.all(Array.from({ length: 8 }, one))
  context.diagnostic(`answers by status: ${JSON.stringify(counts)}; readings asked for: ${queries.length}`)
  assert.ok((counts[200] ?? 0) > REQUESTS / 20, 'the generator must also get through the door')
  assert.equal((await sidecar.get('/live')).status, 200)
  assert.equal(({} as { polluted?: unknown }).polluted, undefined)
})

test('paths that try to leave their place are refused or unknown, never served', async (context) => {
  const sidecar = await start(context)
  for (const path of [
    '/docs/../../etc/passwd',
    '/docs/static/..%2f..%2f..%2fpackage.json',
    '/docs/static/../../package.json',
    '//etc/passwd',
    '/%2e%2e/%2e%2e/etc/passwd',
    '/api/devices/..%2f..%2fadmin/registers?address=1',
    '/docs/static/%00',
    '/openapi.json/..',
  ]) {
    const { status, text } = await sidecar.get(path)
    assert.ok(status >= 400 && status < 500, `${path} ${status}`)
    assert.doesNotMatch(text, /root:|"dependencies"/)
  }
})

test('bodies made to exhaust or to pollute are refused', async (context) => {
  const sidecar = await start(context)
  const write = (body: string) => sidecar.send('POST', '/api/devices/meter-1/registers/write', body)
  assert.equal((await write(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)).status, 422)
  assert.ok([400, 422].includes((await write('{"__proto__":{"polluted":1},"address":1,"value":1}')).status))
  assert.ok(
    [400, 422].includes((await write('{"constructor":{"prototype":{"polluted":1}},"address":1,"value":1}')).status),
  )
  assert.equal((await write(`{"address":1,"value":${'9'.repeat(10_000)}}`)).status, 422)
  assert.equal((await write(JSON.stringify({ address: 1, values: Array(100_000).fill(1) }))).status, 422)
  assert.equal(({} as { polluted?: unknown }).polluted, undefined)
})
