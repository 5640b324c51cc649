import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ReconnectDelays } from '../../../core/mqtt/reconnect-delays.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'

async function pauses(delays: ReconnectDelays, clock: FakeClock, forMs: number): Promise<number[]> {
  const all: number[] = []
  for (let waited = 0; waited < forMs; waited += all.at(-1)!) {
    all.push(delays.next())
    await clock.advance(all.at(-1)!)
  }
  return all
}

test('tries come every half second in the first minute of an outage, then ever more rarely', async () => {
  const clock = new FakeClock()
  const delays = new ReconnectDelays(clock, () => 0)
  const minute = await pauses(delays, clock, 60_000)
  assert.deepEqual(minute.slice(0, 5), [100, 200, 400, 500, 500])
  assert.equal(Math.max(...minute), 500)
  assert.deepEqual(
    (await pauses(delays, clock, 91_000)).slice(0, 7),
    [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000],
  )
})

test('pauses are jittered, and a connection that lasted starts over', async () => {
  const clock = new FakeClock()
  const delays = new ReconnectDelays(clock, () => 1)
  assert.deepEqual((await pauses(delays, clock, 60_000)).slice(0, 4), [50, 100, 200, 250])
  assert.equal(delays.next(), 500)
  delays.reset()
  assert.equal(delays.next(), 50)
})
