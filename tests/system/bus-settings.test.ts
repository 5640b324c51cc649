import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { startVirtualDevice } from '../../core/modbus/server/virtual-device.js'
import { Product, runCommand } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'

test('a bus of several devices is used in another way while the product runs: by REST, and by an import that is all or none', async (t) => {
  const units = { 1: { holding: [11] }, 2: { holding: [22] } }
  const bus = await startVirtualDevice({ units })
  const devices = [1, 2].map((slave_id) => ({
    device_id: `d${slave_id}`,
    host: '127.0.0.1',
    port: bus.port,
    slave_id,
    framer: 'RTU',
  }))
  const project = makeProject({ 'app/devices.ts': `export default ${JSON.stringify({ devices, targets: [] })}` })
  const env = { ROUTEMQ_DEMO: 'true' }
  let product: Product | undefined
  t.after(async () => {
    await product?.stop()
    await bus.close()
    project.remove()
  })
  product = await Product.start(project.root, { env, args: ['--workers', '0'] })
  const put = (query: string, body: object) =>
    product!.json(`/api/admin/devices/d1${query}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  const values = async () =>
    Promise.all(
      ['d1', 'd2'].map(async (id) => (await product!.json(`/api/devices/${id}/registers?address=0`)).body.values),
    )
  const alone = await put('', { framer: 'SOCKET' })
  assert.deepEqual([alone.status, alone.body.code], [409, 'BUS_CONFLICT'])
  const whole = await put('?whole_bus=true', { framer: 'SOCKET' })
  assert.deepEqual([whole.status, whole.body.framer], [200, 'SOCKET'])
  assert.deepEqual(await values(), [[11], [22]], 'both speak the new framing at once')

  const run = (...args: string[]) => runCommand(project.root, args, { env })
  const other = await startVirtualDevice({ units: { 1: { holding: [33] }, 2: { holding: [44] } } })
  t.after(() => other.close())
  const moved = devices.map(({ device_id }) => ({ device_id, port: other.port }))
  const targets = [
    { device_id: 'd1', address: 0, interval_ms: 1_000 },
    ...Array.from({ length: 50 }, (_, at) => ({ device_id: 'd2', address: at * 500, count: 100, interval_ms: 100 })),
  ]
  writeFileSync(`${project.root}/plant.json`, JSON.stringify({ devices: moved, targets }))
  for (const args of [['--dry-run'], []]) {
    const { code, stderr } = await run('device:import', 'plant.json', ...args)
    assert.equal(code, 5, stderr)
    assert.match(stderr, /plant\.json:1: BUS_LOAD_REFUSED: /)
  }
  assert.deepEqual(await values(), [[11], [22]], 'nothing of it was taken')
  writeFileSync(`${project.root}/plant.json`, JSON.stringify({ devices: moved, targets: targets.slice(0, 1) }))
  const taken = await run('device:import', 'plant.json')
  assert.equal(taken.stdout.trim(), '0 devices created, 2 changed; 1 polling targets created, 0 changed', taken.stderr)
  assert.deepEqual(await values(), [[33], [44]])
  const audited = async () =>
    ((await product!.json('/api/audit?limit=100')).body.items as { action: string }[]).map(({ action }) => action)
  const before = await audited()
  assert.equal(before.filter((action) => action === 'device.update').length, 4)
  assert.match((await run('device:import', 'plant.json')).stdout, /^Nothing to change/)
  assert.deepEqual(await audited(), before)
})
