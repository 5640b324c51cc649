import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TransactionIds } from '../../../../core/modbus/transport/transaction-ids.js'

const NONE: ReadonlyMap<number, unknown> = new Map()

test('an id comes again only after all others had their turn, and none is 0', () => {
  const ids = new TransactionIds()
  const given = Array.from({ length: 65_535 }, () => ids.next(NONE))
  assert.equal(new Set(given).size, 65_535)
  assert.ok(given.every((id) => id >= 1 && id <= 65_535))
  assert.equal(ids.next(NONE), given[0])
})

test('the id of a call in flight is passed over', () => {
  const others = new TransactionIds()
  const [first, second, third] = [1, 2, 3].map(() => others.next(NONE))
  const ids = new TransactionIds()
  const given = [1, 2].map(() => ids.next(new Map([[second!, 'a call']])))
  assert.deepEqual(given, [first, third])
})
