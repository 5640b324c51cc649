import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { MemoryStore } from '../../../core/delivery/memory-store.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { plant } from './gateway-plant.js'
import { Field, until } from './harness.js'

const write = { op: 'write', device_id: 'd', items: [{ point: 'p', value: 1 }] } as const

test('claims of a life that ended are interrupted in the next, ended ones keep their outcome; in the table and in the spool', async () => {
  const { start, end, setAway, close } = await plant()
  const first = await start()
  await first.store.claim('table', 'h')
  await first.store.claim('table-done', 'h')
  setAway(true)
  await first.store.claim('spool', 'h')
  await first.store.claim('spool-done', 'h')
  await first.store.complete('spool-done', { ok: true, value: 2 })
  await first.store.complete('table-done', { ok: true, value: 1 })
  await end()
  const second = await start()
  const look = async () => ({
    spool: (await second.store.claim('spool', 'h')).state,
    'spool-done': (await second.store.claim('spool-done', 'h')).state,
    'table-done': (await second.store.claim('table-done', 'h')).state,
  })
  const wanted = { spool: 'interrupted', 'spool-done': 'done', 'table-done': 'done' }
  assert.deepEqual(await look(), wanted)
  // Nobody can know whether an earlier life ran it.
  await assert.rejects(second.store.claim('table', 'h'), { code: 'DATABASE_UNAVAILABLE' })
  setAway(false)
  await until('the replay', () => second.store.stats().spooled === 0)
  assert.deepEqual(await look(), wanted)
  assert.equal((await second.store.claim('table', 'h')).state, 'interrupted')
  await close()
})

for (const kind of ['gateway', 'memory'] as const)
  test(`${kind}: a command whose worker died runs elsewhere, and what it wrote is not written again`, async () => {
    const { start, close } = await plant()
    const store = kind === 'memory' ? new MemoryStore() : (await start()).store
    const field = new Field()
    let finish = (_: unknown) => {}
    field.answer = (_request, signal) =>
      new Promise((resolve, reject) => {
        finish = resolve
        signal?.addEventListener('abort', () => reject(signal.reason))
      })
    const devices = store.guardField(field)
    const claimed = { ...write, claim: { key: 'k', index: 0 } }
    const [one, two] = [store.forWorker('slot-1'), store.forWorker('slot-2')]
    assert.equal((await one.claim('k', 'h')).state, 'claimed')
    const abort = new AbortController()
    const firstWrite = devices.request(claimed, abort.signal)
    assert.equal((await two.claim('k', 'h')).state, 'running')
    store.workerLost('slot-1')
    abort.abort(new RouteMQError('WORKER_LOST', 'slot-1 is gone'))
    assert.equal((await two.claim('k', 'h')).state, 'claimed')
    const secondWrite = devices.request(claimed)
    finish({ device_id: 'd', results: [] })
    assert.deepEqual(await secondWrite, await firstWrite)
    assert.equal(field.requests.length, 1)
    assert.equal('claim' in field.requests[0]!, false)
    await assert.rejects(devices.request({ ...claimed, device_id: 'other' } as never), {
      code: 'WRITE_OUTCOME_UNKNOWN',
    })
    await two.complete('k', { ok: true, value: 1 })
    await assert.rejects(one.claim('k', 'h'), { code: 'WORKER_LOST' }, 'the process that is gone gets nothing any more')
    assert.equal((await store.forWorker('slot-1').claim('k', 'h')).state, 'done', 'the one in its place does')
    await close()
  })

test('while the database is away only a key that it never had is a first: not one of an earlier life, not a forgotten one', async () => {
  const { start, end, setAway, close } = await plant()
  const first = await start()
  for (let n = 0; n < 1_005; n++) await first.store.claim(`early ${n}`, 'h')
  await end()
  const { store } = await start(2)
  for (const key of ['a', 'b', 'c']) {
    await store.claim(key, 'h')
    await store.complete(key, { ok: true, value: key })
  }
  await store.claim('given back', 'h')
  await store.release('given back')
  setAway(true)
  for (const key of ['early 0', 'early 999', 'early 1004', 'a']) {
    await assert.rejects(store.claim(key, 'h'), { code: 'DATABASE_UNAVAILABLE' }, key)
  }
  assert.equal((await store.claim('c', 'h')).state, 'done')
  assert.equal((await store.claim('given back', 'h')).state, 'claimed')
  for (const key of ['d', 'e', 'f']) {
    assert.equal((await store.claim(key, 'h')).state, 'claimed')
    await store.complete(key, { ok: true, value: key })
  }
  await assert.rejects(store.claim('d', 'h'), { code: 'DATABASE_UNAVAILABLE' }, 'forgotten, and only in the spool')
  setAway(false)
  await until('the replay', () => store.stats().spooled === 0)
  assert.equal((await store.claim('d', 'h')).state, 'done')
  assert.equal((await store.claim('early 7', 'h')).state, 'interrupted')
  await close()
})

