import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { sql } from 'kysely'
import { GatewayStore } from '../../../core/delivery/gateway-store.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { plant } from './gateway-plant.js'
import { until } from './harness.js'
import { parkable } from './store-contract.js'

test('what a worker was parking when it died is not kept: it was not acknowledged and comes again', async () => {
  const { start, close } = await plant()
  const { store } = await start()
  const parking = store.forWorker('slot-1').park(parkable('a'))
  store.workerLost('slot-1')
  await assert.rejects(parking, { code: 'WORKER_LOST' })
  assert.deepEqual(await store.takeOver('slot-1', new Set(['r'])), [])
  assert.equal(store.stats().parked, 0)
  await close()
})

test('parked messages of a lost worker and of an earlier life are handed on once, by route', async () => {
  const { start, end, setAway, close } = await plant()
  const first = await start()
  const routes = new Set(['r'])
  const [one, two] = [first.store.forWorker('slot-1'), first.store.forWorker('slot-2')]
  await one.park(parkable('a'))
  await two.park(parkable('b'))
  assert.deepEqual(await first.store.takeOver('slot-2', routes), [])
  first.store.workerLost('slot-1')
  assert.deepEqual(await first.store.takeOver('slot-2', new Set(['other'])), [])
  assert.deepEqual(
    (await first.store.takeOver('slot-2', routes)).map(({ topic }) => topic),
    ['a'],
  )
  assert.deepEqual(await first.store.takeOver('slot-2', routes), [])
  setAway(true)
  await two.park(parkable('c'))
  setAway(false)
  await end()
  const second = await start()
  const taken = await second.store.takeOver('slot-1', routes)
  assert.deepEqual(taken.map(({ topic }) => topic).sort(), ['a', 'b', 'c'])
  for (const { id } of taken) await second.store.unpark(id)
  await until('the replay', () => second.store.stats().spooled === 0)
  second.store.workerLost('slot-1')
  assert.deepEqual(await second.store.takeOver('slot-1', routes), [])
  await close()
})

test('several workers that ask at once: each parked message goes to one of them', async () => {
  const { start, end, close } = await plant()
  const first = await start()
  for (let n = 0; n < 20; n++) await first.store.park(parkable(`t${n}`))
  await end()
  const second = await start()
  const taken = await Promise.all([1, 2, 3, 4].map((slot) => second.store.takeOver(`slot-${slot}`, new Set(['r']))))
  const topics = taken.flat().map(({ topic }) => topic)
  assert.deepEqual(topics.sort(), Array.from({ length: 20 }, (_, n) => `t${n}`).sort())
  await close()
})

test('what moves from the spool into the table while it is looked for is found, once', async () => {
  const { start, end, setAway, close } = await plant()
  const first = await start()
  setAway(true)
  for (const topic of ['a', 'b', 'c']) await first.store.park(parkable(topic))
  await end()
  const second = await start()
  setAway(false)
  let found: readonly string[] = []
  // The spool is done into the table every 100 ms; each look may come before, within or after that.
  while (found.length === 0) {
    found = (await second.store.takeOver('slot-1', new Set(['r']))).map(({ topic }) => topic)
  }
  assert.deepEqual(found, ['a', 'b', 'c'])
  await until('the replay', () => second.store.stats().spooled === 0)
  assert.deepEqual(await second.store.takeOver('slot-2', new Set(['r'])), [])
  await close()
})

test('what waits is listed without payloads, and fetched from wherever it is', async () => {
  const { start, end, setAway, close } = await plant()
  const { store } = await start()
  const inTable = await store.park(parkable('table'))
  setAway(true)
  const inSpool = await store.park({ ...parkable('spool'), payload: 'c3Bvb2w=' })
  assert.equal((await store.fetchParked(inSpool))?.payload, 'c3Bvb2w=')
  await assert.rejects(store.fetchParked(inTable), { code: 'DATABASE_UNAVAILABLE' })
  await end()
  // The next life reads it from the spool that it finds.
  const next = await start()
  assert.equal((await next.store.fetchParked(inSpool))?.payload, 'c3Bvb2w=')
  setAway(false)
  const heads = await next.store.takeOver('slot-1', new Set(['r']))
  assert.deepEqual(
    heads.map((head) => [head.topic, 'payload' in head]),
    [
      ['table', false],
      ['spool', false],
    ],
  )
  await until('the replay', () => next.store.stats().spooled === 0)
  assert.equal((await next.store.fetchParked(inSpool))?.payload, 'c3Bvb2w=')
  assert.equal((await next.store.fetchParked(inTable))?.topic, 'table')
  await next.store.unpark(inTable)
  assert.equal(await next.store.fetchParked(inTable), undefined)
  await close()
})

