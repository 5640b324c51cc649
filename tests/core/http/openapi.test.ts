import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fullPlant } from './full-plant.js'
import { start } from './started.js'

/** Every call of the contract and of the additions, as people know them. */
const CALLS = `
GET /live
GET /ready
GET /health
GET /metrics
GET /api/devices
GET /api/devices/gateways
GET /api/devices/{device_id}/registers
POST /api/devices/{device_id}/registers/write
POST /api/devices/{device_id}/write
GET /api/devices/{device_id}/identity
GET /api/devices/{device_id}/points
GET /api/points
GET /api/admin/devices
GET /api/admin/devices/active
GET /api/admin/devices/{device_id}
POST /api/admin/devices
PUT /api/admin/devices/{device_id}
DELETE /api/admin/devices/{device_id}
POST /api/admin/devices/{device_id}/activate
POST /api/admin/devices/reload
POST /api/admin/plant
GET /api/admin/points
POST /api/admin/points
GET /api/admin/points/{device_id}/{point}
PUT /api/admin/points/{device_id}/{point}
DELETE /api/admin/points/{device_id}/{point}
GET /api/admin/polling
GET /api/admin/polling/active
GET /api/admin/polling/device/{device_id}
GET /api/admin/polling/device/{device_id}/plan
GET /api/admin/polling/{target_id}
POST /api/admin/polling
PUT /api/admin/polling/{target_id}
DELETE /api/admin/polling/{target_id}
POST /api/admin/polling/{target_id}/activate
POST /api/admin/polling/reload
GET /api/admin/cache
GET /api/admin/cache/stats
GET /api/admin/cache/device/{device_id}
DELETE /api/admin/cache
GET /api/metrics
POST /api/metrics/reset
GET /api/admin/routes
GET /api/admin/buses
GET /api/admin/workers
POST /api/admin/workers/restart
POST /api/admin/workers/scale
GET /api/admin/dead
GET /api/admin/dead/{id}
POST /api/admin/dead/{id}/retry
DELETE /api/admin/dead/{id}
GET /api/admin/keys
POST /api/admin/keys
DELETE /api/admin/keys/{prefix}
GET /api/readings
GET /api/readings/buckets
GET /api/readings.csv
GET /api/events
GET /api/audit
GET /api/stream`
  .trim()
  .split('\n')

interface Operation {
  readonly summary?: string
  readonly parameters?: readonly {
    readonly in: string
    readonly name: string
    readonly required?: boolean
    readonly schema: Record<string, unknown>
  }[]
  readonly requestBody?: { readonly required?: boolean; readonly content: Record<string, { schema: unknown }> }
  readonly responses: Record<
    string,
    {
      readonly description: string
      readonly content?: Record<string, { readonly schema?: { readonly $ref?: string } }>
    }
  >
}

test('every route is in the OpenAPI document, and nothing else is', async (context) => {
  const sidecar = await start(context, { services: fullPlant() })
  const { body: document } = await sidecar.get('/openapi.json')
  assert.equal(document.openapi, '3.1.0')
  const listed = Object.entries(document.paths as Record<string, Record<string, Operation>>).flatMap(
    ([path, operations]) => Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
  )
  assert.deepEqual(listed.filter((each) => !each.startsWith('HEAD')).sort(), [...CALLS].sort())
})

test('every operation says what it takes and answers, problems included, and every reference leads somewhere', async (context) => {
  const sidecar = await start(context, { services: fullPlant() })
  const { body: document, text } = await sidecar.get('/openapi.json')
  const names = new Set(Object.keys(document.components.schemas))
  for (const [, name] of text.matchAll(/"#\/components\/schemas\/([^"]+)"/g)) assert.ok(names.has(name!), name)
  for (const [path, operations] of Object.entries(document.paths as Record<string, Record<string, Operation>>)) {
    for (const [method, operation] of Object.entries(operations)) {
      const where = `${method} ${path}`
      assert.ok(operation.summary, where)
      assert.ok(
        Object.keys(operation.responses).some((status) => status.startsWith('2')),
        where,
      )
      for (const [status, response] of Object.entries(operation.responses)) {
        assert.ok(response.description, `${where} ${status}`)
        if (Number(status) < 400 || (status === '503' && /^\/(health|ready)$/.test(path))) continue
        assert.equal(
          response.content?.['application/problem+json']?.schema?.$ref,
          '#/components/schemas/Problem',
          `${where} ${status}`,
        )
      }
      for (const [, name] of path.matchAll(/\{([^}]+)\}/g)) {
        assert.ok(
          operation.parameters?.some((each) => each.in === 'path' && each.name === name && each.required === true),
          where,
        )
      }
    }
  }
})

test('the documentation page needs nothing from elsewhere', async (context) => {
  const sidecar = await start(context)
  const page = await sidecar.get('/docs/')
  assert.equal(page.status, 200)
  const parts = [...page.text.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, address]) => address!)
  assert.ok(parts.length >= 4)
  for (const part of parts) {
    assert.ok(!/^(https?:)?\/\//.test(part), part)
    const path = new URL(part, `${sidecar.url}/docs/`).pathname
    assert.equal((await sidecar.get(path)).status, 200, path)
  }
  assert.match(String(page.headers['content-security-policy']), /default-src 'self'/)
  assert.doesNotMatch(String(page.headers['content-security-policy']), /upgrade-insecure|https:/)
})

test('every call without parameters answers as its schema says', async (context) => {
  const sidecar = await start(context, { services: fullPlant() })
  for (const each of CALLS) {
    const [method, path] = each.split(' ') as [string, string]
    if (method !== 'GET' || path === '/api/stream' || path === '/api/readings/buckets') continue
    const filled = path
      .replace('{device_id}', 'meter-1')
      .replace('{point}', 'level')
      .replace('{target_id}', '1')
      .replace('{id}', 'dead-1')
    const answer = await sidecar.get(filled.endsWith('/registers') ? `${filled}?address=1` : filled)
    assert.equal(answer.status, 200, `${each}: ${answer.text.slice(0, 300)}`)
  }
})
