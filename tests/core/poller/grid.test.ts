import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Alarms } from '../../../core/poller/alarms.js'
import { Grid } from '../../../core/poller/grid.js'

/** A clock that moves when it is told to. */
function fakeClock() {
  let now = 0
  let timers: { at: number; run: () => void }[] = []
  return {
    clock: {
      now: () => now,
      monotonic: () => now,
      after(ms: number, run: () => void) {
        const timer = { at: now + ms, run }
        timers.push(timer)
        return () => {
          timers = timers.filter((one) => one !== timer)
        }
      },
    },
    /** Runs the timers on the way, or jumps over them as a process that stood still does. */
    async to(time: number, jump = false) {
      for (;;) {
        const due = timers.filter((timer) => timer.at <= time).sort((a, b) => a.at - b.at)[0]
        if (due === undefined) break
        now = jump ? time : Math.max(now, due.at)
        timers = timers.filter((one) => one !== due)
        due.run()
        await new Promise((resolve) => setImmediate(resolve))
      }
      now = time
    },
    get pending() {
      return timers.length
    },
  }
}

function make(origin: number, run: (slot: number) => Promise<void> = async () => {}) {
  const fake = fakeClock()
  const slots: number[][] = []
  const skipped: number[] = []
  const grid = new Grid({
    clock: fake.clock,
    alarms: new Alarms(fake.clock),
    origin,
    intervalMs: 100,
    run: (slot, dueAt) => {
      slots.push([slot, dueAt])
      return run(slot)
    },
    onSkipped: (count) => skipped.push(count),
  })
  return { grid, fake, slots, skipped }
}

test('slot k is due at the origin plus k intervals', async () => {
  const { grid, fake, slots, skipped } = make(30)
  grid.start()
  await fake.to(350)
  assert.deepEqual(slots, [
    [0, 30],
    [1, 130],
    [2, 230],
    [3, 330],
  ])
  assert.deepEqual(skipped, [])
  await grid.stop()
  assert.equal(fake.pending, 0)
})

test('a process that stood still goes on with the slot of now; the others are counted and gone', async () => {
  const { grid, fake, slots, skipped } = make(0)
  grid.start()
  await fake.to(100)
  await fake.to(555, true)
  await fake.to(600)
  assert.deepEqual(slots, [
    [0, 0],
    [1, 100],
    [5, 500],
    [6, 600],
  ])
  assert.deepEqual(skipped, [3])
  await grid.stop()
})

test('a slot that is still running costs the next ones their turn, never a queue', async () => {
  let finish = () => {}
  const { grid, fake, slots, skipped } = make(0, (slot) =>
    slot === 1
      ? new Promise((resolve) => {
          finish = resolve
        })
      : Promise.resolve(),
  )
  grid.start()
  await fake.to(350)
  assert.deepEqual(skipped, [1, 1])
  finish()
  await new Promise((resolve) => setImmediate(resolve))
  await fake.to(450)
  assert.deepEqual(
    slots.map(([slot]) => slot),
    [0, 1, 4],
  )
  await grid.stop()
})
