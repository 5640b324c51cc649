import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type Queued, RouteQueue } from '../../../core/delivery/route-queue.js'

interface Item extends Queued {
  readonly name: string
}

function queue(concurrency: number) {
  const started: Item[] = []
  const line = new RouteQueue<Item>(concurrency, (item) => started.push(item))
  const push = (name: string, key?: string, fate = key ?? name, pool: Item['pool'] = 'live'): Item => {
    const item: Item = { name, key, fate, pool, slot: 'live', place: 'idle' }
    line.push(item)
    return item
  }
  return { line, started, push, names: () => started.map(({ name }) => name) }
}

test('starts as many as there are slots, the rest in order as slots come free', () => {
  const { line, push, names } = queue(2)
  const [a, , c] = ['a', 'b', 'c', 'd'].map((name) => push(name))
  assert.deepEqual(names(), ['a', 'b'])
  line.done(a!)
  assert.deepEqual(names(), ['a', 'b', 'c'])
  line.done(c!)
  assert.deepEqual(names(), ['a', 'b', 'c', 'd'])
})

test('the next of a key starts when the one before is done, not when it leaves its slot', () => {
  const { line, push, names } = queue(4)
  const first = push('a1', 'a')
  push('a2', 'a')
  push('b1', 'b')
  line.release(first)
  assert.deepEqual(names(), ['a1', 'b1'])
  line.again(first)
  assert.deepEqual(names(), ['a1', 'b1', 'a1'])
  line.done(first)
  assert.deepEqual(names(), ['a1', 'b1', 'a1', 'a2'])
  assert.equal(line.keys, 2)
})

test('a parked message leaves its slot to the next, in a second pool of the same size', () => {
  const { line, push, names } = queue(1 + 1)
  const [a, b] = ['a', 'b', 'c', 'd', 'e'].map((name) => push(name))
  line.park(a!)
  line.park(b!)
  assert.deepEqual(names(), ['a', 'b', 'c', 'd'])
  assert.equal(line.running, 4)
  const f = push('f')
  line.park(f)
  assert.deepEqual(names(), ['a', 'b', 'c', 'd'])
  line.done(a!)
  assert.deepEqual(names(), ['a', 'b', 'c', 'd', 'f'])
})

test('with one slot a parked message keeps it', () => {
  const { line, push, names } = queue(1)
  const a = push('a')
  push('b')
  line.park(a)
  assert.deepEqual(names(), ['a'])
  line.done(a)
  assert.deepEqual(names(), ['a', 'b'])
})

test('whatever happens: bounds hold, keys stay in order, everything ends, nothing is kept', () => {
  const step = fc.record({ what: fc.constantFrom('push', 'done', 'park', 'retry'), key: fc.nat(4), pick: fc.nat() })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 4 }), fc.array(step, { maxLength: 120 }), (concurrency, steps) => {
      const { line, started, push } = queue(concurrency)
      const open: Item[] = []
      const pushed = new Map<string, string[]>()
      const ended = new Map<string, string[]>()
      const finish = (item: Item) => {
        open.splice(open.indexOf(item), 1)
        if (item.key !== undefined) ended.set(item.key, [...(ended.get(item.key) ?? []), item.name])
        line.done(item)
      }
      const running = () => open.filter(({ place }) => place === 'running')
      steps.forEach(({ what, key, pick }, index) => {
        if (what === 'push') {
          const name = `m${index}`
          const keyed = key === 4 ? undefined : `k${key}`
          if (keyed !== undefined) pushed.set(keyed, [...(pushed.get(keyed) ?? []), name])
          open.push(push(name, keyed))
        }
        const busy = running()
        const one = busy[pick % Math.max(1, busy.length)]
        if (what === 'park' && open.length > 0) line.park(open[pick % open.length]!)
        if (what === 'done' && one !== undefined) finish(one)
        if (what === 'retry' && one !== undefined) {
          line.park(one)
          line.release(one)
          line.again(one)
        }
        const live = running().filter(({ pool }) => pool === 'live').length
        assert.ok(live <= concurrency && running().length <= (concurrency === 1 ? 1 : 2 * concurrency))
        assert.equal(line.running, running().length)
        const busyKeys = running().flatMap(({ key: busyKey }) => busyKey ?? [])
        assert.equal(new Set(busyKeys).size, busyKeys.length)
      })
      for (let one = running()[0]; one !== undefined; one = running()[0]) finish(one)
      assert.deepEqual(open, [])
      assert.deepEqual(
        Object.fromEntries(ended),
        Object.fromEntries([...ended.keys()].map((key) => [key, pushed.get(key)])),
      )
      assert.equal(line.keys, 0)
      assert.ok(started.length >= [...pushed.values()].flat().length)
    }),
    { numRuns: 300 },
  )
})

test('ten thousand parked messages of one fate keep no other waiting, and leave it a slot', () => {
  const { line, push, names, started } = queue(4)
  const park = (name: string, fate: string) => push(name, undefined, fate, 'parked')
  for (let n = 0; n < 10_000; n += 1) park(`dead ${n}`, 'dead')
  assert.equal(names().length, 3, 'one slot is left to others')
  park('a 1', 'a')
  assert.equal(names().at(-1), 'a 1')
  for (const name of ['a 2', 'a 3', 'b 1']) park(name, name.slice(0, 1))
  for (const dead of started.slice(0, 3)) line.done(dead)
  assert.deepEqual(names().slice(4), ['dead 3', 'a 2', 'b 1'], 'each has its turn')
})

test('a fate that is alone goes on, though never in all slots', () => {
  const { line, push, names, started } = queue(3)
  for (let n = 0; n < 6; n += 1) push(`${n}`, undefined, 'one', 'parked')
  assert.equal(names().length, 2)
  for (let at = 0; at < 6; at += 1) line.done(started[at]!)
  assert.deepEqual(names(), ['0', '1', '2', '3', '4', '5'])
})

test('never do more than twice as many run, however many are parked while they run', () => {
  const { line, push, started, names } = queue(2)
  for (let n = 0; n < 20; n += 1) line.park(push(`${n}`))
  assert.equal(names().length, 4)
  line.done(started[2]!)
  push('fresh')
  assert.equal(names().at(-1), 'fresh', 'one that kept its slot gives it back')
  line.done(started[0]!)
  assert.equal(names().at(-1), '4')
})
