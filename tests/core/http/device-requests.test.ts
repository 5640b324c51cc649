import assert from 'node:assert/strict'
import { test } from 'node:test'
import { livePlant } from './live-plant.js'
import { start } from './started.js'

test('several items go in their order, with what was read along and how far a refusal let them come', async (context) => {
  const { services, device } = await livePlant(context)
  const sidecar = await start(context, { services })
  const write = (items: unknown, id = 'meter-1') => sidecar.send('POST', `/api/devices/${id}/write`, { items })
  const done = await write([
    { point: 'level', value: 77 },
    { address: 20, and: 0xff00, or: 0x0005 },
    { address: 21, values: [1, 2], read: { address: 0, count: 3 } },
    { register_type: 'coil', address: 4, values: [true] },
  ])
  assert.equal(done.status, 200, done.text)
  assert.deepEqual(
    done.body.results.map(({ outcome, values }: { outcome: string; values?: number[] }) => [outcome, values]),
    [
      ['ok', undefined],
      ['ok', undefined],
      ['ok', [0, 10, 20]],
      ['ok', undefined],
    ],
  )
  assert.deepEqual(
    [10, 20, 21, 22].map((address) => device.get(1, 'holding', address)),
    [77, 5, 1, 2],
  )
  const part = await write([{ address: 1, values: [9] }, { address: 50, values: [9] }, { function: 65 }])
  assert.deepEqual([part.status >= 400, part.body.code], [true, 'WRITE_PARTIAL'])
  assert.deepEqual(
    part.body.details.results.map(({ outcome }: { outcome: string }) => outcome),
    ['ok', 'rejected', 'not_sent'],
  )
  const raw = await write([{ function: 65, data: '01' }])
  assert.deepEqual([raw.status, raw.body.code], [502, 'MODBUS_ILLEGAL_FUNCTION'])
  assert.equal((await write([{ function: 6, data: '00010001' }])).body.code, 'REQUEST_INVALID')
  assert.equal((await write([{ function: 65 }], 'meter-2')).body.code, 'WRITE_DISABLED')
  for (const items of [[], [{ address: 1 }], [{ function: 200 }], [{ address: 1, and: 1, or: 70_000 }], 'x']) {
    const { status } = await write(items)
    assert.ok(status === 400 || status === 422, JSON.stringify(items))
  }
})

test('what the device accepted and has not finished is 202, with what became of each item', async (context) => {
  const { services, device } = await livePlant(context)
  const sidecar = await start(context, { services })
  device.faults.set(1, { kind: 'exception', code: 5, functions: [6] })
  const { status, body } = await sidecar.send('POST', '/api/devices/meter-1/write', {
    items: [{ address: 1, values: [2] }],
  })
  assert.deepEqual([status, body.status, body.results[0].outcome], [202, 'accepted', 'unknown'])
})

test('a device says who it is', async (context) => {
  const { services } = await livePlant(context)
  const sidecar = await start(context, { services })
  const { status, body } = await sidecar.get('/api/devices/meter-1/identity')
  assert.deepEqual([status, body.objects.vendor, body.server_id.hex.slice(0, 4)], [200, 'RouteMQ', '01ff'])
  const silent = await sidecar.get('/api/devices/silent/identity')
  assert.deepEqual([silent.status, silent.body.code], [504, 'DEVICE_TIMEOUT'])
})
