import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Copy, Holding } from '../../../core/delivery/copy.js'
import { ReplyTurn } from '../../../core/delivery/reply-turn.js'
import type { Unit } from '../../../core/delivery/unit.js'

/** A copy with `units` routes; the units themselves do not matter here. */
function held(holding: Holding, units: number, at: number, settled: string[], name: string): Copy {
  const copy = new Copy(holding, () => settled.push(name), at)
  holding.add(copy)
  for (let n = 0; n < units; n++) copy.add({} as Unit)
  return copy
}

test('a message settles when its last route leaves, and work for afterwards runs then or at once', () => {
  const holding = new Holding()
  const settled: string[] = []
  const copy = held(holding, 2, 0, settled, 'a')
  copy.afterwards(() => settled.push('after'))
  copy.leave()
  assert.equal(settled.length, 0)
  copy.leave()
  copy.afterwards(() => settled.push('late'))
  assert.deepEqual(settled, ['a', 'after', 'late'])
  assert.equal(holding.size, 0)
})

test('each held message knows how many later ones wait behind it', () => {
  const holding = new Holding()
  const settled: string[] = []
  const copies = ['a', 'b', 'c', 'd', 'e'].map((name, at) => held(holding, 1, at, settled, name))
  copies[1]!.leave()
  copies[3]!.leave()
  copies[4]!.leave()
  const seen: [number, number][] = []
  holding.visit(10, 0, (_copy, heldMs, behind) => seen.push([heldMs, behind]))
  assert.deepEqual(seen, [
    [10, 3],
    [8, 2],
  ])
  seen.length = 0
  holding.visit(10, 9, (_copy, heldMs, behind) => seen.push([heldMs, behind]))
  assert.deepEqual(seen, [[10, 3]])
})

test('messages may leave while they are visited, from either end and the middle', () => {
  const holding = new Holding()
  const settled: string[] = []
  const copies = ['a', 'b', 'c', 'd'].map((name) => held(holding, 1, 0, settled, name))
  holding.visit(5, 0, (copy) => copy.leave())
  assert.deepEqual(settled, ['a', 'b', 'c', 'd'])
  assert.equal(holding.size, 0)
  assert.equal(copies[0]!.newer, undefined)
})

test('a lane is quiet where nothing arrived since the last look', () => {
  const holding = new Holding()
  held(holding, 1, 0, [], 'a')
  assert.equal(holding.quietSinceLastLook(), false)
  assert.equal(holding.quietSinceLastLook(), true)
  held(holding, 1, 0, [], 'b')
  assert.equal(holding.quietSinceLastLook(), false)
})

test('the answer of the most specific route goes out once every more specific one has none', async () => {
  const sent: string[] = []
  const turn = new ReplyTurn(3)
  const say = (name: string) => async () => void sent.push(name)
  const third = turn.offer(2, say('third'))
  const second = turn.offer(1, say('second'))
  await new Promise(setImmediate)
  assert.equal(sent.length, 0)
  await turn.offer(0)
  await Promise.all([second, third])
  assert.deepEqual(sent, ['second'])
  await turn.offer(1, say('again'))
  assert.deepEqual(sent, ['second'])
})
