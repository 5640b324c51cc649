import assert from 'node:assert/strict'
import { test } from 'node:test'
import { watchClock } from '../../../core/kernel/clock-watch.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'

test('a step of the wall clock is told once, with its size; slewing is none', async () => {
  const clock = new FakeClock()
  const steps: number[] = []
  const stop = watchClock({ clock, onStep: (ms) => steps.push(ms) })
  await clock.advance(10_000)
  assert.deepEqual(steps, [])
  clock.stepWall(3_600_000)
  await clock.advance(10_000)
  clock.stepWall(-7_200_000)
  await clock.advance(10_000)
  for (let second = 0; second < 60; second += 1) {
    clock.stepWall(20)
    await clock.advance(1_000)
  }
  assert.deepEqual(steps, [3_600_000, -7_200_000])
  stop()
  assert.equal(clock.pending, 0)
})
