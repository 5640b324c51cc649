import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '../core/support/until.js'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'

test('the last known values are there after a restart, before anything was read', async (t) => {
  const project = makeProject()
  const first = await Product.start(project.root, { env: { ROUTEMQ_DEMO: 'true', MODBUS_DEMO_PORT: '0' } })
  t.after(async () => {
    await first.stop()
    project.remove()
  })
  // The virtual device needs its port again, so that it is the same bus.
  const port = String(first.run.device?.port)
  const cached = async (product: Product) => {
    const response = await product.fetch('/api/admin/cache')
    return (await response.json()) as { key: string; values: unknown; cached_at: string }[]
  }
  await until(async () => (await cached(first)).length > 0)
  assert.equal(await first.stop(), 0)

  const env = { ROUTEMQ_DEMO: 'true', MODBUS_DEMO_PORT: port, POLL_ENABLED: 'false' }
  const second = await Product.start(project.root, { env })
  t.after(() => second.stop())
  const [entry] = await cached(second)
  assert.ok(entry !== undefined)
  assert.ok(Date.parse(entry.cached_at) < Date.parse(second.run.started_at), 'from before')
  const [device, type, address, count] = entry.key.split(':')
  const query = `address=${address}&count=${count}&register_type=${type}&source=cache`
  const { body } = await second.json(`/api/devices/${device}/registers?${query}`)
  assert.equal(body.source, 'live', 'what is stale is no hit of the cache')
  assert.equal(await second.stop(), 0)
})
