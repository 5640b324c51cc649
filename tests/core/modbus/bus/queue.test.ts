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

/** The order in which a queue gives its jobs out, each of which takes `took`. */
function order(jobs: readonly Named[], now = 0, took: (job: Named) => number = () => 1): string[] {
  const queue = new BusQueue<Named>()
  for (const one of jobs) queue.add(one)
  const names: string[] = []
  for (;;) {
    const next = queue.peek(now, () => true)
    if (next === undefined) return names
    queue.commit(next, () => true)
    queue.ended(next, took(next), now)
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

test('after eight commands one poll passes, however many devices they are for', () => {
  const writes = Array.from({ length: 20 }, (_, i) => job('write', `a${i}`, `w${i}`))
  const polls = [job('poll', 'b', 'p0'), job('poll', 'c', 'p1'), job('poll', 'd', 'p2')]
  const names = order([...writes, ...polls])
  assert.deepEqual(
    names.flatMap((name, i) => (name.startsWith('p') ? [i] : [])),
    [8, 17, 22],
  )
})

const writesOf = (device: string, count: number) =>
  Array.from({ length: count }, (_, i) => job('write', device, `${device}${i}`))
const due = { dueAt: 0, intervalMs: 100 }

test('a poll that is half an interval late passes, one after each write', () => {
  const late = ['y', 'z'].map((device) => job('poll', device, device, due))
  assert.deepEqual(order([...writesOf('a', 4), ...late], 49).slice(0, 2), ['a0', 'a1'])
  assert.deepEqual(order([...writesOf('a', 4), ...late], 50), ['a0', 'y', 'a1', 'z', 'a2', 'a3'])
})

test('late polls have as long as the writes took, not as many requests', () => {
  const late = Array.from({ length: 7 }, (_, i) => job('poll', 'z', `z${i}`, due))
  const took = ({ kind }: Named) => (kind === 'write' ? 30 : 10)
  assert.deepEqual(order([...writesOf('a', 3), ...late], 100, took), [
    ...['a0', 'z0', 'z1', 'z2'],
    ...['a1', 'z3', 'z4', 'z5'],
    ...['a2', 'z6'],
  ])
})

test('after eight writes of one device polls have as long as those took', () => {
  const polls = Array.from({ length: 20 }, (_, i) => job('poll', 'z', `z${i}`))
  const letters = order([...writesOf('a', 17), ...polls]).map((name) => name[0])
  assert.equal(letters.join(''), `${'a'.repeat(8)}${'z'.repeat(8)}${'a'.repeat(8)}${'z'.repeat(8)}azzzz`)
})

test('who has written nothing does not wait for what another device owes', () => {
  const late = Array.from({ length: 4 }, (_, i) => job('poll', 'z', `z${i}`, due))
  const took = ({ device }: Named) => (device === 'a' ? 30 : 10)
  const queue = new BusQueue<Named>()
  for (const one of [...writesOf('a', 2), ...late]) queue.add(one)
  const names: string[] = []
  for (let n = 0; n < 7; n += 1) {
    if (n === 2) queue.add(job('write', 'b', 'b0'))
    const next = queue.peek(100, () => true)!
    queue.commit(next, () => true)
    queue.ended(next, took(next), 100)
    names.push(next.name)
  }
  assert.deepEqual(names, ['a0', 'z0', 'b0', 'z1', 'z2', 'a1', 'z3'])
})

test('a device that is written now and then does not wait for polls to make up for its last write', () => {
  const queue = new BusQueue<Named>()
  for (const one of [...writesOf('a', 2), job('poll', 'z', 'z0', due)]) queue.add(one)
  const first = queue.peek(100, () => true)!
  queue.commit(first, () => true)
  queue.ended(first, 10, 110)
  assert.equal(queue.peek(189, () => true)?.name, 'z0')
  assert.equal(queue.peek(190, () => true)?.name, 'a1')
})

test('a write whose polls cannot go just now does not wait for them', () => {
  const queue = new BusQueue<Named>()
  for (const one of [...writesOf('a', 2), job('poll', 'z', 'z0', due)]) queue.add(one)
  const first = queue.peek(100, () => true)!
  queue.commit(first, () => true)
  queue.ended(first, 10, 100)
  assert.equal(queue.peek(100, ({ kind }) => kind === 'write')?.name, 'a1')
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

test('nor by one of them that was passed over often enough, else it would wait for ever behind a slow unit', () => {
  const queue = new BusQueue<Named>()
  const write = job('write', 'a', 'w')
  for (const one of [write, job('read', 'a', 'r'), job('read', 'b', 'other')]) queue.add(one)
  for (let n = 0; n < 20; n += 1) queue.add(job('poll', 'c', 'poll'))
  const ready = (one: Named) => one !== write
  const names: string[] = []
  for (let n = 0; n < 20; n += 1) {
    const next = queue.peek(0, ready)!
    queue.commit(next, ready)
    names.push(next.name)
  }
  assert.deepEqual([names.indexOf('other'), names.includes('r')], [8, false])
  assert.equal(
    queue.peek(0, () => true),
    write,
  )
})

test('a poll that waits holds no read of its unit back that could go', () => {
  const queue = new BusQueue<Named>()
  const poll = job('poll', 'a', 'late')
  for (const one of [poll, job('read', 'a', 'of another function')]) queue.add(one)
  assert.equal(queue.peek(0, (one) => one !== poll)?.name, 'of another function')
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

test('a class was passed over only where one of its jobs could have gone', () => {
  for (const isHeld of [true, false]) {
    const queue = new BusQueue<Named>()
    queue.add(job('read', 'a', 'read'))
    let ready = ({ device }: Named) => device !== 'a' || !isHeld
    const next = () => {
      const one = queue.peek(0, ready)!
      queue.commit(one, ready)
      return one.name
    }
    for (let n = 0; n < 8; n += 1) {
      queue.add(job('poll', 'b', 'other'))
      assert.equal(next(), 'other')
    }
    for (const device of ['a', 'b']) queue.add(job('poll', device, `poll ${device}`))
    ready = () => true
    assert.equal(next(), isHeld ? 'poll a' : 'read')
  }
})
