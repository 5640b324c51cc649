import assert from 'node:assert/strict'
import { test } from 'node:test'
import { failure, openField } from './field-harness.js'
import { actor, outcomes, plant, raw } from './write-plant.js'

test('an answer that does not come makes the outcome unknown, and the write is not repeated', async () => {
  const p = await plant({ max_retries: 5 })
  p.plant.faults.set(1, { kind: 'silence' })
  const error = await failure(p.write(raw(10, 42), raw(20, 1)))
  assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.deepEqual(outcomes(error.details.results), ['unknown', 'not_sent'])
  assert.deepEqual(p.wire(), [{ type: 'holding', address: 10, values: [42] }])
  assert.equal(p.audit[0]!.outcome, 'unknown')
  await p.close()
})

test('a connection that breaks after sending makes the outcome unknown', async () => {
  const p = await plant({ max_retries: 5 })
  p.plant.faults.set(1, { kind: 'reset' })
  const error = await failure(p.write(raw(10, 42)))
  assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.equal(p.wire().length, 1)
  await p.close()
})

test('an answer of another function is nonsense, so the outcome is unknown', async () => {
  const p = await plant()
  p.plant.faults.set(1, { kind: 'wrong_function' })
  assert.equal((await failure(p.write(raw(10, 42)))).code, 'WRITE_OUTCOME_UNKNOWN')
  await p.close()
})

test('a point that may be repeated is sent again after a time-out', async () => {
  const p = await plant({ max_retries: 2, points: [{ name: 'mode', address: 10, retry: 'safe' }] })
  p.plant.faults.set(1, { kind: 'silence', times: 2 })
  const { results } = await p.write({ point: 'mode', value: 3 })
  assert.deepEqual(outcomes(results), ['ok'])
  assert.equal(p.wire().length, 3)
  await p.close()
})

test('a refused repetition proves nothing about the first copy: still unknown', async () => {
  const p = await plant({ max_retries: 2, points: [{ name: 'mode', address: 10, retry: 'safe' }] })
  let n = 0
  p.plant.faults.choose(() => (n++ === 0 ? { kind: 'silence' } : { kind: 'exception', code: 2 }))
  const error = await failure(p.write({ point: 'mode', value: 3 }))
  assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.deepEqual(outcomes(error.details.results), ['unknown'])
  await p.close()
})

test('a device that is off was provably not written', async () => {
  const p = await plant()
  await p.plant.close()
  const error = await failure(p.write(raw(10, 42)))
  assert.equal(error.code, 'DEVICE_UNREACHABLE')
  assert.deepEqual(outcomes(error.details.results), ['not_sent'])
  await p.field.stop(100)
})

test('each exception has its meaning for a write', async () => {
  for (const [exception, code, outcome] of [
    [1, 'MODBUS_ILLEGAL_FUNCTION', 'rejected'],
    [2, 'MODBUS_ILLEGAL_ADDRESS', 'rejected'],
    [3, 'MODBUS_ILLEGAL_VALUE', 'rejected'],
    [4, 'WRITE_OUTCOME_UNKNOWN', 'unknown'],
    [5, 'MODBUS_ACKNOWLEDGE', 'unknown'],
    [6, 'DEVICE_BUSY', 'rejected'],
    [7, 'DEVICE_FAILURE', 'rejected'],
    [8, 'WRITE_OUTCOME_UNKNOWN', 'unknown'],
    [10, 'MODBUS_GATEWAY_PATH', 'rejected'],
    [11, 'WRITE_OUTCOME_UNKNOWN', 'unknown'],
    [99, 'DEVICE_FAILURE', 'rejected'],
  ] as const) {
    const p = await plant()
    p.plant.faults.set(1, { kind: 'exception', code: exception })
    const error = await failure(p.write(raw(10, 42)))
    assert.equal(error.code, code, `exception ${exception}`)
    assert.deepEqual(outcomes(error.details.results), [outcome], `exception ${exception}`)
    await p.close()
  }
})

test('a device that fails while it writes may have written a part: unknown, never repeated, told by reading back', async () => {
  const points = [10, 11].map((address) => ({ name: `p${address}`, address, retry: 'safe' }))
  const both = { register_type: 'holding', address: 10, values: [42, 43] } as const
  /** What it has written when it fails. */
  const failing = async (read_back: string, written: Record<number, number>) => {
    const p = await plant({ max_retries: 5, timeout_ms: 5_000, points, options: { read_back } })
    let asked = 0
    p.plant.faults.choose(({ functionCode }) => {
      if (functionCode !== 16) return undefined
      asked += 1
      for (const [address, value] of Object.entries(written)) p.plant.set(1, 'holding', Number(address), value)
      return { kind: 'exception', code: 4 }
    })
    const results = p.write(both, raw(20, 1))
    return { p, results, asked: () => asked }
  }
  const doubtful = await failing('never', { 10: 42 })
  const error = await failure(doubtful.results)
  assert.deepEqual([error.code, error.details.exception], ['WRITE_OUTCOME_UNKNOWN', 4])
  assert.match(error.message, /may or may not.*exception 4, server device failure/)
  assert.deepEqual(outcomes(error.details.results), ['unknown', 'not_sent'])
  assert.equal(doubtful.asked(), 1)
  assert.equal(doubtful.p.audit[0]!.outcome, 'unknown')
  await doubtful.p.close()

  const partial = await failing('unknown', { 10: 42 })
  const torn = await failure(partial.results)
  assert.deepEqual([torn.code, torn.details.read_back], ['WRITE_OUTCOME_UNKNOWN', [42, 0]])
  await partial.p.close()

  const whole = await failing('unknown', { 10: 42, 11: 43 })
  assert.deepEqual(outcomes((await whole.results).results), ['ok', 'ok'])
  await whole.p.close()
})

