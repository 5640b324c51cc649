import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RoundTrips } from '../../../../core/modbus/bus/round-trips.js'

/** How often plans would be made anew while requests take these times, after those `before`. */
function changes(before: readonly number[], then: readonly number[]) {
  const trips = new RoundTrips(0)
  for (const ms of before) trips.took(ms, [])
  let count = 0
  for (const ms of then) {
    const version = trips.planVersion
    trips.took(ms, [])
    if (trips.planVersion !== version) count += 1
  }
  return { count, steady: trips.steadyTurnaroundMs!, now: trips.turnaroundMs! }
}

const times = (count: number, ms: (nth: number) => number) => Array.from({ length: count }, (_, nth) => ms(nth))
const settled = times(100, () => 100)

test('what plans go by is the first answer, and stays until the turnaround is off by a quarter', () => {
  assert.equal(changes([], settled).count, 1)
  const little = changes(
    settled,
    times(1_000, () => 120),
  )
  assert.deepEqual([little.count, little.steady, Math.round(little.now)], [0, 100, 120])
  const much = changes(
    settled,
    times(1_000, () => 400),
  )
  assert.ok(much.count >= 1 && much.count < 10, `${much.count} times`)
  assert.ok(much.steady > 300 && much.steady <= 400, `${much.steady} ms`)
})

test('units of one bus that differ by far do not make plans change all the time', () => {
  const turns = (nth: number) => (Math.floor(nth / 10) % 2 === 0 ? 5 : 200)
  assert.equal(changes(times(400, turns), times(2_000, turns)).count, 0)
})

test('fractions of a millisecond change no plan', () => {
  assert.equal(
    changes(
      times(10, () => 0.3),
      times(1_000, (nth) => 0.2 + (nth % 7) / 10),
    ).count,
    0,
  )
})
