import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { systemClock } from '../../../core/support/clock.js'

test('a time further ahead than a timer can count does not come at once', async () => {
  let ran = 0
  const cancel = systemClock.after(60 * 24 * 3_600_000, () => {
    ran += 1
  })
  const soon = new Promise<void>((resolve) => systemClock.after(20, resolve))
  await Promise.all([soon, pause(30)])
  cancel()
  assert.equal(ran, 0)
})
