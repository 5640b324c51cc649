import assert from 'node:assert/strict'
import { test } from 'node:test'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import { FieldService } from '../../../core/modbus/field-service.js'
import { type ModbusTransport, TransportError } from '../../../core/modbus/transport/transport.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'

const INTERVAL_MS = 100

/** A bus of which `silent` units time out at once, and a clock that the test moves. */
async function bus(silent: Set<number>) {
  const clock = new FakeClock()
  const asked: number[] = []
  const transport: ModbusTransport = {
    state: 'open',
    hasTransactionIds: true,
    maxInFlight: 16,
    connect: async () => {},
    async call(unit) {
      asked.push(unit)
      if (silent.has(unit)) throw new TransportError('no answer', { kind: 'timeout' })
      return { values: [unit], data: Buffer.alloc(0) }
    },
    discardInput: () => {},
    onLost: () => {},
    close: async () => {},
  }
  const field = new FieldService({
    config: {
      demoPort: undefined,
      breaker: { failures: 5, recoveryMs: 30_000 },
      writeEnabled: true,
      topicPrefix: 'modbus/data',
    },
    cacheTtlMs: 300_000,
    logger: silentLogger,
    clock,
    createTransport: () => transport,
  })
  const devices = [1, 2].map((unit) =>
    normalizeDevice({ device_id: `unit${unit}`, host: 'h', port: 502, slave_id: unit, framer: 'SOCKET' }),
  )
  field.apply(devices)
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
  return { clock, field, devices, poll, asked }
}

/** Both units in quarantine, unit 1 just probed, unit 2 waiting for its turn. A probe costs 50 ms, so 1000 ms of turns. */
async function waiting() {
  const silent = new Set([1, 2])
  const plant = await bus(silent)
  for (const unit of [1, 2]) for (let n = 0; n < 2; n += 1) assert.equal(await plant.poll(unit), true)
  assert.equal(await plant.poll(1), true)
  // Unit 2 asks in every slot until shortly before the next probe may go, so that the turn is kept for it.
  for (let at = 0; at < 1_000; at += INTERVAL_MS) {
    assert.equal(await plant.poll(2), false)
    await plant.clock.advance(at === 900 ? 99 : INTERVAL_MS)
  }
  await plant.clock.advance(1)
  return { ...plant, silent }
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

test('a device with many reads that falls silent costs its bus two time-outs, not one for each read', async () => {
  const silent = new Set<number>()
  const { field, clock, asked } = await bus(silent)
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
    return { asked: asked.slice(before).sort(), codes: await Promise.all(codes) }
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
