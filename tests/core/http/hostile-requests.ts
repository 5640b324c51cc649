import assert from 'node:assert/strict'
import { Agent, request } from 'node:http'
import { seeded } from '../support/seeded.js'

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

export interface HostileRequest {
  readonly method: string
  /** Path and query, as they are sent. */
  readonly target: string
  readonly body: string | undefined
  readonly operation: Operation
}

export interface HostileAnswer {
  readonly status: number
  readonly text: string
  readonly type: string
}

interface Document {
  readonly paths: Record<string, Record<string, Operation>>
  readonly components: { readonly schemas: Record<string, Schema> }
}

/** Makes requests from an OpenAPI document: mostly as it asks for, with hostile strings in every place often enough. */
export function hostileRequests(
  document: unknown,
  seed: number,
  wanted: (path: string, method: string) => boolean = () => true,
): () => HostileRequest {
  const { paths, components } = document as Document
  const random = seeded(seed)
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!
  const hostile = () => pick(HOSTILE)

  const resolve = (schema: Schema): Schema => {
    const name = schema.$ref?.split('/').at(-1)
    return name === undefined ? schema : components.schemas[name]!
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

  const operations = Object.entries(paths)
    .flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
    )
    // A stream has no end to wait for.
    .filter(({ path, method }) => path !== '/api/stream' && wanted(path, method))

  return () => {
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
    return { method, target, body, operation }
  }
}

/** Sends as it stands, over connections that are kept, with a key. */
function senderTo(base: string, key: string) {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  const { hostname, port } = new URL(base)
  const authorization = `Bearer ${key}`
  const send = ({ method, target: path, body }: HostileRequest) =>
    new Promise<HostileAnswer>((done, fail) => {
      const headers =
        body === undefined
          ? { authorization }
          : { authorization, 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
      const sent = request({ host: hostname, port, method, path, agent, headers }, (response) => {
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
  return { send, close: () => agent.destroy() }
}

/** Fails where an answer is not one that the document promises, or tells what it should not. */
function judge({ method, target, body, operation }: HostileRequest, { status, text, type }: HostileAnswer): void {
  const where = `${method} ${target.slice(0, 300)} ${body?.slice(0, 300) ?? ''} -> ${status} ${text.slice(0, 300)}`
  assert.notEqual(status, 500, where)
  assert.ok(status in operation.responses, where)
  if (status >= 400 && method !== 'HEAD' && !(status === 503 && type.startsWith('application/json'))) {
    assert.equal(type, 'application/problem+json', where)
    assert.equal(typeof JSON.parse(text).code, 'string')
  }
  assert.doesNotMatch(text, /node_modules|\.ts:\d+|ENOENT/, where)
}

/** Sends so many of the requests, some at once, with every answer judged, and looked at; how often each status came. */
export async function sendAll(
  to: { readonly url: string; readonly key: string },
  next: () => HostileRequest,
  { requests, atOnce }: { readonly requests: number; readonly atOnce: number },
  look: (answer: HostileAnswer, request: HostileRequest) => void = () => {},
): Promise<Readonly<Record<number, number>>> {
  const { send, close } = senderTo(to.url, to.key)
  const counts: Record<number, number> = {}
  const one = async () => {
    const request = next()
    const answer = await send(request)
    counts[answer.status] = (counts[answer.status] ?? 0) + 1
    judge(request, answer)
    look(answer, request)
  }
  try {
    for (let sent = 0; sent < requests; sent += atOnce) await Promise.all(Array.from({ length: atOnce }, one))
  } finally {
    close()
  }
  assert.ok((counts[200] ?? 0) > requests / 20, 'the generator must also get through the door')
  return counts
}
