import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { RouteMQError } from '../../../core/support/errors.js'
import { scriptedField } from './scripted-field.js'

/** What the contract gives a record that says nothing else. */
const DEFAULTS = { timeout: 10, max_retries: 5 }
const INTERVAL_MS = 500

type Field = ReturnType<typeof scriptedField>

function readOf(unit: number, address = 0) {
  return { op: 'read', device_id: `unit${unit}`, register_type: 'holding', address, count: 1 } as const
}

/** Makes a request without waiting for it; `code` is set when it failed, `at` when it ended. */
function ask(
  { field, clock }: Field,
  unit: number,
  address = 0,
  more: { deadline?: number; signal?: AbortSignal } = {},
) {
  const end: { code?: string; at?: number } = {}
  const { signal, ...rest } = more
  field
    .request({ ...readOf(unit, address), ...rest }, signal)
    .catch((error: RouteMQError) => {
      end.code = error.code
    })
    .finally(() => {
      end.at = clock.monotonic()
    })
  return end
}

/** Asks like the poller. */
async function poll({ field, clock }: Field, unit: number, address = 0) {
  const { op: _, ...wanted } = readOf(unit, address)
  const block = { ...wanted, wanted: [0] }
  await field.polling
    .poll({ block, wanted: [wanted], dueAt: clock.monotonic(), intervalMs: INTERVAL_MS })
    .catch(() => {})
}

test('reads that wait for a dead unit are refused when its breaker opens, and cost its bus no time-out each', async () => {
  for (const hasIds of [true, false]) {
    const p = scriptedField({ unit1: DEFAULTS, unit2: DEFAULTS }, { hasIds })
    p.silent.add(1)
    const reads = Array.from({ length: 12 }, (_, address) => ask(p, 1, address))
    await p.clock.advance(60_000)
    assert.deepEqual(
      p.asked.map(({ timeoutMs }) => timeoutMs),
      [10_000, 1_000, 1_000, 1_000, 1_000],
      'each as long as is known of the unit when it goes out',
    )
    const codes = reads.map(({ code }) => code)
    assert.ok(codes.every((code) => code === 'BREAKER_OPEN' || code === 'DEVICE_TIMEOUT'))
    assert.ok(codes.filter((code) => code === 'BREAKER_OPEN').length >= 7, codes.join())
    await p.field.stop(0)
  }
})

test('a polled unit that falls silent with reads waiting costs its neighbours little more than a second', async () => {
  const p = scriptedField({ unit1: DEFAULTS, unit2: DEFAULTS }, { hasIds: false })
  for (const unit of [1, 2]) p.slowMs.set(unit, 35)
  const slot = async () => {
    const polls = [1, 2].map((unit) => poll(p, unit))
    await p.clock.advance(INTERVAL_MS)
    return polls
  }
  for (let n = 0; n < 4; n += 1) await slot()
  p.silent.add(1)
  const from = p.clock.monotonic()
  const reads = Array.from({ length: 12 }, (_, address) => ask(p, 1, address))
  await p.clock.advance(1)
  for (let n = 0; n < 120; n += 1) await slot()
  const wire = p.asked.filter(({ at, unit }) => at >= from && unit === 1)
  assert.deepEqual(
    wire.slice(0, 2).map(({ timeoutMs }) => timeoutMs),
    [1_000, 250],
    'a read, then the poll that shows it',
  )
  assert.ok(
    wire.slice(2).every(({ timeoutMs, address }) => timeoutMs === 250 && address === 0),
    'then probes only',
  )
  const waited = wire.reduce((sum, { timeoutMs }) => sum + timeoutMs, 0)
  assert.ok(waited <= 1_250 + 0.05 * 60_000 + 250, `${waited} ms of 60 s`)
  assert.deepEqual(new Set(reads.map(({ code }) => code)), new Set(['DEVICE_TIMEOUT']))
  await p.field.stop(0)
})

