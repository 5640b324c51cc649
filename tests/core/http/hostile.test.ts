import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ReadingQuery } from '../../../core/http/services/history.js'
import { RUN_TOKEN } from './fake-services.js'
import { fullPlant } from './full-plant.js'
import { hostileRequests, sendAll } from './hostile-requests.js'
import { start } from './started.js'

const REQUESTS = 10_000

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
  const next = hostileRequests((await sidecar.get('/openapi.json')).body, 20_261)
  // The run token: some request makes a key, and from then on the door is closed to everyone without one.
  const to = { url: sidecar.url, key: RUN_TOKEN }
  const counts = await sendAll(to, next, { requests: REQUESTS, atOnce: 8 })
  context.diagnostic(`answers by status: ${JSON.stringify(counts)}; readings asked for: ${queries.length}`)
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
