import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Store } from '../../../core/database/store.js'
import type { DeadLetter } from '../../../core/delivery/delivery-store.js'
import type { DeliveryTables } from '../../../core/delivery/gateway-ports.js'
import { GatewayStore } from '../../../core/delivery/gateway-store.js'
import { MemoryStore } from '../../../core/delivery/memory-store.js'
import { recordsIn } from '../../../core/delivery/spool-records.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { plant } from './gateway-plant.js'
import { until } from './harness.js'
import { letter, parkable, storeContract } from './store-contract.js'

async function lettersOf({ deadLetters }: Store): Promise<DeadLetter[]> {
  return Promise.all((await deadLetters.list()).map(async ({ id }) => (await deadLetters.get(id))!))
}

storeContract('memory', async () => {
  const store = new MemoryStore()
  return { store, letters: async () => store.letters, parked: async () => store.parked, close: async () => {} }
})

storeContract('gateway, database there', async () => {
  const { start, database, close } = await plant()
  const { store } = await start()
  return { store, letters: () => lettersOf(database), parked: () => database.parked.list(), close }
})

storeContract('gateway, database away', async () => {
  const { start, setAway, close } = await plant()
  const { store, spool } = await start()
  await store.claim('seen', 'h')
  setAway(true)
  const kept = async () => {
    const letters = []
    const parked = new Map()
    for await (const { record } of recordsIn(spool)) {
      if (record.op === 'dead') letters.push(record.letter)
      if (record.op === 'park') parked.set(record.id, { ...record.message, id: record.id })
      if (record.op === 'unpark') parked.delete(record.id)
    }
    return { letters, parked: [...parked.values()] }
  }
  return { store, letters: async () => (await kept()).letters, parked: async () => (await kept()).parked, close }
})

test('what was spooled while the database was away is there afterwards, once, and in order', async () => {
  const { start, setAway, database, close } = await plant()
  const { store, spool } = await start()
  await store.claim('k0', 'h')
  setAway(true)
  await store.deadLetter(letter('a'))
  const stays = await store.park(parkable('stays'))
  await store.unpark(await store.park(parkable('goes')))
  await store.claim('k1', 'h')
  await store.complete('k1', { ok: true, value: 1 })
  await store.complete('k0', { ok: true, value: 0 })
  assert.equal(store.stats().spooled, 7)
  setAway(false)
  // Its park still waits in the spool: done directly, the message would be parked again afterwards.
  const late = store.unpark(stays)
  await until('the replay', () => store.stats().spooled === 0)
  await late
  assert.equal(spool.count, 0)
  assert.deepEqual(
    (await database.deadLetters.list()).map(({ topic }) => topic),
    ['a'],
  )
  assert.deepEqual(await database.parked.list(), [])
  assert.deepEqual((await database.idempotency.get('k1'))?.outcome, { ok: true, value: 1 })
  assert.deepEqual((await database.idempotency.get('k0'))?.outcome, { ok: true, value: 0 })
  await close()
})

test('what the database would refuse for good is not parked, and a dead letter of it is kept without its payload', async () => {
  const { start, database, setAway, refuse, close } = await plant()
  const { store } = await start()
  refuse((method) => method === 'put')
  await assert.rejects(store.park(parkable('too large')), { code: 'ER_NET_PACKET_TOO_LARGE' })
  assert.equal(store.stats().spooled, 0)
  refuse(() => false)
  setAway(true)
  const whole = Buffer.from('whole').toString('base64')
  await store.deadLetter({ ...letter('dead'), payload: whole })
  await store.park({ ...parkable('parked'), payload: whole })
  setAway(false)
  refuse((method, message) => method === 'put' && (message as { payload?: string }).payload === whole)
  await until('the replay', () => store.stats().spooled === 0)
  const letters = await lettersOf(database)
  assert.deepEqual(
    letters.map(({ topic, error, payload, withheld }) => [topic, error.code, payload, withheld]).sort(),
    [
      ['dead', 'HANDLER_FAILED', '', 'PAYLOAD_LOST'],
      ['parked', 'PAYLOAD_LOST', '', 'PAYLOAD_LOST'],
    ],
  )
  await close()
})

test('a letter that is kept twice under one id is one letter, over a restart too', async () => {
  const { start, end, database, setAway, close } = await plant()
  const first = await start()
  await first.store.forWorker('slot-1').deadLetter(letter('a'), 'parked-1')
  await end()
  const next = await start()
  setAway(true)
  await next.store.deadLetter(letter('a'), 'parked-1')
  setAway(false)
  await until('the replay', () => next.store.stats().spooled === 0)
  assert.deepEqual(
    (await database.deadLetters.list()).map(({ id }) => id),
    ['parked-1'],
  )
  await close()
})

test('without a spool what the database does not take is refused', async () => {
  const tables = new Proxy({} as DeliveryTables, {
    get: () => new Proxy({}, { get: () => () => Promise.reject(new RouteMQError('DATABASE_UNAVAILABLE', 'away')) }),
  })
  const store = new GatewayStore({ tables, owner: { instance: 'i', boot: 'b' }, logger: silentLogger })
  await assert.rejects(store.deadLetter(letter('a')), { code: 'DATABASE_UNAVAILABLE' })
  await assert.rejects(store.park(parkable('a')), { code: 'DATABASE_UNAVAILABLE' })
  await assert.rejects(store.claim('k', 'h'), { code: 'DATABASE_UNAVAILABLE' })
})
