import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLogger } from '../../../core/observability/create-logger.js'
import { Metrics } from '../../../core/observability/metrics.js'
import { plant, RUN_TOKEN } from './fake-services.js'
import { start } from './started.js'

function recorded() {
  const lines: string[] = []
  const logger = createLogger({ level: 'debug', format: 'json' }, {}, { write: (line) => void lines.push(line) })
  return { lines, logger, records: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>) }
}

test('a request is one line with its id, its caller and its status, and the id is the one given', async (context) => {
  const { logger, records } = recorded()
  const sidecar = await start(context, { logger })
  await sidecar.get('/api/devices/nobody/registers?address=1', { headers: { 'x-request-id': 'job-7' } })
  await sidecar.send('POST', '/api/admin/devices/reload', undefined, { headers: { 'x-request-id': 'job-8' } })
  const lines = records().filter(({ request_id }) => String(request_id).startsWith('job-'))
  assert.deepEqual(
    lines.map(({ level, request_id, method, path, status, caller }) => [
      level,
      request_id,
      method,
      path,
      status,
      caller,
    ]),
    [
      ['debug', 'job-7', 'GET', '/api/devices/nobody/registers', 404, 'open:127.0.0.1'],
      ['info', 'job-8', 'POST', '/api/admin/devices/reload', 200, 'open:127.0.0.1'],
    ],
  )
})

test('a defect is logged with its cause under the id that the caller was told', async (context) => {
  const { logger, records } = recorded()
  const answer = () => Promise.reject(new TypeError('values is not iterable'))
  const sidecar = await start(context, { logger, services: plant({ answer }) })
  const { body } = await sidecar.get('/api/devices/meter-1/registers?address=1')
  const [line] = records().filter(({ level }) => level === 'error')
  assert.equal(line?.request_id, body.request_id)
  assert.match(JSON.stringify(line), /values is not iterable/)
})

test('no secret reaches a log, whatever way it came', async (context) => {
  const { logger, lines } = recorded()
  const leaky = () => Promise.reject(new Error('connect postgres://plant:hunter2@db failed'))
  const sidecar = await start(context, {
    logger,
    services: plant({ answer: leaky }),
    config: { apiKeys: ['hunter2-key'] },
  })
  await sidecar.get('/api/devices?api_key=hunter2', { headers: { authorization: 'Bearer hunter2-wrong' } })
  await sidecar.get('/api/devices', { headers: { 'x-api-key': 'hunter2-key' } })
  await sidecar.get('/api/devices', { headers: { authorization: `Bearer ${RUN_TOKEN}`, cookie: 'session=hunter2' } })
  await sidecar.get('/api/devices/meter-1/registers?address=1&token=hunter2', {
    headers: { 'x-api-key': 'hunter2-key' },
  })
  await sidecar.send('POST', '/api/admin/devices', { password: 'hunter2' }, { headers: { 'x-api-key': 'hunter2-key' } })
  assert.ok(lines.length >= 5)
  assert.doesNotMatch(lines.join(''), /hunter2/)
  assert.ok(!lines.join('').includes(RUN_TOKEN))
})

test('HTTP is counted by path pattern, so that no caller makes the metrics grow', async (context) => {
  const metrics = new Metrics({ process: 'gateway' })
  context.after(() => metrics.stop())
  const base = plant()
  const services = {
    ...base,
    metrics: { ...base.metrics, prometheus: () => metrics.text(), observeHttp: metrics.observeHttp.bind(metrics) },
  }
  const sidecar = await start(context, { services })
  for (let count = 0; count < 50; count += 1) {
    await sidecar.get(`/api/devices/device-${count}/registers?address=1`)
    await sidecar.get(`/nowhere/${count}`)
  }
  const { text } = await sidecar.get('/metrics')
  const routes = new Set([...text.matchAll(/route="([^"]+)"/g)].map(([, route]) => route))
  assert.deepEqual([...routes].sort(), ['/api/devices/:device_id/registers', 'unknown'])
  const counted = /routemq_http_request_duration_seconds_count\{[^}]*status="4xx"[^}]*\} 50\n/g
  assert.equal(text.match(counted)?.length, 2, text)
})
