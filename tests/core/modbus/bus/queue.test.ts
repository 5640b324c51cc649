import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BusQueue, type JobClass, type QueueJob } from '../../../../core/modbus/bus/queue.js'

interface Named extends QueueJob {
  readonly name: string
}

let units = 0
const unitOf = new Map<string, number>()
function job(kind: JobClass, device: string, name: string, more: Partial<QueueJob> = {}): Named {
  if (!unitOf.has(device)) unitOf.set(device, ++units)
  return { kind, device, unit: unitOf.get(device)!, name, ...more }
}

/** The order in which a queue gives its jobs out. */
function order(jobs: readonly Named[], now = 0): string[] {
  const queue = new BusQueue<Named>()
  for (const one of jobs) queue.add(one)
  const names: string[] = []
  for (;;) {
    const next = queue.peek(now, () => true)
    if (next === undefined) return names
    queue.commit(next)
    names.push(next.name)
  }
}

test('write before due poll before live read before probe', () => {
  const jobs = [
    job('probe', 'a', 'probe'),
    job('read', 'a', 'read'),
    job('poll', 'a', 'poll'),
    job('write', 'a', 'write'),
  ]
  assert.deepEqual(order(jobs), ['write', 'poll', 'read', 'probe'])
})

test('fair between devices, first in first out per device', () => {
  const jobs = ['a1', 'a2', 'a3', 'b1', 'c1', 'c2'].map((name) => job('read', name[0]!, name))
  assert.deepEqual(order(jobs), ['a1', 'b1', 'c1', 'a2', 'c2', 'a3'])
})

test('after eight commands one poll passes', () => {
  const writes = Array.from({ length: 20 }, (_, i) => job('write', 'a', `w${i}`))
  const polls = [job('poll', 'b', 'p0'), job('poll', 'c', 'p1'), job('poll', 'd', 'p2')]
  const names = order([...writes, ...polls])
  assert.deepEqual(
    names.flatMap((name, i) => (name.startsWith('p') ? [i] : [])),
    [8, 17, 22],
  )
})

test('a poll overdue by a whole interval passes, one between two writes', () => {
  const writes = Array.from({ length: 4 }, (_, i) => job('write', 'a', `w${i}`))
  const late = ['b', 'c'].map((device) => job('poll', device, `late-${device}`, { dueAt: 0, intervalMs: 100 }))
  assert.deepEqual(order([...writes, ...late], 99).slice(0, 2), ['w0', 'w1'])
  assert.deepEqual(order([...writes, ...late], 100), ['w0', 'late-b', 'w1', 'late-c', 'w2', 'w3'])
})

test('polls that fill the bus do not starve a live read, nor both a probe', () => {
  const polls = Array.from({ length: 30 }, (_, i) => job('poll', 'a', `p${i}`))
  const names = order([...polls, job('read', 'b', 'read'), job('probe', 'c', 'probe')])
  assert.equal(names.indexOf('read') <= 9, true)
  assert.equal(names.indexOf('probe') <= 10, true)
})

test('a write that waits for its unit is not overtaken by reads of that unit', () => {
  const queue = new BusQueue<Named>()
  const write = job('write', 'a', 'w')
  for (const one of [write, job('read', 'a', 'r'), job('read', 'b', 'other')]) queue.add(one)
  assert.equal(queue.peek(0, (one) => one !== write)?.name, 'other')
})

test('counts and removes what waits', () => {
  const queue = new BusQueue<Named>()
  const [first, second] = [job('read', 'a', '1'), job('read', 'a', '2')]
  queue.add(first)
  queue.add(second)
  assert.equal(queue.waiting('read', 'a'), 2)
  assert.equal(queue.remove(first), true)
  assert.equal(queue.remove(first), false)
  assert.equal(queue.size, 1)
  assert.deepEqual(queue.drain(), [second])
  assert.equal(queue.size, 0)
})
