import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Alarms } from '../../../core/poller/alarms.js'

/** Timers that run when told to, however early. */
function handClock() {
  const timers = new Map<object, { readonly ms: number; readonly run: () => void }>()
  const clock = {
    time: 0,
    now: () => clock.time,
    monotonic: () => clock.time,
    after(ms: number, run: () => void) {
      const key = {}
      timers.set(key, { ms, run })
      return () => void timers.delete(key)
    },
    get waits() {
      return [...timers.values()].map(({ ms }) => ms)
    },
    fire() {
      const due = [...timers.values()]
      timers.clear()
      for (const { run } of due) run()
    },
  }
  return clock
}

test('all who wait for one moment share a timer and run in the order they came', () => {
  const clock = handClock()
  const alarms = new Alarms(clock)
  const ran: string[] = []
  for (const name of ['a', 'b', 'c']) alarms.set(20, () => ran.push(name))
  alarms.set(40, () => ran.push('later'))
  assert.deepEqual(clock.waits, [20, 40])
  clock.time = 20
  clock.fire()
  assert.deepEqual(ran, ['a', 'b', 'c'])
  assert.deepEqual(clock.waits, [20], 'the later one came too early and waits on')
})

test('a moment that has passed rings from the event loop, not at once', () => {
  const clock = handClock()
  clock.time = 100
  const ran: string[] = []
  new Alarms(clock).set(30, () => ran.push('late'))
  assert.deepEqual(ran, [])
  assert.deepEqual(clock.waits, [0])
  clock.fire()
  assert.deepEqual(ran, ['late'])
})

test('who cancels is not woken, and the last one takes the timer along', () => {
  const clock = handClock()
  const alarms = new Alarms(clock)
  const ran: string[] = []
  const [one, other] = [() => void ran.push('one'), () => void ran.push('other')]
  alarms.set(20, one)
  alarms.set(20, other)
  alarms.cancel(20, one)
  alarms.cancel(20, one)
  assert.deepEqual(clock.waits, [20])
  clock.time = 20
  clock.fire()
  assert.deepEqual(ran, ['other'])
  alarms.set(60, one)
  alarms.cancel(60, one)
  assert.deepEqual(clock.waits, [])
})

test('who is woken may wait again, for another moment', () => {
  const clock = handClock()
  const alarms = new Alarms(clock)
  const moments: number[] = []
  const again = () => {
    moments.push(clock.time)
    alarms.set(clock.time + 20, again)
  }
  alarms.set(20, again)
  for (clock.time = 20; clock.time <= 60; clock.time += 20) clock.fire()
  assert.deepEqual(moments, [20, 40, 60])
})
