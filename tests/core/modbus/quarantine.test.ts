import assert from 'node:assert/strict'
import { test } from 'node:test'
import { scriptedField } from './scripted-field.js'

const INTERVAL_MS = 100

/** A bus of two units, of which silent ones time out at once, and a clock that the test moves. */
function bus() {
  const plant = scriptedField({ unit1: {}, unit2: {} }, { silenceMs: 0 })
  const { clock, field, asked } = plant
  /** Asks like the poller. True where the unit was asked in fact, or waited for its turn to be probed. */
  const poll = async (unit: number) => {
    const before = asked.length
    const wanted = { device_id: `unit${unit}`, register_type: 'holding', address: 0, count: 1 } as const
    const [block] = field.polling.plan(wanted.device_id, [wanted], INTERVAL_MS)
    const dueAt = clock.monotonic()
    const polled = field.polling.poll({ block: block!, wanted: [wanted], dueAt, intervalMs: INTERVAL_MS })
    polled.catch(() => {})
    await clock.advance(0)
    await polled.catch(() => {})
    return asked.length > before
  }
  return { ...plant, poll }
}

/** Both units in quarantine, unit 1 just probed, unit 2 waiting for its turn. A probe costs 50 ms, so 1000 ms of turns. */
async function waiting() {
  const plant = bus()
  for (const unit of [1, 2]) plant.silent.add(unit)
  for (const unit of [1, 2]) for (let n = 0; n < 2; n += 1) assert.equal(await plant.poll(unit), true)
  assert.equal(await plant.poll(1), true)
  // Unit 2 asks in every slot until shortly before the next probe may go, so that the turn is kept for it.
  for (let at = 0; at < 1_000; at += INTERVAL_MS) {
    assert.equal(await plant.poll(2), false)
    await plant.clock.advance(at === 900 ? 99 : INTERVAL_MS)
  }
  await plant.clock.advance(1)
  return plant
}

test('the turn of a silent unit is kept for it', async () => {
  const { poll, field } = await waiting()
  assert.equal(await poll(1), false)
  assert.equal(await poll(2), true)
  await field.stop(0)
})

test('a unit that is removed gives its turn to the next', async () => {
  const { poll, field, devices } = await waiting()
  field.apply(devices.slice(0, 1))
  assert.equal(await poll(1), true)
  await field.stop(0)
})

test('a unit that somebody finds alive gives its turn to the next, and is polled again', async () => {
  const { poll, field, silent, clock } = await waiting()
  silent.delete(2)
  const read = { op: 'read', device_id: 'unit2', register_type: 'holding', address: 0, count: 1 } as const
  const answer = field.request(read)
  await clock.advance(0)
  assert.deepEqual((await answer).values, [2])
  assert.equal(await poll(1), true)
  assert.equal(await poll(2), true)
  await field.stop(0)
})

test('a probe that could not go out costs nothing: the units of a bus that is back are found at once', async () => {
  const { poll, field, silent, away, clock } = await waiting()
  assert.equal(await poll(2), true)
  // The connection was opened afresh after that many time-outs; now it cannot be.
  silent.clear()
  away.isAway = true
  await clock.advance(1_000)
  assert.equal(await poll(1), false)
  assert.equal(field.gateways()[0]!.state, 'down')
  away.isAway = false
  await clock.advance(200)
  assert.deepEqual([await poll(2), await poll(1)], [true, true])
  assert.ok(field.devices().every(({ state, quarantined }) => state === 'online' && !quarantined))
  await field.stop(0)
})

test('a device with many reads that falls silent costs its bus two time-outs, not one for each read', async () => {
  const { field, clock, silent, asked } = bus()
  /** One slot of the poller: ten blocks of unit 1, too far apart to be joined, and one of unit 2. Which units were asked. */
  const slot = async () => {
    const before = asked.length
    const codes = [1, 2].map(async (unit) => {
      const wanted = Array.from({ length: unit === 1 ? 10 : 1 }, (_, at) => {
        return { device_id: `unit${unit}`, register_type: 'holding', address: at * 1_000, count: 1 } as const
      })
      const blocks = field.polling.plan(`unit${unit}`, wanted, INTERVAL_MS)
      const dueAt = clock.monotonic()
      const polls = blocks.map((block) => field.polling.poll({ block, wanted, dueAt, intervalMs: INTERVAL_MS }))
      return await Promise.all(
        polls.map((poll) =>
          poll.then(
            () => 'answered',
            (error) => error.code,
          ),
        ),
      )
    })
    await clock.advance(INTERVAL_MS)
    const units = asked.slice(before).map(({ unit }) => unit)
    return { asked: units.sort(), codes: await Promise.all(codes) }
  }
  assert.equal((await slot()).asked.length, 11)
  silent.add(1)
  const failed = Array.from({ length: 10 }, () => 'DEVICE_TIMEOUT')
  assert.deepEqual(await slot(), { asked: [1, 1, 2], codes: [failed, ['answered']] })
  assert.deepEqual(await slot(), { asked: [1, 2], codes: [failed, ['answered']] }, 'one probe')
  assert.deepEqual(await slot(), { asked: [2], codes: [failed, ['answered']] }, 'and none until its turn')
  const { successful_requests, errors_by_type } = field.metrics().modbus
  assert.deepEqual([successful_requests, errors_by_type], [14, { DEVICE_TIMEOUT: 3 }], 'what went to the wire')
  await field.stop(0)
})
