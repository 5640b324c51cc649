import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Durability } from '../../../../core/database/ingest/durability.js'

test('rows are told of when they and all before them are durable, in whatever order their batches become so', () => {
  const durability = new Durability()
  const told: string[] = []
  const take = (rows: number, name: string) => {
    durability.take(rows)
    durability.whenDurable(() => told.push(name))
  }
  take(2, 'a')
  take(3, 'b')
  const first = durability.batch(4)
  take(1, 'c')
  const second = durability.batch(2)
  assert.deepEqual(told, [])
  second()
  assert.deepEqual(told, [])
  first()
  assert.deepEqual(told, ['a', 'b', 'c'])
  take(1, 'never in a batch')
  durability.batch(0)()
  assert.deepEqual(told, ['a', 'b', 'c'])
  durability.batch(1)()
  assert.equal(told.at(-1), 'never in a batch')
})

test('what follows rows that never became durable is not told of', () => {
  const durability = new Durability()
  const told: string[] = []
  durability.take(1)
  durability.whenDurable(() => told.push('lost'))
  durability.batch(1)
  durability.take(1)
  durability.whenDurable(() => told.push('after it'))
  durability.batch(1)()
  assert.deepEqual(told, [])
})
