import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Phase, Phases } from '../../../core/poller/phases.js'

function smallestGap(phases: readonly Phase[]): number {
  const sorted = phases.map(({ ms }) => ms).sort((a, b) => a - b)
  return Math.min(...sorted.map((ms, at) => (sorted[at + 1] ?? sorted[0]! + 1_000) - ms))
}

test('however often targets change, the groups of a bus stay as far apart as they began', () => {
  const phases = new Phases()
  const taken = Array.from({ length: 10 }, () => phases.take('line', 1_000))
  const fresh = smallestGap(taken)
  assert.ok(fresh >= 40, `${fresh}`)
  for (let edit = 0; edit < 300; edit += 1) {
    // It goes to another interval and back, with the new place taken before the old one is given back, or after.
    const at = edit % 3
    if (edit % 2 === 0) taken[at]!.giveBack()
    const elsewhere = phases.take('line', 2_000)
    if (edit % 2 === 1) taken[at]!.giveBack()
    taken[at] = phases.take('line', 1_000)
    elsewhere.giveBack()
    assert.ok(smallestGap(taken) >= 20, `${smallestGap(taken)} after ${edit} edits`)
  }
})

test('a bus that nothing is polled on any more is forgotten', () => {
  const phases = new Phases()
  const [first, second] = [phases.take('line', 1_000), phases.take('line', 1_000)]
  assert.notEqual(first.ms, second.ms)
  first.giveBack()
  second.giveBack()
  assert.equal(phases.take('line', 1_000).ms, first.ms)
})