test('one claim in the table says nothing of the others: until all are known none is taken without it', async () => {
  const { start, refuse, setAway, close } = await plant()
  refuse((method) => method === 'keys')
  setAway(true)
  const { store } = await start()
  setAway(false)
  assert.equal((await store.claim('k', 'h')).state, 'claimed')
  setAway(true)
  await assert.rejects(store.claim('new', 'h'), { code: 'DATABASE_UNAVAILABLE' })
  refuse(() => false)
  setAway(false)
  await until('the claims are known', () => store.knowsClaims)
  setAway(true)
  assert.equal((await store.claim('new', 'h')).state, 'claimed')
  await close()
})

for (const ending of ['complete', 'release'] as const)
  test(`a command whose worker dies while its ${ending} is being stored is not run meanwhile`, async () => {
    const { start, hold, close } = await plant()
    const { store } = await start()
    await store.forWorker('slot-1').claim('k', 'h')
    const { entered, letGo } = hold(ending)
    const stored =
      ending === 'complete' ? store.complete('k', { ok: true, value: 1 }) : store.forWorker('slot-1').release('k')
    await entered
    store.workerLost('slot-1')
    assert.equal((await store.forWorker('slot-2').claim('k', 'h')).state, 'running')
    letGo()
    await stored
    assert.equal((await store.forWorker('slot-2').claim('k', 'h')).state, ending === 'complete' ? 'done' : 'claimed')
    await close()
  })

test('a copy that waited in a worker that died does not take the claim with it', async () => {
  const { start, close } = await plant({ copyWaitMs: 60_000 })
  const { store } = await start()
  const [one, two] = [store.forWorker('slot-1'), store.forWorker('slot-2')]
  await two.claim('k', 'h')
  const waiting = one.claim('k', 'h')
  await setImmediate()
  store.workerLost('slot-1')
  store.workerLost('slot-2')
  await assert.rejects(waiting, { code: 'WORKER_LOST' })
  assert.equal((await store.forWorker('slot-3').claim('k', 'h')).state, 'claimed')
  await close()
})

test('a command that is given up by its handler ends its write', async () => {
  const { start, close } = await plant()
  const { store } = await start()
  const field = new Field()
  field.answer = (_request, signal) =>
    new Promise((_resolve, reject) => signal!.addEventListener('abort', () => reject(signal!.reason)))
  const abort = new AbortController()
  const answer = store.guardField(field).request({ ...write, claim: { key: 'k', index: 0 } }, abort.signal)
  abort.abort(new RouteMQError('HANDLER_TIMEOUT', 'too slow'))
  await assert.rejects(answer, { code: 'HANDLER_TIMEOUT' })
  await close()
})

test('a write that provably did nothing may be sent by the next run', async () => {
  const { start, close } = await plant()
  const { store } = await start()
  const field = new Field()
  const devices = store.guardField(field)
  field.answer = () => {
    throw new RouteMQError('WORKER_LOST', 'aborted', { details: { results: [{ outcome: 'not_sent' }] } })
  }
  const claimed = { ...write, claim: { key: 'k', index: 0 } }
  await assert.rejects(devices.request(claimed))
  field.answer = () => ({ device_id: 'd', results: [] })
  await devices.request(claimed)
  assert.equal(field.requests.length, 2)
  await close()
})

test('a copy waits for the end of the first instead of asking in a hurry', async () => {
  const { start, close } = await plant({ copyWaitMs: 60_000 })
  const { store } = await start()
  await store.claim('k', 'h')
  const second = store.claim('k', 'h')
  await store.complete('k', { ok: true, value: 'v' })
  assert.deepEqual(await second, { state: 'done', outcome: { ok: true, value: 'v' } })
  await close()
})

test('a claim whose end cannot be kept is answered from this life, one that cannot be given back is free', async () => {
  const { start, setAway, full, close } = await plant()
  const { store } = await start()
  assert.equal((await store.claim('ended', 'h')).state, 'claimed')
  assert.equal((await store.claim('nothing done', 'h')).state, 'claimed')
  setAway(true)
  full(true)
  await assert.rejects(store.complete('ended', { ok: true, value: 1 }), { code: 'SPOOL_FULL' })
  assert.deepEqual(await store.claim('ended', 'h'), { state: 'done', outcome: { ok: true, value: 1 } })
  await store.release('nothing done')
  assert.equal((await store.claim('nothing done', 'h')).state, 'claimed')
  await close()
})
