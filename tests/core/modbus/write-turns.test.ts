import assert from 'node:assert/strict'
import { test } from 'node:test'
import { failure, openField } from './field-harness.js'
import { until } from './until.js'
import { actor, outcomes, plant, raw } from './write-plant.js'

test('more writes than may wait for a device are refused unsent; another device is written all the same', async () => {
  const p = await openField(
    { units: { 1: { holding: [0] }, 2: { holding: [0] } } },
    { unit1: { timeout_ms: 5_000, options: { queue_limit: 5 } }, unit2: { timeout_ms: 5_000 } },
  )
  p.plant.faults.set(1, { kind: 'delay', ms: 200, times: 1 })
  const write = (device_id: string, value: number) =>
    p.field.request({ op: 'write', device_id, items: [raw(0, value)], actor })
  const writes = Array.from({ length: 10 }, (_, n) => write('unit1', n))
  const other = write('unit2', 9)
  const ends = await Promise.all(writes.map((one) => one.then(() => 'ok').catch(({ code }) => code)))
  // One is on the wire, five wait.
  assert.deepEqual(ends, [...Array(6).fill('ok'), ...Array(4).fill('BUS_OVERLOADED')])
  assert.deepEqual(
    p.audit.filter(({ error }) => error?.code === 'BUS_OVERLOADED').map(({ outcome }) => outcome),
    Array(4).fill('not_sent'),
  )
  await other
  assert.deepEqual(
    p.plant.log.map(({ unit, values }) => [unit, values[0]]).filter(([unit]) => unit === 1),
    Array.from({ length: 6 }, (_, n) => [1, n]),
  )
  assert.equal(p.plant.get(2, 'holding', 0), 9)
  await p.close()
})

test('a write that waits while the rules of its device change is not sent under the old ones', async () => {
  const points = (max: number) => [{ name: 'setpoint', address: 10, max }]
  const p = await plant({ timeout_ms: 5_000, points: points(100) })
  for (const change of [{ points: points(50) }, { points: points(100), raw_write: 'deny' }]) {
    p.field.apply(p.records)
    p.plant.faults.set(1, { kind: 'delay', ms: 200, times: 1 })
    const [asked, logged] = [p.plant.requests, p.wire().length]
    const reading = p.read(0)
    await until(() => p.plant.requests === asked + 1)
    const waiting = failure(p.write({ point: 'setpoint', value: 80 }))
    await until(() => p.field.gateways()[0]!.queued === 1)
    p.field.apply([p.record('unit1', { timeout_ms: 5_000, ...change })])
    await reading
    assert.equal((await waiting).code, 'WRITE_DISABLED', JSON.stringify(change))
    assert.equal(p.wire().length, logged)
  }
  p.field.apply(p.records)
  p.plant.faults.set(1, { kind: 'delay', ms: 200, times: 1 })
  const asked = p.plant.requests
  const reading = p.read(0)
  await until(() => p.plant.requests === asked + 1)
  const written = p.write({ point: 'setpoint', value: 80 })
  await until(() => p.field.gateways()[0]!.queued === 1)
  p.field.apply([p.record('unit1', { timeout_ms: 4_000, points: points(100) })])
  await reading
  assert.deepEqual(outcomes((await written).results), ['ok'], 'what does not touch the write does not end it')
  await p.close()
})

test('writes of one unit keep their order, item by item', async () => {
  const p = await plant()
  await Promise.all([p.write(raw(1, 1), raw(3, 1), raw(5, 1)), p.write(raw(5, 2)), p.write(raw(1, 3), raw(5, 3))])
  assert.deepEqual(
    p.wire().map(({ address, values }) => [address, values[0]]),
    [
      [1, 1],
      [3, 1],
      [5, 1],
      [5, 2],
      [1, 3],
      [5, 3],
    ],
  )
  await p.close()
})

test('a device that is disabled, removed or moved while a write waits is not written', async () => {
  const p = await plant({ timeout_ms: 1_000 })
  for (const change of [{ write_enabled: false }, { is_active: false }, { slave_id: 2 }]) {
    p.field.apply(p.records)
    await p.read(0)
    p.plant.faults.set(1, { kind: 'delay', ms: 60, times: 1 })
    const first = p.write(raw(10, 1))
    const waiting = failure(p.write(raw(11, 2)))
    p.field.apply([p.record('unit1', { timeout_ms: 1_000, ...change })])
    await first.catch(() => undefined)
    assert.equal((await waiting).code, 'WRITE_DISABLED', JSON.stringify(change))
  }
  assert.equal(
    p.wire().some(({ address }) => address === 11),
    false,
  )
  await p.close()
})
