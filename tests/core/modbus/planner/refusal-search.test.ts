import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Wanted } from '../../../../core/modbus/planner/plan-reads.js'
import { type Culprit, searchRefusal, sortedRanges } from '../../../../core/modbus/planner/refusal-search.js'
import { seeded } from '../../support/seeded.js'

type Answers = (range: Wanted) => number | undefined

/** What a search asks a device, and what it finds. */
function search(wanted: readonly Wanted[], answers: Answers) {
  const asked: Wanted[] = []
  const { address } = wanted[0]!
  const exception = answers({ address, count: Math.max(...wanted.map(lastOf)) + 1 - address })
  const running = searchRefusal(wanted, exception ?? 2)
  let step = running.next()
  while (step.done !== true) {
    asked.push(step.value)
    assert.ok(asked.length < 10_000, 'it ends')
    step = running.next(answers(step.value))
  }
  return { asked, found: step.value }
}

const pairs = (count: number) => Array.from({ length: count }, (_, at) => ({ address: at * 2, count: 2 }))
const lastOf = ({ address, count }: Wanted) => address + count - 1
/** A device that lacks these addresses. */
const lacks =
  (...missing: readonly number[]): Answers =>
  (range) =>
    missing.some((at) => range.address <= at && at <= lastOf(range)) ? 2 : undefined

test('one bad range of forty is found, and only it, with about fifteen questions', () => {
  for (const bad of [0, 17, 39]) {
    const { asked, found } = search(pairs(40), lacks(bad * 2 + 1))
    assert.deepEqual(found, [{ kind: 'alone', from: bad * 2, to: bad * 2 + 1 }])
    assert.ok(asked.length <= 17, `${asked.length} questions`)
  }
})

test('a gap or a boundary that cannot be read over keeps apart what lies at its sides', () => {
  const wanted = [
    { address: 0, count: 2 },
    { address: 4, count: 2 },
    { address: 8, count: 2 },
  ]
  assert.deepEqual(search(wanted, lacks(7)).found, [{ kind: 'apart', from: 5, to: 8 }])
  const boundary: Answers = (range) => (range.address < 4 && lastOf(range) >= 4 ? 3 : undefined)
  assert.deepEqual(search(pairs(5), boundary).found, [{ kind: 'apart', from: 3, to: 4 }])
  // Ranges that overlap, of a device that carries ten addresses.
  const overlapping = [
    { address: 0, count: 10 },
    { address: 5, count: 10 },
  ]
  const short: Answers = ({ count }) => (count > 10 ? 3 : undefined)
  assert.deepEqual(search(overlapping, short).found, [{ kind: 'apart', from: 4, to: 10 }])
})

test('what is not refused three times with one exception is no culprit', () => {
  assert.deepEqual(search(pairs(8), () => undefined).found, [], 'it was a passing thing')
  let nth = 0
  const moody: Answers = (range) => (range.address <= 6 && lastOf(range) >= 6 ? [2, 3][nth++ % 2] : undefined)
  assert.deepEqual(search(pairs(8), moody).found, [])
})

/** Ranges as they are read with these culprits, and whether two neighbours may be read together. */
function mayJoin(left: Wanted, right: Wanted, culprits: readonly Culprit[]): boolean {
  return !culprits.some(({ kind, from, to }) =>
    kind === 'apart'
      ? left.address <= from && to <= lastOf(right)
      : from <= lastOf(right) && left.address <= to && lastOf(left) < from && to < right.address,
  )
}

test('on 300 seeded devices what cannot be read is found, and nothing else is kept apart', () => {
  for (let seed = 1; seed <= 300; seed += 1) {
    const random = seeded(seed)
    const pick = (below: number) => Math.floor(random() * below)
    let at = 0
    const wanted = Array.from({ length: 2 + pick(20) }, () => {
      at += [0, 0, 0, 1, 5][pick(5)]!
      const range = { address: at, count: [1, 1, 2, 4][pick(4)]! }
      at += range.count
      return range
    })
    const missing = Array.from({ length: pick(4) }, () => pick(at))
    const walls = seed % 3 === 0 ? [pick(at)] : []
    const answers: Answers = (range) =>
      walls.some((wall) => range.address < wall && wall <= lastOf(range)) ? 3 : lacks(...missing)(range)
    const whole = { address: wanted[0]!.address, count: at - wanted[0]!.address }
    if (answers(whole) === undefined) continue
    const { found } = search(wanted, answers)
    const ranges = sortedRanges(wanted)
    const isAlone = (range: Wanted) =>
      found.some(({ kind, from, to }) => kind === 'alone' && from === range.address && to === lastOf(range))
    for (const range of ranges) assert.equal(isAlone(range), answers(range) !== undefined, `seed ${seed}`)
    const good = ranges.filter((range) => !isAlone(range))
    for (const [nth, left] of good.slice(0, -1).entries()) {
      const right = good[nth + 1]!
      const both = { address: left.address, count: lastOf(right) + 1 - left.address }
      assert.equal(mayJoin(left, right, found), answers(both) === undefined, `seed ${seed} at ${right.address}`)
    }
  }
})