test('"server busy" is retried until the device takes the write', async () => {
  const p = await plant({ timeout_ms: 2_000 })
  p.plant.faults.set(1, { kind: 'exception', code: 6, times: 2 })
  assert.deepEqual(outcomes((await p.write(raw(10, 42))).results), ['ok'])
  assert.deepEqual(p.wire(), [{ type: 'holding', address: 10, values: [42] }])
  await p.close()
})

test('an unknown outcome is settled by reading back where the device says so', async () => {
  const p = await plant({ options: { read_back: 'unknown' } })
  p.plant.faults.set(1, { kind: 'silence', functions: [6] })
  const { results } = await p.write(raw(10, 42))
  assert.deepEqual(results, [{ item: raw(10, 42), outcome: 'ok' }], 'settled: nothing of the doubt is left')
  assert.equal(p.audit[0]!.error, null)
  p.plant.faults.set(1, { kind: 'deaf', functions: [6] })
  const error = await failure(p.write(raw(10, 43)))
  assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.deepEqual(outcomes(error.details.results), ['unknown'])
  assert.match(error.message, /may or may not/)
  await p.close()
})

test('"accepted, in progress" is read back until it shows', async () => {
  const p = await plant({ timeout_ms: 2_000, options: { read_back: 'unknown' } })
  p.plant.faults.set(1, { kind: 'exception', code: 5, functions: [6] })
  setTimeout(() => p.plant.set(1, 'holding', 10, 42), 150)
  assert.deepEqual(outcomes((await p.write(raw(10, 42))).results), ['ok'])
  await p.close()
})

test('a device that confirms and holds something else is not reported as written', async () => {
  const p = await plant({ options: { read_back: 'always' } })
  p.plant.onWrite(() => p.plant.set(1, 'holding', 10, 40))
  const error = await failure(p.write(raw(10, 42)))
  assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.match(error.message, /reading back/)
  await p.close()
})

test('past its deadline a write is not sent', async () => {
  const p = await plant({ timeout_ms: 5_000 })
  const late = await failure(
    p.field.request({ op: 'write', device_id: 'unit1', items: [raw(10, 1)], actor, deadline: Date.now() - 1 }),
  )
  assert.equal(late.code, 'COMMAND_EXPIRED')
  // One that waits behind a slow write expires in the queue.
  p.plant.faults.set(1, { kind: 'delay', ms: 150, times: 1 })
  const slow = p.write(raw(10, 5))
  const waiting = await failure(
    p.field.request({ op: 'write', device_id: 'unit1', items: [raw(10, 6)], actor, deadline: Date.now() + 40 }),
  )
  assert.equal(waiting.code, 'COMMAND_EXPIRED')
  assert.deepEqual(outcomes(waiting.details.results), ['not_sent'])
  await slow
  assert.deepEqual(p.wire(), [{ type: 'holding', address: 10, values: [5] }])
  await p.close()
})

test('a caller that gives up while the write is on the wire still gets its true outcome', async () => {
  const p = await plant({ timeout_ms: 5_000 })
  const abort = new AbortController()
  p.plant.faults.choose(() => {
    abort.abort()
    return { kind: 'delay', ms: 100 }
  })
  const { results } = await p.field.request(
    { op: 'write', device_id: 'unit1', items: [raw(10, 42)], actor },
    abort.signal,
  )
  assert.deepEqual(outcomes(results), ['ok'])
  await p.close()
})

test('RTU over TCP: the late confirmation of a write is not taken for the next one, nor for its read-back', async () => {
  const p = await openField(
    { port: 0, kind: 'rtu_tcp', units: { 1: { holding: { 10: 0 } } } },
    { unit1: { framer: 'RTU', timeout_ms: 60, options: { late_grace_ms: 200, read_back: 'unknown' } } },
  )
  const write = (value: number) => p.field.request({ op: 'write', device_id: 'unit1', items: [raw(10, value)], actor })
  p.plant.faults.set(1, { kind: 'delay', ms: 120, times: 1 })
  assert.deepEqual(outcomes((await write(41)).results), ['ok'])
  // The device never sees this one; the late answer of an earlier write must not confirm it.
  p.plant.faults.set(1, { kind: 'delay', ms: 120, times: 1, functions: [6] })
  await write(42).catch(() => undefined)
  p.plant.faults.set(1, { kind: 'deaf', functions: [6] })
  const error = await failure(write(43))
  assert.equal(error.code, 'WRITE_OUTCOME_UNKNOWN')
  assert.equal(p.plant.get(1, 'holding', 10), 42)
  await p.close()
})
