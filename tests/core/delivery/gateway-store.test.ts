import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { sql } from 'kysely'
import { openDatabase } from '../../../core/database/open.js'
import type { Store } from '../../../core/database/store.js'
import type { DeliveryTables } from '../../../core/delivery/gateway-ports.js'
import { GatewayStore } from '../../../core/delivery/gateway-store.js'
import { MemoryStore } from '../../../core/delivery/memory-store.js'
import { recordsIn } from '../../../core/delivery/spool-records.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Spool } from '../../../core/spool/spool.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { closedGate, Field, until } from './harness.js'
import { letter, parkable, storeContract } from './store-contract.js'

const write = { op: 'write', device_id: 'd', items: [{ point: 'p', value: 1 }] } as const

/** A folder with a real database and a real spool; the database can be taken away and lives of the gateway follow each other. */
async function plant({ copyWaitMs = 100 } = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'routemq-delivery-'))
  const database = (await openDatabase(
    { kind: 'sqlite', file: join(dir, 'd.db') },
    { logger: silentLogger, instance: 'i' },
  )) as Store
  let away = false
  let refuses: (method: string, subject: unknown) => boolean = () => false
  let isFull = false
  let held: { method: string; entered: () => void; until: Promise<void> } | undefined
  const guarded = <T extends object>(port: T): T =>
    new Proxy(port, {
      get: (target, name) => {
        const method = Reflect.get(target, name) as (...args: unknown[]) => Promise<unknown>
        return async (...args: unknown[]) => {
          if (away) throw new RouteMQError('DATABASE_UNAVAILABLE', 'away', { details: { state: 'disconnected' } })
          if (refuses(String(name), args[0])) {
            throw Object.assign(new Error('Got a packet bigger than allowed'), { code: 'ER_NET_PACKET_TOO_LARGE' })
          }
          if (held?.method === name) {
            held.entered()
            await held.until
          }
          return method.apply(target, args)
        }
      },
    })
  const tables: DeliveryTables = {
    deadLetters: guarded(database.deadLetters),
    parked: guarded(database.parked),
    claims: guarded(database.idempotency),
  }
  let life = 0
  const open: { store: GatewayStore; spool: Spool }[] = []
  const start = async (remembered?: number) => {
    const spool = await Spool.open({ dir: join(dir, 'spool'), maxBytes: 1_048_576 })
    const store = new GatewayStore({
      tables,
      spool: {
        get count() {
          return spool.count
        },
        append: (records) => (isFull ? Promise.reject(new RouteMQError('SPOOL_FULL', 'full')) : spool.append(records)),
        read: (after) => spool.read(after),
        peek: (limit, after) => spool.peek(limit, after),
        ack: (position) => spool.ack(position),
      },
      owner: { instance: 'i', boot: `boot-${++life}` },
      logger: silentLogger,
      copyWaitMs,
      replayMs: 100,
      ...(remembered !== undefined && { remembered }),
      parkedPage: 7,
    })
    await store.start()
    if (!away && !held) await until('the claims are known', () => store.knowsClaims)
    open.push({ store, spool })
    return { store, spool }
  }
  const end = async () => {
    const { store, spool } = open.pop()!
    await store.stop()
    await spool.close()
  }
  return {
    dir,
    database,
    refuse: (which: typeof refuses) => {
      refuses = which
    },
    /** The next calls of this method stand still in the database. */
    hold: (method: string) => {
      const entry = closedGate()
      const exit = closedGate()
      held = { method, entered: entry.open, until: exit.opened }
      return { entered: entry.opened, letGo: exit.open }
    },
    full: (value: boolean) => {
      isFull = value
    },
    start,
    end,
    setAway: (value: boolean) => {
      away = value
    },
    close: async () => {
      while (open.length > 0) await end()
      await database.close()
      await rm(dir, { recursive: true })
    },
  }
}

storeContract('memory', async () => {
  const store = new MemoryStore()
  return { store, letters: async () => store.letters, parked: async () => store.parked, close: async () => {} }
})

storeContract('gateway, database there', async () => {
  const { start, database, close } = await plant()
  const { store } = await start()
  return { store, letters: () => database.deadLetters.list(), parked: () => database.parked.list(), close }
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
  const letters = await database.deadLetters.list()
  assert.deepEqual(
    letters.map(({ topic, error, payload, withheld }) => [topic, error.code, payload, withheld]).sort(),
    [
      ['dead', 'HANDLER_FAILED', '', 'PAYLOAD_LOST'],
      ['parked', 'PAYLOAD_LOST', '', 'PAYLOAD_LOST'],
    ],
  )
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

test('without a spool what the database does not take is refused', async () => {
  const tables = new Proxy({} as DeliveryTables, {
    get: () => new Proxy({}, { get: () => () => Promise.reject(new RouteMQError('DATABASE_UNAVAILABLE', 'away')) }),
  })
  const store = new GatewayStore({ tables, owner: { instance: 'i', boot: 'b' }, logger: silentLogger })
  await assert.rejects(store.deadLetter(letter('a')), { code: 'DATABASE_UNAVAILABLE' })
  await assert.rejects(store.park(parkable('a')), { code: 'DATABASE_UNAVAILABLE' })
  await assert.rejects(store.claim('k', 'h'), { code: 'DATABASE_UNAVAILABLE' })
})