test('a unit that has answered before is given the whole time at the second try of a read', async () => {
  for (const hasIds of [true, false]) {
    const p = scriptedField({ unit1: DEFAULTS, unit2: {} }, { hasIds })
    await poll(p, 1)
    p.asked.length = 0
    p.slowMs.set(1, 3_000)
    const slow = ask(p, 1, 7)
    const neighbour = ask(p, 2)
    await p.clock.advance(1_000)
    assert.equal(neighbour.at, 1_000)
    // Where no ids tell the late answer apart, nothing like it goes out while it may come.
    await p.clock.advance(20_000)
    assert.deepEqual([slow.code, typeof slow.at], [undefined, 'number'])
    const tries = p.asked.filter(({ unit }) => unit === 1)
    const first = tries[0]!.at
    assert.deepEqual(
      tries.map(({ timeoutMs, at }) => [timeoutMs, at - first]),
      [
        [1_000, 0],
        [10_000, hasIds ? 1_100 : 10_500],
      ],
    )
    // What is known now: the next one is waited for twice as long as that took.
    ask(p, 1, 8)
    await p.clock.advance(4_000)
    assert.equal(p.asked.at(-1)!.timeoutMs, 6_000)
    await p.field.stop(0)
  }
})

for (const how of ['deadline', 'signal'] as const) {
  test(`callers who leave a dead unit early (${how}) open its breaker like those who stay`, async () => {
    for (const hasIds of [true, false]) {
      const p = scriptedField({ unit1: DEFAULTS, unit2: {} }, { hasIds })
      p.silent.add(1)
      for (let n = 0; n < 100; n += 1) {
        const abort = new AbortController()
        if (how === 'deadline') ask(p, 1, n, { deadline: p.clock.now() + 500 })
        else ask(p, 1, n, { signal: abort.signal })
        await p.clock.advance(500)
        abort.abort()
        await p.clock.advance(500)
      }
      const held = p.asked.reduce((sum, { timeoutMs }) => sum + timeoutMs, 0)
      assert.equal(p.field.devices()[0]!.breaker, 'open')
      assert.equal(p.events.filter(({ type }) => type === 'breaker').length, 1)
      assert.ok(p.asked.length >= 5 && p.asked.length <= 8, `${p.asked.length} requests`)
      assert.ok(hasIds || held <= 18_000, `${held} ms`)
      await p.field.stop(0)
    }
  })
}

test('with ids a read whose caller has left gives the bus free once its silence says enough', async () => {
  for (const [patience, free] of [
    [3_000, 3_000],
    [100, 1_000],
  ] as const) {
    const p = scriptedField({ unit1: DEFAULTS, unit2: {} })
    p.silent.add(1)
    const left = ask(p, 1, 0, { deadline: p.clock.now() + patience })
    const neighbour = ask(p, 2)
    await p.clock.advance(20_000)
    assert.deepEqual([left, neighbour], [{ code: 'COMMAND_EXPIRED', at: patience }, { at: free }])
    assert.equal(p.field.metrics().modbus.errors_by_type.DEVICE_TIMEOUT, 1)
    await p.field.stop(0)
  }
})

test('an impatient caller of a unit that answers is not taken for a dead unit', async () => {
  for (const hasIds of [true, false]) {
    const p = scriptedField({ unit1: DEFAULTS, unit2: {} }, { hasIds })
    p.slowMs.set(1, 300)
    for (let n = 0; n < 20; n += 1) {
      const end = ask(p, 1, n, { deadline: p.clock.now() + 50 })
      await p.clock.advance(1_000)
      assert.equal(end.code, 'COMMAND_EXPIRED')
    }
    const [unit1] = p.field.devices()
    assert.deepEqual([unit1!.state, unit1!.breaker, p.asked.length], ['online', 'closed', 20])
    await p.field.stop(0)
  }
})

test('the last read of a read-back counts as well, though its time ends before the wire is done', async () => {
  const p = scriptedField({ unit1: { ...DEFAULTS, options: { read_back: 'unknown' } }, unit2: {} }, { hasIds: false })
  p.silent.add(1)
  const items = [{ register_type: 'holding', address: 0, values: [1] }] as const
  const { error } = await p.settled({ op: 'write', device_id: 'unit1', items, actor: { kind: 'app', name: 'test' } })
  assert.equal(error?.code, 'WRITE_OUTCOME_UNKNOWN')
  await p.clock.advance(20_000)
  const { DEVICE_TIMEOUT, ...others } = p.field.metrics().modbus.errors_by_type
  assert.deepEqual([DEVICE_TIMEOUT, others], [p.asked.length, {}], 'every request that went out')
  await p.field.stop(0)
})
