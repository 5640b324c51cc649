import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import mqtt, { type IPublishPacket } from 'mqtt'
import { type Mosquitto, needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { freePort } from '../e2e/support/services.js'

interface SpanRecord {
  readonly name: string
  readonly process: string
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  readonly attributes: Readonly<Record<string, unknown>>
}

/** Takes what an OTLP exporter sends, as JSON over HTTP. */
async function receiver() {
  const spans: SpanRecord[] = []
  const bodies: string[] = []
  const headers: Record<string, unknown>[] = []
  const server = createServer((request, response) => {
    let body = ''
    request.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk
    })
    request.on('end', () => {
      bodies.push(body)
      headers.push({ ...request.headers, path: request.url })
      for (const { resource, scopeSpans } of JSON.parse(body).resourceSpans) {
        const process = valuesOf(resource.attributes)['service.instance.id'] as string
        for (const { spans: batch } of scopeSpans) {
          for (const { name, traceId, spanId, parentSpanId, attributes } of batch) {
            spans.push({ name, process, traceId, spanId, parentSpanId, attributes: valuesOf(attributes) })
          }
        }
      }
      response.setHeader('content-type', 'application/json').end('{}')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    spans,
    bodies,
    headers,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => new Promise((resolve) => server.close(resolve).closeAllConnections()),
  }
}

function valuesOf(attributes: readonly { key: string; value: Record<string, unknown> }[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))
}

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const CALLER = '00f067aa0ba902b7'
const PARENT = `00-${TRACE}-${CALLER}-01`
const SECRETS = {
  HTTP_API_KEYS: 'planted-http-key-0001',
  HTTP_JWT_SECRET: 'planted-jwt-secret-0002-0002-0002',
  ROUTEMQ_API_KEYS: 'planted-payload-key-0003',
  OTEL_EXPORTER_OTLP_HEADERS: 'x-trace-key=planted-trace-key-0004',
  MQTT_PASSWORD: 'planted-mqtt-password-0005',
}

/** What a handler sends on by itself: one message, and one call that another route answers. */
const RELAY = `import { Router } from 'routemq'

const router = new Router()
const shared = { qos: 1, shared: true, reply: true } as const
router.on(
  'relay/{id}/start',
  async (ctx) => {
    const { id } = ctx.params
    await ctx.publish(\`relay/\${id}/told\`, { hop: 1 }, { qos: 1, properties: { userProperties: { line: '3' } } })
    return ctx.call(\`relay/\${id}/asked\`, { hop: 2 }, { timeout: 30_000, userProperties: { line: '3' } })
  },
  { name: 'relay.start', ...shared },
)
router.on('relay/{id}/asked', () => ({ pong: true }), { name: 'relay.asked', ...shared })
export default router
`

describe('traces, request ids and log files of a running product', () => {
  let broker: Mosquitto | undefined
  let receiving: Awaited<ReturnType<typeof receiver>>
  let project: ReturnType<typeof makeProject>
  let product: Product
  const folder = mkdtempSync(join(tmpdir(), 'routemq-traces-'))
  const logFile = join(folder, 'plant.log')

  async function until<T>(find: () => T | undefined, what: string): Promise<T> {
    for (const startedAt = performance.now(); performance.now() - startedAt < 60_000; await pause(50)) {
      const found = find()
      if (found !== undefined && found !== false) return found
    }
    throw new Error(
      `never: ${what}\n${receiving.spans.map(({ name }) => name).join()}\n${readFileSync(logFile, 'utf8').slice(-3_000)}`,
    )
  }

  /** One command over MQTT 5, and its answer. */
  async function command(
    topic: string,
    payload: object,
    userProperties?: Record<string, string>,
  ): Promise<IPublishPacket> {
    const client = await mqtt.connectAsync(broker!.url, {
      protocolVersion: 5,
      username: 'anyone',
      password: SECRETS.MQTT_PASSWORD,
    })
    try {
      await client.subscribeAsync('plant/answers/1/response', { qos: 1 })
      let answered: IPublishPacket | undefined
      client.on('message', (_topic, _payload, packet) => {
        answered = packet
      })
      await client.publishAsync(topic, JSON.stringify(payload), {
        qos: 1,
        properties: {
          responseTopic: 'plant/answers/1/response',
          correlationData: Buffer.from('c-1'),
          ...(userProperties === undefined ? {} : { userProperties }),
        },
      })
      return await until(() => answered, 'an answer')
    } finally {
      await client.endAsync()
    }
  }

  before(async (t) => {
    if (!needsMosquitto(t as never)) return
    broker = await startMosquitto()
    receiving = await receiver()
    project = makeProject({ 'routers/relay.ts': RELAY })
    product = await Product.start(project.root, {
      env: {
        ...SECRETS,
        MQTT_BROKER: '127.0.0.1',
        MQTT_PORT: String(broker.port),
        MQTT_USERNAME: 'anyone',
        MODBUS_DEMO: 'true',
        MODBUS_DEMO_PORT: String(await freePort()),
        HTTP_PORT: String(await freePort()),
        LOG_FORMAT: 'json',
        LOG_LEVEL: 'debug',
        LOG_FILE: logFile,
        OTEL_EXPORTER_OTLP_ENDPOINT: receiving.url,
      },
    })
  })
  after(async () => {
    if (broker === undefined) return
    const code = await product?.stop()
    project?.remove()
    await receiving?.close()
    await broker.stop()
    rmSync(folder, { recursive: true, force: true })
    assert.equal(code, 0, product?.text)
  })

  test('MQTT: the attempt in the worker is a child of the sender, the field request in the gateway a child of the attempt, and the answer carries it on', async () => {
    const answer = await command(
      'devices/office-eng/read',
      { address: 10, request_id: 'order-1', api_key: SECRETS.ROUTEMQ_API_KEYS },
      { traceparent: PARENT },
    )
    assert.equal(JSON.parse(String(answer.payload)).error, undefined, String(answer.payload))
    const attempt = await until(
      () => receiving.spans.find(({ name }) => name === 'devices.read process'),
      'the span of the attempt',
    )
    const field = await until(
      () => receiving.spans.find(({ name, traceId }) => name.startsWith('modbus read') && traceId === TRACE),
      'the span of the field request',
    )
    assert.deepEqual([attempt.traceId, attempt.parentSpanId], [TRACE, CALLER])
    assert.match(attempt.process, /\/slot-\d$/)
    assert.deepEqual(
      [attempt.attributes['messaging.destination.name'], attempt.attributes['routemq.request_id']],
      ['devices/office-eng/read', 'order-1'],
    )
    assert.deepEqual([field.parentSpanId, field.attributes['modbus.device_id']], [attempt.spanId, 'office-eng'])
    assert.match(field.process, /\/gateway$/)
    assert.equal(answer.properties?.userProperties?.traceparent, `00-${TRACE}-${attempt.spanId}-01`)
    assert.equal(receiving.spans.filter(({ traceId }) => traceId === TRACE).length, 2, 'one span each')
  })

  test('what a handler publishes and calls carries its span on, beside the properties that it gave', async () => {
    const trace = TRACE.replace('4bf9', 'bbbb')
    const heard = new Map<string, IPublishPacket>()
    const listener = await mqtt.connectAsync(broker!.url, { protocolVersion: 5, username: 'anyone' })
    try {
      await listener.subscribeAsync(['relay/7/told', 'relay/7/asked'], { qos: 1 })
      listener.on('message', (topic, _payload, packet) => void heard.set(topic, packet))
      const answer = await command('relay/7/start', {}, { traceparent: `00-${trace}-${CALLER}-01` })
      assert.deepEqual(JSON.parse(String(answer.payload)), { pong: true })
      const of = (name: string) => receiving.spans.find((span) => span.name === name && span.traceId === trace)
      const started = await until(() => of('relay.start process'), 'the span of the handler')
      const call = await until(() => of('mqtt call'), 'the span of the call')
      const asked = await until(() => of('relay.asked process'), 'the span of the route that was called')
      const parents = [started, call, asked].map(({ parentSpanId }) => parentSpanId)
      assert.deepEqual(parents, [CALLER, started.spanId, call.spanId])
      const properties = async (topic: string) => {
        const packet = await until(() => heard.get(topic), `a message on ${topic}`)
        return { ...packet.properties?.userProperties }
      }
      assert.deepEqual(await properties('relay/7/told'), { traceparent: `00-${trace}-${started.spanId}-01`, line: '3' })
      assert.deepEqual(await properties('relay/7/asked'), { traceparent: `00-${trace}-${call.spanId}-01`, line: '3' })
      assert.equal(answer.properties?.userProperties?.traceparent, `00-${trace}-${started.spanId}-01`)
    } finally {
      await listener.endAsync()
    }
  })

  test('HTTP: the request is a child of the traceparent header, the field request a child of the request; the id comes back', async () => {
    const trace = TRACE.replace('4bf9', 'aaaa')
    const answer = await fetch(`${product.run.http!.url}/api/devices/office-eng/registers?address=10`, {
      headers: {
        'x-api-key': SECRETS.HTTP_API_KEYS,
        traceparent: `00-${trace}-${CALLER}-01`,
        'x-request-id': 'http-1',
      },
    })
    assert.deepEqual([answer.status, answer.headers.get('x-request-id')], [200, 'http-1'])
    const of = (name: string) => receiving.spans.find((span) => span.name === name && span.traceId === trace)
    const request = await until(() => of('GET /api/devices/:device_id/registers'), 'the span of the request')
    const field = await until(() => of('modbus read'), 'the span of the field request')
    assert.equal(request.parentSpanId, CALLER)
    assert.equal(field.parentSpanId, request.spanId)
    assert.deepEqual(
      [request.attributes['http.response.status_code'], request.attributes['routemq.request_id']],
      [200, 'http-1'],
    )
  })

  test('readings: each batch into the database is a span of the gateway, of its own', async () => {
    const insert = await until(() => receiving.spans.find(({ name }) => name === 'insert readings'), 'an insert')
    assert.match(insert.process, /\/gateway$/)
    assert.equal(insert.parentSpanId ?? '', '')
    assert.equal(insert.attributes['db.collection.name'], 'routemq_readings')
    assert.ok(Number(insert.attributes['db.operation.batch.size']) > 0)
  })

  test('a write is in the audit with the request that asked, over MQTT and over HTTP', async () => {
    await command('devices/office-eng/write', {
      address: 10,
      value: 21,
      request_id: 'order-2',
      api_key: SECRETS.ROUTEMQ_API_KEYS,
      timestamp: Date.now() / 1_000,
    })
    await product.fetch('/api/devices/office-eng/registers/write', {
      method: 'POST',
      body: JSON.stringify({ address: 10, value: 22 }),
      headers: { 'content-type': 'application/json', 'x-request-id': 'http-2' },
    })
    const { body } = await product.json('/api/audit?limit=100')
    const ids = (body.items as { action: string; details: { request_id?: string } }[])
      .filter(({ action }) => action === 'write')
      .map(({ details }) => details.request_id)
    assert.deepEqual(ids.sort(), ['http-2', 'order-2'])
  })

  test('the log file has the lines of gateway and workers, with the ids; standard output has the report only', async () => {
    const records = () =>
      readFileSync(logFile, 'utf8')
        .split('\n')
        .slice(0, -1) // the last is not whole yet
        .map((line) => JSON.parse(line) as Record<string, unknown>)
    await until(
      () => records().some(({ request_id }) => request_id === 'http-2') || undefined,
      'the line of the request',
    )
    const workers = new Set(records().map(({ worker }) => worker))
    assert.ok(workers.has('slot-1') || workers.has('slot-2'), [...workers].join())
    assert.ok(workers.has(undefined), 'the gateway')
    assert.ok(records().some(({ request_id, worker }) => request_id === 'order-1' && worker !== undefined))
    assert.ok(!product.text.includes('"level"'), product.text)
  })

  test('no planted secret is in a log, a trace, the metrics, an answer or an error', async () => {
    const key = SECRETS.HTTP_API_KEYS
    const base = product.run.http!.url
    const answers: string[] = []
    const ask = async (path: string, init: RequestInit = {}) => {
      const answer = await fetch(base + path, init)
      answers.push(JSON.stringify([...answer.headers]), await answer.text())
    }
    // As a wrong caller would leave them: in the path, the query, the body, a broken credential.
    await ask(`/api/devices?api_key=${key}`)
    await ask(`/nothing/${key}`)
    await ask('/api/devices', { headers: { authorization: `Bearer ${key}x` } })
    await ask('/api/devices', { headers: { authorization: `Strange ${key}` } })
    for (const path of [
      '/metrics',
      '/health',
      '/ready',
      '/openapi.json',
      '/api/admin/workers',
      '/api/events',
      '/api/audit?limit=1000',
    ])
      await ask(path, { headers: { 'x-api-key': key } })
    await command('devices/office-eng/read', { address: 'no', api_key: SECRETS.ROUTEMQ_API_KEYS })
    await command('devices/office-eng/read', { address: 10, api_key: 'wrong' })
    await pause(2_500)
    const shown = product.run.http!.token
    const outputs: Record<string, string> = {
      'standard output': product.text,
      'the log file': readFileSync(logFile, 'utf8'),
      traces: receiving.bodies.join('\n'),
      // What a caller wrote into its own path comes back to it as the instance of the problem.
      answers: answers.filter((text) => !text.includes('"instance":"/nothing/')).join('\n'),
    }
    const values = [...Object.values(SECRETS).map((value) => value.replace('x-trace-key=', '')), shown]
    for (const [where, text] of Object.entries(outputs)) {
      assert.ok(text.length > 200, `${where} has content`)
      for (const value of values)
        assert.ok(
          !text.includes(value),
          `${value} is in ${where}: ${text.slice(Math.max(0, text.indexOf(value) - 300)).slice(0, 400)}`,
        )
    }
    assert.ok(
      receiving.headers.every((sent) => sent['x-trace-key'] === 'planted-trace-key-0004' && sent.path === '/v1/traces'),
    )
  })
})