test('a row that is damaged keeps nobody from the others', async () => {
  const { start, end, database, close } = await plant()
  const { store } = await start()
  const ids = [await store.park(parkable('a')), await store.park(parkable('b')), await store.park(parkable('c'))]
  await sql`update routemq_parked set record = '{"route":"r","to' where parked_id = ${ids[1]}`.execute(database.kysely)
  assert.equal(await store.fetchParked(ids[1]!), undefined)
  await end()
  const next = await start()
  const taken = await next.store.takeOver('slot-1', new Set(['r']))
  assert.deepEqual(
    taken.map(({ topic }) => topic),
    ['a', 'c'],
  )
  await close()
})

test('a spooled record that is damaged on disk is gone, and nothing waits for it for ever', async () => {
  const { start, dir, setAway, database, close } = await plant()
  const { store, spool } = await start()
  setAway(true)
  const ids = [await store.park(parkable('a')), await store.park(parkable('b'))]
  const [segment] = (await readdir(join(dir, 'spool'))).filter((name) => name.endsWith('.seg'))
  const bytes = await readFile(join(dir, 'spool', segment!))
  bytes[bytes.indexOf('"topic":"a"') + 9] = 'x'.charCodeAt(0)
  await writeFile(join(dir, 'spool', segment!), bytes)
  assert.equal((await store.fetchParked(ids[1]!))?.topic, 'b')
  setAway(false)
  assert.equal(await store.fetchParked(ids[0]!), undefined)
  await until('the replay', () => store.stats().spooled === 0)
  assert.equal(spool.count, 0)
  assert.deepEqual(
    (await database.parked.list()).map(({ topic }) => topic),
    ['b'],
  )
  for (const id of ids) await store.unpark(id)
  assert.deepEqual(await database.parked.list(), [])
  await close()
})

test('what is parked for a route that is no more goes to one of those who ask', async () => {
  const { start, end, close } = await plant()
  const first = await start()
  await first.store.park({ ...parkable('of r'), route: 'r' })
  await first.store.park({ ...parkable('of s'), route: 's' })
  await first.store.park({ ...parkable('of none'), route: 'gone' })
  await end()
  const { store } = await start()
  const known = new Set(['r', 's'])
  assert.deepEqual(await store.takeOver('slot-1', new Set()), [], 'not without knowing what there is')
  const [one, two] = await Promise.all([
    store.takeOver('slot-1', new Set(['r']), known),
    store.takeOver('slot-2', new Set(['s']), known),
  ])
  const topics = [one, two].map((taken) => taken.map(({ topic }) => topic))
  assert.deepEqual(topics.flat().sort(), ['of none', 'of r', 'of s'])
  assert.ok(topics[0]!.includes('of r') && topics[1]!.includes('of s'))
  await close()
})

test('a route that one worker has is not gone for the others, whose routers are older', async () => {
  const { start, end, close } = await plant()
  const first = await start()
  await first.store.park({ ...parkable('a'), route: 'new' })
  await end()
  const { store } = await start()
  const [older, newer] = [new Set(['r']), new Set(['r', 'new'])]
  assert.deepEqual(await store.takeOver('slot-1', new Set(['r']), newer), [])
  assert.deepEqual(await store.takeOver('slot-2', new Set(['r']), older), [])
  assert.deepEqual(
    await store.takeOver('slot-1', new Set(['r']), older).then((heads) => heads.map((one) => one.route)),
    ['new'],
  )
  await close()
})

test('another installation on the same database does not take them', async () => {
  const { start, database, close } = await plant()
  const { store } = await start()
  await store.park(parkable('a'))
  const other = new GatewayStore({
    tables: { deadLetters: database.deadLetters, parked: database.parked, claims: database.idempotency },
    owner: { instance: 'other', boot: 'b' },
    logger: silentLogger,
  })
  assert.deepEqual(await other.takeOver('w', new Set(['r'])), [])
  await close()
})
