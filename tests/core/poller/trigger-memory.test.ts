import assert from 'node:assert/strict'
import { test } from 'node:test'
import { normalizeTarget } from '../../../core/modbus/target-schema.js'
import type { TriggerBook, TriggerRecord } from '../../../core/poller/trigger-memory.js'
import { closedGate } from '../support/closed-gate.js'
import { clockedPoller, goodReading } from './clocked-poller.js'
import { Recorder } from './poller-harness.js'

interface PlantOptions {
  readonly triggers?: TriggerBook
  readonly publisher?: Recorder
  /** What stands between a sample and its being durable. */
  readonly durable?: (tell: () => void) => void
  readonly isLeader?: () => boolean
}

/** A poller over a device whose register 10 names an operation. */
function plant({ durable = (tell) => tell(), ...options }: PlantOptions = {}) {
  const records: unknown[] = []
  const device = { operation: 100, answers: Promise.resolve() }
  const { apply, ...rest } = clockedPoller(
    async (block) => {
      const { operation } = device
      await device.answers
      return goodReading(block, (address) => (address === 10 ? operation : 0))
    },
    {
      ...options,
      sink: {
        async accept(samples, onDurable) {
          records.push(...samples.map(({ block }) => block.values[0]))
          if (onDurable !== undefined) durable(onDurable)
        },
      },
    },
  )
  const triggering = (more: Record<string, unknown> = {}) => {
    const target = { device_id: 'unit1', address: 10, count: 2, publish: 'trigger' }
    apply(normalizeTarget({ ...target, options: { trigger: { address: 10 } }, ...more }, 1))
  }
  return { ...rest, device, records, apply: triggering, clear: () => apply() }
}

test('a change of the target that is none of its trigger makes no second record of an operation', async () => {
  const { poller, device, records, apply, pass } = plant()
  apply()
  poller.start()
  await pass(3)
  assert.deepEqual(records, [100])
  apply({ interval_ms: 500 })
  await pass(3)
  apply({ options: { trigger: { address: 10 }, qos: 0 } })
  await pass(3)
  assert.deepEqual(records, [100])
  device.operation = 101
  await pass(3)
  assert.deepEqual(records, [100, 101])
  apply({ options: { trigger: { address: 11 } } })
  await pass(3)
  assert.equal(records.length, 3, 'another trigger begins anew')
  await poller.stop()
})

test('a target that is removed and comes back begins anew', async () => {
  const { poller, records, apply, clear, pass } = plant()
  apply()
  poller.start()
  await pass(2)
  clear()
  apply()
  await pass(2)
  assert.deepEqual(records, [100, 100])
  await poller.stop()
})

test('a record that is read while its target changes is made by the group that reads it next', async () => {
  const { poller, device, records, apply, pass } = plant()
  apply()
  poller.start()
  await pass(2)
  const answer = closedGate()
  device.operation = 101
  device.answers = answer.opened
  await pass(2)
  apply({ interval_ms: 500 })
  answer.open()
  await pass(3)
  assert.deepEqual(records, [100, 101])
  await poller.stop()
})

/** A book that keeps what it is told, and waits for nothing. */
class Book implements TriggerBook {
  readonly known = new Map<number, TriggerRecord>()
  asked = 0

  async recall() {
    this.asked += 1
    return new Map(this.known)
  }

  async begin(ids: readonly number[]) {
    for (const id of ids) this.known.delete(id)
  }

  settle(id: number, record: TriggerRecord) {
    this.known.set(id, record)
  }

  get values() {
    return [...this.known.values()].map(({ value }) => value)
  }
}

/** One life of an installation after another, with what the book keeps between them. */
async function live(book: Book, operation: number, options: PlantOptions = {}) {
  const { poller, device, records, apply, pass } = plant({ triggers: book, ...options })
  device.operation = operation
  apply()
  poller.start()
  await pass(3)
  await poller.stop()
  return records
}

test('a restart makes no second record of an operation, and one of an operation that began meanwhile', async () => {
  const book = new Book()
  assert.deepEqual(await live(book, 100), [100])
  assert.deepEqual(await live(book, 100), [])
  assert.deepEqual(await live(book, 101), [101])
  assert.deepEqual(await live(book, 100), [100], 'it is the last record that counts')
})

test('a record that was not durable when the process ended is made again', async () => {
  const book = new Book()
  assert.deepEqual(await live(book, 100), [100])
  const unfinished: (() => void)[] = []
  assert.deepEqual(await live(book, 101, { durable: (tell) => unfinished.push(tell) }), [101])
  assert.deepEqual(book.values, [], 'neither the one before nor the one that may be lost')
  assert.deepEqual(await live(book, 101), [101])
  assert.deepEqual(await live(book, 101), [])
})

test('a record whose message neither the broker nor the outbox took is not taken for made', async () => {
  class Refusing extends Recorder {
    override async publish(topic: string) {
      if (topic.includes('/holding/')) throw new Error('the outbox is full')
    }
  }
  const book = new Book()
  assert.deepEqual(await live(book, 100, { publisher: new Refusing() }), [100])
  assert.deepEqual(await live(book, 100), [100])
})

test('a record that is durable late says nothing once another has followed it', async () => {
  const book = new Book()
  const told: (() => void)[] = []
  const { poller, device, records, apply, pass } = plant({ triggers: book, durable: (tell) => told.push(tell) })
  apply()
  poller.start()
  await pass(2)
  device.operation = 101
  await pass(2)
  assert.deepEqual(records, [100, 101])
  told[0]!()
  await pass(1)
  assert.deepEqual(book.values, [])
  told[1]!()
  await pass(1)
  assert.deepEqual(book.values, [101])
  await poller.stop()
})

test('a bus that comes back from another installation: what that one recorded counts', async () => {
  const book = new Book()
  let leads = true
  const { poller, device, records, apply, pass } = plant({ triggers: book, isLeader: () => leads })
  apply()
  poller.start()
  await pass(2)
  assert.deepEqual(records, [100])
  leads = false
  const [id, record] = [...book.known][0]!
  book.known.set(id, { ...record, value: 101 })
  device.operation = 101
  await pass(2)
  const { asked } = book
  leads = true
  poller.tookOver(['line'])
  await pass(2)
  assert.deepEqual([records, book.asked], [[100], asked + 1], 'operation 101 has its record')
  device.operation = 100
  await pass(2)
  assert.deepEqual(records, [100, 100])
  await poller.stop()
})
