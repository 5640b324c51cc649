import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BusQueue, type QueueJob } from '../../../../core/modbus/bus/queue.js'

interface Request extends QueueJob {
  readonly tookMs: number
  readonly end: () => void
}

interface Plant {
  /** How long a poll and a write hold the bus. */
  readonly pollMs: number
  readonly writeMs: number
  /** The share of the bus that the polls of all devices need by themselves. */
  readonly load: number
  /** Devices that are written without end: always another write waits. */
  readonly written: number
  /** Slots of all devices at one moment, or spread over the interval. */
  readonly inPhase: boolean
}

const DEVICES = 10
const SLOTS = 200

/** Two hundred intervals of one bus on a clock of its own: polls on a grid that skips a slot while one is under way, as the poller does. */
function run({ pollMs, writeMs, load, written, inPhase }: Plant) {
  const queue = new BusQueue<Request>()
  const intervalMs = (DEVICES * pollMs) / load
  const devices = Array.from({ length: DEVICES }, (_, n) => ({
    id: `device${n}`,
    unit: n + 1,
    nextAt: inPhase ? 0 : (n * intervalMs) / DEVICES,
    isPolled: false,
    slots: 0,
    kept: 0,
    writes: 0,
  }))
  let now = 0
  const write = (device: (typeof devices)[number]) => {
    const end = () => {
      device.writes += 1
      write(device)
    }
    queue.add({ kind: 'write', device: device.id, unit: device.unit, tookMs: writeMs, end })
  }
  const polls = () => {
    for (const device of devices) {
      for (; device.nextAt <= now; device.nextAt += intervalMs) {
        device.slots += 1
        if (device.isPolled) continue
        device.isPolled = true
        const end = () => {
          device.isPolled = false
          device.kept += 1
        }
        const { id, unit, nextAt: dueAt } = device
        queue.add({ kind: 'poll', device: id, unit, dueAt, intervalMs, tookMs: pollMs, end })
      }
    }
  }
  for (const device of devices.slice(0, written)) write(device)
  const endsAt = SLOTS * intervalMs
  while (now < endsAt) {
    polls()
    const next = queue.peek(now, () => true)!
    queue.commit(next, () => true)
    now += next.tookMs
    next.end()
    polls()
    queue.ended(next, next.tookMs, now)
  }
  return { written: devices.slice(0, written), others: devices.slice(written), lastedMs: now }
}

const PLANTS: readonly Plant[] = [1, 3].flatMap((written) =>
  [false, true].flatMap((inPhase) =>
    [0.3, 0.5, 0.7, 0.9].flatMap((load) =>
      [
        { pollMs: 2, writeMs: 2 },
        { pollMs: 20, writeMs: 20 },
        { pollMs: 20, writeMs: 100 },
        { pollMs: 50, writeMs: 280 },
      ].map((times) => ({ ...times, load, written, inPhase })),
    ),
  ),
)

test('however many writes wait for some devices, the polls of the others keep half their rate', () => {
  for (const plant of PLANTS) {
    const { others, written } = run(plant)
    for (const { id, kept, slots } of others) {
      // The first writes meet no poll that is late yet, and the end of the run cuts a slot off. Where three long writes
      // take turns a poll may come a little after its next slot.
      const share = plant.written === 1 ? 0.5 : 0.4
      assert.ok(kept + 2 >= share * slots, `${JSON.stringify(plant)}: ${id} kept ${kept} of ${slots} slots`)
    }
    for (const { id, writes } of written) assert.ok(writes > 0, `${JSON.stringify(plant)}: ${id} was never written`)
  }
})

test('and the writes have at least the other half of the bus, shared by the devices that are written', () => {
  for (const plant of PLANTS) {
    const { written, lastedMs } = run(plant)
    const counts = written.map(({ writes }) => writes)
    const share = (counts.reduce((sum, count) => sum + count, 0) * plant.writeMs) / lastedMs
    assert.ok(share >= 0.48, `${JSON.stringify(plant)}: ${share} of the bus`)
    assert.ok(Math.min(...counts) >= 0.7 * Math.max(...counts) - 1, `${JSON.stringify(plant)}: ${counts}`)
  }
})
