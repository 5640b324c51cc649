import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DevicePlanView } from '../../core/http/services/plant.js'
import { startVirtualDevice } from '../../core/modbus/server/virtual-device.js'

import { Product, runCommand } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'

test('device:plan tells what a running product has measured and learned, and otherwise begins from 5 ms', async (t) => {
  // A unit that takes 100 ms to begin, and does not have the last of what is asked for.
  const unit = await startVirtualDevice({ units: { 1: { ranges: { holding: [[0, 27]] } } } })
  unit.faults.set('*', { kind: 'delay', ms: 100 })
  const targets = Array.from({ length: 10 }, (_, at) => ({
    device_id: 'slow',
    address: at * 3,
    count: 3,
    interval_ms: 1_000,
  }))
  const device = { device_id: 'slow', host: '127.0.0.1', port: unit.port, framer: 'SOCKET' }
  const project = makeProject({
    'app/devices.ts': `export default ${JSON.stringify({ devices: [device], targets })}`,
  })
  let product: Product | undefined
  t.after(async () => {
    await product?.stop()
    await unit.close()
    project.remove()
  })
  const env = { ROUTEMQ_DEMO: 'true' }
  const plan = async () => {
    const { code, stdout, stderr } = await runCommand(project.root, ['device:plan', 'slow', '--json'], { env })
    assert.equal(code, 0, stderr)
    return JSON.parse(stdout) as DevicePlanView
  }
  const before = await plan()
  assert.deepEqual([before.reads.length, before.measured_round_trip_ms], [1, null])
  assert.ok(before.bus_load_percent < 1, `${before.bus_load_percent} %`)
  product = await Product.start(project.root, { env })
  let now = await plan()
  for (
    const end = performance.now() + 60_000;
    now.reads.length === 1 || now.bus_load_percent < 15;
    now = await plan()
  ) {
    assert.ok(performance.now() < end, JSON.stringify(now))
  }
  assert.deepEqual(
    now.reads.map(({ address, count }) => [address, count]),
    [
      [0, 27],
      [27, 3],
    ],
  )
  assert.ok(now.measured_round_trip_ms! >= 100)
})
