import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { CommandLeases, type CommandLeasesOptions } from '../../../core/cli/command-leases.js'
import { busLease } from '../../../core/kernel/bus-leases.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { TestLeaseBook } from '../kernel/lease-book.js'

const BUS = '10.0.0.5:502'
const LEASE = busLease(BUS)

function bench(t: TestContext, options: Partial<CommandLeasesOptions> = {}) {
  const clock = new FakeClock()
  const book = new TestLeaseBook()
  const leases = new CommandLeases({ book, owner: 'command:a', clock, ...options })
  t.after(async () => {
    book.failure = undefined
    await leases.stop()
  })
  return { clock, book, leases }
}

test('a bus that an installation holds stays with it, also after the command', async (t) => {
  const { book, leases } = bench(t)
  book.owners.set(LEASE, 'plant-a')
  assert.equal(leases.holder(BUS).mine, false)
  await leases.decided(BUS)
  const holder = leases.holder(BUS)
  assert.deepEqual([holder.mine, holder.owner], [false, 'plant-a'])
  await leases.stop()
  assert.equal(book.owners.get(LEASE), 'plant-a')
})

test('a free bus is taken, renewed, and given back at the end', async (t) => {
  const { clock, book, leases } = bench(t)
  await leases.decided(BUS)
  assert.deepEqual(leases.holder(BUS), { mine: true, owner: 'command:a' })
  assert.equal(leases.decided(BUS), undefined)
  await clock.advance(20_000)
  assert.equal(book.asked, 11)
  assert.equal(leases.holder(BUS).mine, true)
  await leases.stop()
  assert.equal(book.owners.size, 0)
  assert.equal(clock.pending, 0)
})

for (const code of ['EACCES', 'ENOSPC', 'DATABASE_UNAVAILABLE']) {
  test(`a book that fails with ${code} gives no bus`, async (t) => {
    const { book, leases } = bench(t)
    book.failure = Object.assign(new Error(`${code}: no`), { code })
    await leases.decided(BUS)
    const holder = leases.holder(BUS)
    assert.ok(!holder.mine)
    assert.match(holder.reason, new RegExp(code))
  })
}

test('a bus whose lease cannot be confirmed for a term is not used any more, until it is', async (t) => {
  const { clock, book, leases } = bench(t)
  await leases.decided(BUS)
  book.failure = new Error('away')
  await clock.advance(7_000)
  assert.equal(leases.holder(BUS).mine, true)
  await clock.advance(3_000)
  assert.equal(leases.holder(BUS).mine, false)
  book.failure = undefined
  await leases.decided(BUS)
  assert.equal(leases.holder(BUS).mine, true)
})

test('a bus that was taken over meanwhile is closed', async (t) => {
  const lost: string[] = []
  const { clock, book, leases } = bench(t, { onLost: (bus) => void lost.push(bus) })
  await leases.decided(BUS)
  book.owners.set(LEASE, 'plant-a')
  await clock.advance(2_000)
  assert.deepEqual(lost, [BUS])
  assert.equal(leases.holder(BUS).mine, false)
})

test('what a dead owner left is waited for, and a person is told', async (t) => {
  const told: string[] = []
  const { clock, book, leases } = bench(t, {
    isAlive: async (owner) => owner !== 'dead',
    onWait: (_bus, owner) => void told.push(owner),
  })
  book.owners.set(LEASE, 'dead')
  const decided = leases.decided(BUS)
  await clock.advance(4_000)
  assert.equal(leases.holder(BUS).mine, false)
  book.owners.delete(LEASE)
  await clock.advance(2_000)
  await decided
  assert.equal(leases.holder(BUS).mine, true)
  assert.deepEqual(told, ['dead'])
})
