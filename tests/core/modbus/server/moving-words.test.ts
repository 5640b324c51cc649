import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decodePoint, resolvePoint } from '../../../../core/modbus/codec/point-codec.js'
import { startVirtualDevice } from '../../../../core/modbus/server/virtual-device.js'
import { createTransport } from '../../../../core/modbus/transport/open.js'
import { systemClock } from '../../../../core/support/clock.js'

/** A clock on which every look is a moment later, so that what is not of one moment shows. */
function restlessClock() {
  let now = 0
  return { ...systemClock, monotonic: () => ++now, now: () => now, after: systemClock.after.bind(systemClock) }
}

test('a value of several registers moves as one: no answer holds halves of two moments', async () => {
  const ramp = { kind: 'ramp', from: 0, to: 1_000_000, periodMs: 100 } as const
  const device = await startVirtualDevice({
    clock: restlessClock(),
    units: { 1: { moving: { input: { 0: { ...ramp, as: { type: 'uint32', order: 'CDAB' } } } } } },
  })
  const point = resolvePoint({ name: 'x', register_type: 'input', address: 0, type: 'uint32', order: 'CDAB' })
  const master = createTransport(device.endpoint)
  await master.connect({ timeoutMs: 1_000 })
  const seen = new Set<unknown>()
  for (let i = 0; i < 50; i += 1) {
    const { values } = await master.call(1, { fc: 4, address: 0, count: 2 }, { timeoutMs: 1_000 })
    const { value } = decodePoint(point, values as number[])
    // Whole steps of the ramp only: 1,000,000 in 100 looks at the clock.
    assert.equal(Number(value) % 10_000, 0, String(value))
    seen.add(value)
  }
  assert.ok(seen.size > 20)
  await master.close()
  await device.close()
})

test('a write to one of its registers stops it, and leaves the others at what they held', async () => {
  const sine = { kind: 'sine', centre: 21.5, amplitude: 0, periodMs: 1_000, as: { type: 'float32' } } as const
  const device = await startVirtualDevice({ units: { 1: { moving: { holding: { 4: sine } } } } })
  assert.deepEqual([device.get(1, 'holding', 4), device.get(1, 'holding', 5)], [0x41ac, 0])
  device.set(1, 'holding', 5, 7)
  assert.deepEqual([device.get(1, 'holding', 4), device.get(1, 'holding', 5)], [0x41ac, 7])
  await device.close()
})

test('a value that moves beyond what its registers hold is refused at the start', async () => {
  for (const [kind, as] of [
    [{ kind: 'sine', centre: 0, amplitude: 40_000, periodMs: 1 }, { type: 'int16' }],
    [{ kind: 'replay', values: [1, 2, 70_000], everyMs: 1 }, { type: 'uint16' }],
    [{ kind: 'ramp', from: 0, to: 1, periodMs: 1 }, { type: 'bit' }],
  ] as const) {
    const units = { 1: { moving: { input: { 0: { ...kind, as } } } } }
    await assert.rejects(startVirtualDevice({ units }), (error: Error) => /fit|bit/.test(error.message), kind.kind)
  }
})
