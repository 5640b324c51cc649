import assert from 'node:assert/strict'
import { test } from 'node:test'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import { meter, plant } from './fake-services.js'
import { start } from './started.js'

const serial = normalizeDevice({
  device_id: 'line',
  path: '/dev/ttyUSB0',
  points: [{ name: 'level', address: 10, type: 'float32', unit: 'm', scale: 0.5 }],
})

/** What scripts do: get a record, change one field of it, put all of it back. */
for (const [what, path, change, id] of [
  ['a device', '/api/admin/devices/meter-1', { timeout: 5 }, { device_id: 'meter-2' }],
  ['a device on a serial line', '/api/admin/devices/line', { baud_rate: 19_200 }, { device_id: 'meter-2' }],
  ['a polling target', '/api/admin/polling/1', { description: 'x' }, { id: 2 }],
  ['a point', '/api/admin/points/meter-1/level', { max: 50 }, { name: 'reset' }],
  ['a point, by its device', '/api/admin/points/meter-1/level', { max: 50 }, { device_id: 'meter-2' }],
] as const) {
  test(`${what} that is shown may be sent back with a field changed; another id is refused`, async (context) => {
    const sidecar = await start(context, {
      services: plant({ records: [meter('meter-1'), meter('meter-2', 1), serial] }),
    })
    const shown = (await sidecar.get(path)).body
    const { updated_at: _, ...kept } = shown
    const { status, body } = await sidecar.send('PUT', path, { ...shown, ...change })
    assert.equal(status, 200, JSON.stringify(body.errors))
    // A target that was changed tells the load of its bus besides.
    const { updated_at: __, bus_load_percent: ___, warning: ____, ...after } = body
    assert.deepEqual(after, { ...kept, ...change })
    const refused = await sidecar.send('PUT', path, { ...shown, ...id })
    assert.deepEqual(
      [refused.status, refused.body.errors.map(({ field }: { field: string }) => field)],
      [422, Object.keys(id)],
    )
    const times = await sidecar.send('PUT', path, { created_at: '2001-01-01T00:00:00Z', ...change })
    assert.equal(times.body.created_at, shown.created_at, 'the product keeps its times itself')
  })
}

test('a record that is shown is a body for a new one', async (context) => {
  const sidecar = await start(context)
  const device = (await sidecar.get('/api/admin/devices/meter-1')).body
  const copy = await sidecar.send('POST', '/api/admin/devices', { ...device, device_id: 'copy', created_at: '2001' })
  assert.equal(copy.status, 201)
  assert.notEqual(copy.body.created_at, '2001')
  const target = (await sidecar.get('/api/admin/polling/1')).body
  const other = await sidecar.send('POST', '/api/admin/polling', { ...target, device_id: 'copy' })
  assert.deepEqual([other.status, other.body.id, other.body.device_id], [201, 2, 'copy'])
  const unknown = await sidecar.send('PUT', '/api/admin/devices/copy', { ...device, device_id: 'copy', tmeout: 5 })
  assert.deepEqual(unknown.body.errors, [{ field: 'tmeout', message: 'is not a known field' }])
})
