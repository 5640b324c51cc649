import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ReadCache } from '../../../core/modbus/cache.js'
import type { ReadBlock } from '../../../core/modbus/field.js'

function make(maxEntries = 100) {
  let now = 1_000
  const clock = { now: () => now, monotonic: () => now, after: () => () => {} }
  const cache = new ReadCache({ ttlMs: 500, clock, maxEntries })
  const block = (address: number, count: number, device_id = 'd'): ReadBlock => ({
    device_id,
    register_type: 'holding',
    address,
    count,
  })
  return {
    cache,
    block,
    put(address: number, values: number[], device = 'd') {
      cache.open(block(address, values.length, device), 'bus#1').fill(values, now / 1_000)
    },
    pass(ms: number) {
      now += ms
    },
  }
}

test('the newest entry that covers the whole range answers, never a patchwork', () => {
  const { cache, block, put } = make()
  put(0, [1, 2, 3, 4])
  put(2, [30, 40, 50])
  assert.deepEqual(cache.find(block(2, 2))!.values, [30, 40])
  assert.deepEqual(cache.find(block(0, 4))!.values, [1, 2, 3, 4])
  assert.equal(cache.find(block(0, 5)), undefined)
  put(0, [5, 6, 7, 8])
  assert.deepEqual(cache.find(block(2, 2))!.values, [7, 8])
})

test('a read that was on the wire when a write overlapped it never refills the cache', () => {
  const { cache, block } = make()
  const spoiled = cache.open(block(0, 4), 'bus#1')
  const apart = cache.open(block(10, 2), 'bus#1')
  const other = cache.open(block(0, 4, 'e'), 'bus#2')
  cache.drop((space) => space === 'bus#1', { register_type: 'holding', address: 3, count: 1 })
  spoiled.fill([1, 2, 3, 4], 1)
  apart.fill([1, 2], 1)
  other.fill([9, 9, 9, 9], 1)
  assert.equal(cache.find(block(0, 4)), undefined)
  assert.deepEqual(cache.find(block(10, 2))!.values, [1, 2])
  assert.deepEqual(cache.find(block(0, 4, 'e'))!.values, [9, 9, 9, 9])
})

test('after the time to live the value is only the last known one, stale', () => {
  const { cache, block, put, pass } = make()
  put(0, [1])
  pass(501)
  assert.equal(cache.find(block(0, 1)), undefined)
  assert.equal(cache.lastKnown(block(0, 1))!.quality, 'stale')
  assert.deepEqual(
    cache.entries().map(({ key, age_seconds }) => [key, age_seconds]),
    [['d:holding:0:1', 0.501]],
  )
})

test('what a restart brings back is stale and gives way to what is read', () => {
  const { cache, block, put } = make()
  put(0, [1])
  const known = (address: number) =>
    ({ ...block(address, 1), values: [7], source: 'cache', quality: 'good', timestamp: 0.5, space: 'bus#1' }) as const
  cache.restore([known(0), known(5)])
  assert.deepEqual(cache.find(block(0, 1))!.values, [1])
  assert.equal(cache.find(block(5, 1)), undefined)
  assert.deepEqual([cache.lastKnown(block(5, 1))!.values, cache.lastKnown(block(5, 1))!.quality], [[7], 'stale'])
})

test('a full cache drops the oldest entry of the device that fills it', () => {
  const { cache, block, put } = make(3)
  put(0, [1], 'quiet')
  for (let address = 0; address < 10; address += 1) put(address, [address], 'greedy')
  assert.deepEqual(cache.find(block(0, 1, 'quiet'))!.values, [1])
  assert.equal(cache.stats().total_entries, 3)
  assert.equal(cache.metrics().evictions, 8)
})

test('clearing one device leaves the others and spoils its reads on the wire', () => {
  const { cache, block, put } = make()
  put(0, [1])
  put(0, [2], 'e')
  const ticket = cache.open(block(5, 1), 'bus#1')
  assert.equal(cache.clear('d'), 1)
  ticket.fill([3], 1)
  assert.deepEqual(
    cache.entries().map((entry) => entry.key),
    ['e:holding:0:1'],
  )
})

test('the revision counts what comes and what goes', () => {
  const { cache, block, put } = make(2)
  const everything = () => true
  const changes: Record<string, () => void> = {
    'an entry that comes': () => put(0, [1]),
    'one that is renewed': () => put(0, [2]),
    'one that pushes another out': () => [4, 8].forEach((address) => void put(address, [1])),
    'what a write drops': () => cache.drop(everything, block(8, 1)),
    'a device that is forgotten': () => cache.clear('d'),
    'a cache that is emptied': () => {
      put(0, [1])
      const before = cache.revision
      cache.clear()
      assert.notEqual(cache.revision, before)
    },
  }
  for (const [what, change] of Object.entries(changes)) {
    const before = cache.revision
    change()
    assert.notEqual(cache.revision, before, what)
  }
  const before = cache.revision
  cache.find(block(0, 1))
  cache.drop(everything, block(0, 1))
  assert.equal(cache.revision, before, 'looking, and dropping what is not there, change nothing')
})
