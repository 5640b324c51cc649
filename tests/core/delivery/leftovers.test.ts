import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLogger } from '../../../core/observability/logger.js'
import { bench, KeepingStore, strayLetter, until } from './harness.js'

test('a parked message whose route is gone, or takes its topic no more, is a dead letter that runs once it is back', async () => {
  const store = new KeepingStore()
  const first = bench((router) => router.on('k/{key}', () => new Promise(() => {}), { orderBy: 'key', name: 'k' }), {
    store,
    ackHoldMs: 10,
  })
  await Promise.all([first.send('k/a', { n: 1 }), first.send('k/a', { n: 2 })])
  await first.engine.stop()
  const renamed = bench((router) => router.on('other/{key}', () => 1, { name: 'k' }), { store })
  renamed.engine.resume(store.inner.parked.map(({ payload: _, ...head }) => head))
  await until('they are taken out', () => store.inner.parked.length === 0)
  assert.equal(renamed.engine.stats().parked_now, 0)
  assert.deepEqual(
    store.inner.letters.map(({ topic, error, payload }) => [
      topic,
      error.code,
      Buffer.from(payload, 'base64').toString(),
    ]),
    [
      ['k/a', 'ROUTE_UNKNOWN', '{"n":1}'],
      ['k/a', 'ROUTE_UNKNOWN', '{"n":2}'],
    ],
  )
  await assert.rejects(renamed.engine.run(store.inner.letters[0]!), { code: 'ROUTE_UNKNOWN' })
  const back = bench((router) => router.on('k/{key}', ({ payload }) => payload, { name: 'k' }), { store })
  assert.deepEqual(await back.engine.run(store.inner.letters[0]!), { ok: true, value: { n: 1 } })
  for (const { engine } of [renamed, back]) await engine.stop()
})

test('where the store is away a parked message whose route is gone stays where it is, until the store is back', async () => {
  const store = new KeepingStore()
  await store.inner.park({ ...strayLetter(), key: undefined, attempt: 1 })
  store.fail = (method) => (method === 'fetchParked' ? new Error('database away') : undefined)
  const warned: string[] = []
  const logger = { ...silentLogger, warn: (_: object, text: string) => warned.push(text) }
  const { engine } = bench((router) => router.on('a', () => 1), { store, logger })
  engine.resume(store.inner.parked)
  await until('it is told', () => warned.length === 1)
  assert.equal(store.inner.parked.length, 1)
  assert.equal(store.inner.letters.length, 0)
  store.fail = undefined
  await until('it is tried again', () => store.inner.parked.length === 0)
  assert.deepEqual(
    store.inner.letters.map(({ error }) => error.code),
    ['ROUTE_UNKNOWN'],
  )
  assert.equal(warned.filter((text) => text.includes('route is gone')).length, 1)
  await engine.stop()
})

test('parked messages of a removed route are brought one at a time, each letter under the id it was parked with', async () => {
  const store = new KeepingStore()
  const ids: string[] = []
  for (let n = 0; n < 30; n++) {
    ids.push(await store.inner.park({ ...strayLetter(), key: undefined, attempt: 1 }))
  }
  let fetching = 0
  let most = 0
  const fetchParked = store.fetchParked.bind(store)
  store.fetchParked = async (id) => {
    most = Math.max(most, ++fetching)
    return fetchParked(id).finally(() => fetching--)
  }
  const under: unknown[] = []
  const deadLetter = store.deadLetter.bind(store)
  store.deadLetter = (letter, id?: string) => {
    under.push(id)
    return deadLetter(letter)
  }
  const { engine } = bench((router) => router.on('a', () => 1), { store })
  engine.resume(store.inner.parked)
  await until('all are ended', () => store.inner.parked.length === 0)
  assert.equal(most, 1)
  assert.deepEqual(under, ids)
  assert.equal(store.inner.letters.length, 30)
  await engine.stop()
})
