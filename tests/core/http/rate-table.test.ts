import assert from 'node:assert/strict'
import { test } from 'node:test'
import { networkOf, RateTable } from '../../../core/http/rate-table.js'

const rate = { max: 2, windowMs: 1_000 }

test('a client has its share in each window, and is told how long the next one is away', () => {
  const table = new RateTable()
  const take = (at: number, client = 'a') => table.take(client, rate, at)
  assert.deepEqual([take(0), take(0.5), take(400.2), take(999.5)], [undefined, undefined, 600, 1])
  assert.equal(take(999.5, 'b'), undefined, 'each client has a window of its own')
  assert.deepEqual([take(1_000), take(1_999), take(1_999)], [undefined, undefined, 1])
  assert.equal(table.take('a', { max: 4, windowMs: 1_000 }, 1_999), undefined, 'a new limit holds at once')
})

test('only so many clients are remembered: the one whose window began first goes', () => {
  const table = new RateTable()
  const once = { max: 1, windowMs: 1e9 }
  assert.equal(table.take('early', once, 0), undefined)
  for (let count = 0; count < 4_999; count += 1) table.take(`client-${count}`, once, 1)
  assert.equal(table.take('early', once, 2), 999_999_998)
  table.take('one too many', once, 3)
  assert.equal(table.take('early', once, 4), undefined, 'forgotten')
  assert.notEqual(table.take('client-4998', once, 4), undefined, 'remembered')
})

test('an IPv6 subscriber is one client with all its addresses, an IPv4 address is one', () => {
  assert.equal(networkOf('10.0.0.7'), '10.0.0.7')
  for (const address of ['2001:db8:1:2::1', '2001:0db8:1:2:ffff:1:2:3', '2001:db8:1:2:0:0:0:0'])
    assert.equal(networkOf(address), '2001:db8:1:2::/64', address)
  assert.equal(networkOf('2001:db8::1'), '2001:db8:0:0::/64')
  assert.equal(networkOf('fe80::1%eth0'), 'fe80:0:0:0::/64')
  assert.equal(networkOf('::1'), '0:0:0:0::/64')
  assert.notEqual(networkOf('::ffff:10.0.0.7'), networkOf('::ffff:10.0.0.8'))
})
