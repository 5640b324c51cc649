import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { until } from '../core/support/until.js'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'

test('a write that was on the wire when the gateway was killed is in the audit, as unknown', async (t) => {
  const project = makeProject()
  const written: Buffer[] = []
  // A device that takes writes and is silent.
  const device = createServer((socket) => socket.on('error', () => {}).on('data', (data) => written.push(data)))
  device.listen(0, '127.0.0.1')
  await once(device, 'listening')
  const env = { ROUTEMQ_DEMO: 'true', MODBUS_DEMO_PORT: '0', POLL_ENABLED: 'false' }
  const first = await Product.start(project.root, { env })
  t.after(async () => {
    await first.stop()
    device.close()
    project.remove()
  })
  const post = (path: string, body: object) =>
    first.fetch(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  const { port } = device.address() as AddressInfo
  const made = await post('/api/admin/devices', {
    device_id: 'silent',
    host: '127.0.0.1',
    port,
    framer: 'SOCKET',
    timeout: 60,
    points: [{ name: 'level', address: 10 }],
  })
  assert.equal(made.status, 201)
  const answer = post('/api/devices/silent/registers/write', { address: 10, value: 15 }).catch(() => undefined)
  await until(() => written.length > 0)
  first.child.kill('SIGKILL')
  await answer

  const second = await Product.start(project.root, { env })
  t.after(() => second.stop())
  const audited = async () => {
    const { status, body } = await second.json('/api/audit?device_id=silent')
    // The product is ready without its database, and opens what was not closed meanwhile.
    if (status === 503) return []
    assert.equal(status, 200, JSON.stringify(body))
    const items = body.items as { outcome: string; code: string; after: unknown; action: string }[]
    return items.filter(({ action }) => action === 'write')
  }
  await until(async () => (await audited()).length > 0)
  const [entry, ...others] = await audited()
  assert.deepEqual([entry?.outcome, entry?.code, entry?.after], ['unknown', 'WRITE_OUTCOME_UNKNOWN', [15]])
  assert.deepEqual(others, [])
  assert.equal(await second.stop(), 0)
})
