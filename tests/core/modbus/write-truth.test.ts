import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WriteResult } from '../../../core/modbus/field.js'
import type { Fault } from '../../../core/modbus/server/faults.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { seeded } from '../support/seeded.js'
import { openField } from './field-harness.js'

/** Time passes while the event loop turns, and only then: a process that is held up is late for nothing. */
async function inTime<T>(clock: FakeClock, work: Promise<T>): Promise<T> {
  let isOver = false
  const end = () => {
    isOver = true
  }
  work.then(end, end)
  while (!isOver) await clock.advance(1)
  return await work
}

const FAULTS: readonly Fault[] = [
  { kind: 'silence' },
  { kind: 'deaf' },
  { kind: 'delay', ms: 70 },
  { kind: 'exception', code: 2 },
  { kind: 'exception', code: 6 },
  { kind: 'exception', code: 5 },
  { kind: 'reset' },
  { kind: 'wrong_unit' },
  { kind: 'wrong_transaction' },
  { kind: 'wrong_function' },
  { kind: 'duplicate' },
  { kind: 'split', ms: 10 },
  { kind: 'bad_checksum' },
]

for (const [kind, framer] of [
  ['tcp', 'SOCKET'],
  ['rtu_tcp', 'RTU'],
] as const) {
  test(`${kind}: under every fault each outcome agrees with what the device itself carried out, reads with what it holds`, async () => {
    const random = seeded(42)
    const clock = new FakeClock()
    const p = await openField(
      { port: 0, kind, clock, units: { 1: { holding: Array.from({ length: 500 }, (_, i) => 10_000 + i) } } },
      { unit1: { framer, timeout_ms: 40, options: { late_grace_ms: 60 } } },
      {
        config: {
          demoPort: undefined,
          breaker: { failures: 1_000, recoveryMs: 10 },
          writeEnabled: true,
          topicPrefix: 'modbus/data',
        },
        clock,
      },
    )
    p.plant.faults.choose(() => (random() < 0.5 ? FAULTS[Math.floor(random() * FAULTS.length)] : undefined))
    const counts: Record<string, number> = {}
    const told: { value: number; outcome: string }[] = []
    let wrong = 0
    for (let i = 0; i < 120; i += 1) {
      // Every value is written once, so the log of the device tells each write from every other.
      const value = 1_000 + i
      const address = 600 + (i % 7)
      const item = { register_type: 'holding', address, values: [value] } as const
      const write = p.field.request({ op: 'write', device_id: 'unit1', items: [item] }).then(
        (answer) => answer.results,
        (error) => error.details.results as WriteResult[],
      )
      const results = await inTime(clock, write)
      const outcome = results[0]!.outcome
      told.push({ value, outcome })
      counts[outcome] = (counts[outcome] ?? 0) + 1
      const from = (i * 37) % 490
      const read = { op: 'read', device_id: 'unit1', register_type: 'holding', address: from, count: 1 } as const
      const answer = await inTime(
        clock,
        p.field.request(read).catch(() => undefined),
      )
      if (answer !== undefined && answer.values[0] !== 10_000 + from) wrong += 1
    }
    console.log(`# ${kind}: ${JSON.stringify(counts)}`)
    // What the device may still carry out late is over by now.
    for (let ms = 0; ms < 150; ms += 1) await clock.advance(1)
    const done = new Map<number, number>()
    for (const { values } of p.plant.log) done.set(values[0]!, (done.get(values[0]!) ?? 0) + 1)
    for (const { value, outcome } of told) {
      const times = done.get(value) ?? 0
      assert.ok(times <= 1, `${value} was carried out ${times} times`)
      if (outcome === 'ok') assert.equal(times, 1, `${value} was reported written`)
      if (outcome === 'rejected' || outcome === 'not_sent') assert.equal(times, 0, `${value} was reported ${outcome}`)
    }
    assert.equal(wrong, 0, 'reads that answered with the value of another register')
    assert.ok((counts.ok ?? 0) >= 40 && (counts.unknown ?? 0) >= 10, JSON.stringify(counts))
    await inTime(clock, p.close())
  })
}
