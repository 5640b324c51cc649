import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import type { SpoolPort } from '../../../core/delivery/gateway-ports.js'
import { GatewayStore } from '../../../core/delivery/gateway-store.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Spool } from '../../../core/spool/spool.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { plant } from './gateway-plant.js'
import { letter, parkable } from './store-contract.js'

test('while the spool of an earlier life cannot be read nothing is claimed or kept; afterwards what ran is known', async () => {
  const { dir, database, start, end, setAway, close } = await plant()
  const { store: earlier } = await start()
  setAway(true)
  await earlier.claim('ran', 'h')
  await earlier.complete('ran', { ok: true, value: 7 })
  const waiting = await earlier.park(parkable('waits'))
  await end()

  const spool = await Spool.open({ dir: join(dir, 'spool'), maxBytes: 1_048_576 })
  let isOpen = false
  const store = new GatewayStore({
    tables: { deadLetters: database.deadLetters, parked: database.parked, claims: database.idempotency },
    spool: lateSpool(spool, () => isOpen),
    owner: { instance: 'i', boot: 'later' },
    logger: silentLogger,
  })
  const refused = { code: 'SPOOL_FAILED' }
  await assert.rejects(store.start(), refused)
  await assert.rejects(store.claim('ran', 'h'), refused, 'it would run a second time')
  await assert.rejects(store.forWorker('solo').claim('ran', 'h'), refused)
  await assert.rejects(store.deadLetter(letter('a')), refused)
  await assert.rejects(store.park(parkable('b')), refused)
  await assert.rejects(store.takeOver('solo', new Set(['r'])), refused)
  assert.deepEqual(await database.deadLetters.list(), [])

  isOpen = true
  assert.deepEqual(await store.claim('ran', 'h'), { state: 'done', outcome: { ok: true, value: 7 } })
  assert.equal((await store.fetchParked(waiting))?.topic, 'waits')
  assert.equal(store.stats().spooled, 3)
  await store.deadLetter(letter('a'))
  assert.equal((await database.deadLetters.list()).length, 1)
  await store.stop()
  await spool.close()
  await close()
})

/** One that holds something and cannot be opened, as on a full disk. */
function lateSpool(spool: Spool, isOpen: () => boolean): SpoolPort {
  const open = async () => {
    if (!isOpen()) throw new RouteMQError('SPOOL_FAILED', 'cannot be opened: ENOSPC')
    return spool
  }
  return {
    get count() {
      return isOpen() ? spool.count : 0
    },
    append: async (records) => (await open()).append(records),
    read: async (after) => (await open()).read(after),
    peek: async (limit, after) => (await open()).peek(limit, after),
    ack: async (position) => (await open()).ack(position),
  }
}
