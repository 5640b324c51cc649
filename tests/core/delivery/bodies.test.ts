import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ParkedMessage } from '../../../core/delivery/delivery-store.js'
import type { Router } from '../../../core/router/router.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { type BenchOptions, bench, closedGate, KeepingStore, until } from './harness.js'

const KEPT = 10_000
const BODY = 4_000
const limits = { keptBytes: KEPT, runningBytes: 2 * BODY }

const fill = (n: number) => ({ n, fill: 'x'.repeat(BODY) })

/** As the gateway hands them to the next worker: without their payloads. */
const heads = (store: KeepingStore) => store.inner.parked.map(({ payload: _, ...head }) => head)

/** An ordered route to devices that answer once the gate is open. */
function plant(store: KeepingStore, options: BenchOptions = {}) {
  const seen: [string, number, number][] = []
  const gate = closedGate()
  const life = bench(
    (router: Router) => {
      router.on(
        'd/{id}',
        async ({ params, payload }) => {
          await gate.opened
          const { n, fill } = payload as { n: number; fill: string }
          seen.push([String(params.id), n, fill.length])
        },
        { orderBy: 'id', name: 'd' },
      )
    },
    { store, ackHoldMs: 10, parking: limits, ...options },
  )
  return { ...life, seen, open: () => gate.open() }
}

test('what waits for a dead device leaves memory, and all of it comes back in order', async () => {
  const store = new KeepingStore()
  const { send, seen, open, engine } = plant(store)
  for (let n = 0; n < 40; n++) await send('d/dead', fill(n))
  assert.equal(engine.stats().parked_now, 40)
  // One runs; of the others the oldest have theirs.
  assert.ok(engine.stats().parked_bytes <= KEPT + BODY + 200, `${engine.stats().parked_bytes} bytes`)
  assert.equal(engine.stats().park_refused, 0)
  open()
  await until('all are handled', () => seen.length === 40)
  assert.deepEqual(
    seen,
    Array.from({ length: 40 }, (_, n) => ['dead', n, BODY]),
  )
  await until('nothing is parked', () => store.inner.parked.length === 0)
  assert.equal(engine.stats().parked_bytes, 0)
  assert.ok(store.log.filter((method) => method === 'fetchParked').length >= 35)
  await engine.stop()
})

test('a restart in the middle loses none and changes no order', async () => {
  const store = new KeepingStore()
  const first = plant(store)
  for (let n = 0; n < 20; n++) await first.send('d/dead', fill(n))
  await first.engine.stop()
  const second = plant(store)
  second.engine.resume(heads(store))
  assert.equal(second.engine.stats().parked_now, 20)
  const late = second.send('d/dead', fill(20))
  second.open()
  await late
  await until('all are handled', () => second.seen.length === 21)
  assert.deepEqual(
    second.seen.map(([, n, length]) => [n, length]),
    Array.from({ length: 21 }, (_, n) => [n, BODY]),
  )
  await until('nothing is parked', () => store.inner.parked.length === 0)
  await second.engine.stop()
})

class DamagingStore extends KeepingStore {
  /** What becomes of a message on the disk. */
  damage: (message: ParkedMessage) => ParkedMessage | undefined = (message) => message

  override async fetchParked(id: string): Promise<ParkedMessage | undefined> {
    const message = await super.fetchParked(id)
    return message === undefined ? undefined : this.damage(message)
  }
}

test('a payload that is damaged or gone does not run: a coded dead letter and a coded answer, and the next has its turn', async () => {
  const store = new DamagingStore()
  const first = plant(store)
  const properties = { responseTopic: 'a/b/c/response', correlationData: Buffer.from('c') }
  await first.send('d/dead', fill(0))
  for (let n = 1; n < 5; n++) await first.send('d/dead', fill(n), { properties })
  await first.engine.stop()
  const nOf = ({ payload }: ParkedMessage) => (JSON.parse(Buffer.from(payload, 'base64').toString()) as { n: number }).n
  store.damage = (message) => {
    if (nOf(message) === 1) return undefined
    if (nOf(message) === 2) {
      const bytes = Buffer.from(message.payload, 'base64')
      // Still JSON, and another number: what must never reach a device.
      bytes[bytes.indexOf('2')] = '7'.charCodeAt(0)
      return { ...message, payload: bytes.toString('base64') }
    }
    if (nOf(message) === 3) return { ...message, payload: message.payload.slice(0, 80) }
    return message
  }
  const second = plant(store)
  second.open()
  second.engine.resume(heads(store))
  await until('all have ended', () => second.engine.stats().parked_now === 0)
  assert.deepEqual(
    second.seen.map(([, n]) => n),
    [0, 4],
  )
  assert.deepEqual(
    store.inner.letters.map(({ error, payload, attempts }) => [error.code, payload, attempts]),
    Array.from({ length: 3 }, () => ['PAYLOAD_LOST', '', 1]),
  )
  const answers = second.outgoing.on('a/b/c/response') as { error?: { code: string } }[]
  assert.deepEqual(
    answers.map(({ error }) => error?.code),
    ['PAYLOAD_LOST', 'PAYLOAD_LOST'],
    'where it came back without its payload somebody can be told',
  )
  const outcome = await second.engine.run(store.inner.letters[0]!, { force: true })
  assert.equal(!outcome.ok && outcome.error.code, 'PAYLOAD_LOST', 'nor does it run later as an empty message')
  assert.equal(second.seen.length, 2)
  await second.engine.stop()
})

test('while the store cannot be read, what waits goes on waiting: no attempt is spent', async () => {
  const store = new KeepingStore()
  const first = plant(store)
  for (let n = 0; n < 3; n++) await first.send('d/dead', fill(n))
  await first.engine.stop()
  let asked = 0
  store.fail = (method) => {
    if (method !== 'fetchParked' || asked++ > 0) return undefined
    return new RouteMQError('DATABASE_UNAVAILABLE', 'away')
  }
  const second = plant(store)
  second.open()
  second.engine.resume(heads(store))
  await until('all are handled', () => second.seen.length === 3)
  assert.deepEqual(
    second.seen.map(([, n]) => n),
    [0, 1, 2],
  )
  assert.equal(second.engine.stats().retried, 0)
  assert.deepEqual(store.inner.letters, [])
  await second.engine.stop()
})

test('an age that nobody knows does not become a known one by parking', async () => {
  const store = new KeepingStore()
  let ran = 0
  const gate = closedGate()
  const { send, engine, outgoing } = bench(
    (router: Router) => {
      router.on(
        'd/{id}/set',
        async ({ payload }) => {
          if ((payload as { first?: boolean }).first === true) return gate.opened
          ran += 1
          return undefined
        },
        { orderBy: 'id', maxAge: '1h', reply: true },
      )
    },
    { store, ackHoldMs: 10, parking: { keptBytes: 1 } },
  )
  await send('d/1/set', { first: true })
  // One fills what may be kept in memory, the next is in the store only.
  await send('d/1/set', { n: 1 }, { fresh: false })
  await send('d/1/set', { n: 2 }, { fresh: false })
  gate.open()
  await until('both are answered', () => outgoing.on('d/1/set/response').length === 2)
  const codes = (outgoing.on('d/1/set/response') as { error: { code: string } }[]).map(({ error }) => error.code)
  assert.deepEqual(codes, ['COMMAND_AGE_UNKNOWN', 'COMMAND_AGE_UNKNOWN'])
  assert.equal(ran, 0)
  assert.ok(store.log.includes('fetchParked'))
  await engine.stop()
})

test('a payload that was too large, or could not be decoded, is not an empty one after it was parked', async () => {
  const store = new KeepingStore()
  const ran: number[] = []
  const authenticate = Object.assign(async (_: unknown, next: () => Promise<unknown>) => next(), {
    marks: { authenticates: true },
  })
  const define = (endless: boolean) => (router: Router) => {
    const run = ({ raw }: { raw: Buffer }) => {
      if (endless) return new Promise(() => {})
      ran.push(raw.length)
      return undefined
    }
    router.on('raw/{id}', run, { orderBy: 'id', codec: 'raw' })
    router.on('json/{id}', run, { orderBy: 'id', middleware: [authenticate], reply: true })
  }
  const first = bench(define(true), { store, ackHoldMs: 10 })
  for (const [topic, extra] of [
    ['raw/1', { oversize: 5_000_000 }],
    ['json/1', {}],
  ] as const) {
    await first.send(topic, Buffer.from('1'))
    await first.send(topic, Buffer.from('{"half":'), extra)
  }
  assert.equal(store.inner.parked.length, 4)
  await first.engine.stop()
  const second = bench(define(false), { store })
  second.engine.resume(heads(store))
  await until('all have ended', () => second.engine.stats().parked_now === 0)
  assert.deepEqual(ran, [1, 1])
  assert.equal(second.engine.stats().failed, 2)
  const answer = second.outgoing.on('json/1/response').at(-1) as { error: { code: string } }
  assert.equal(answer.error.code, 'PAYLOAD_MALFORMED')
  await second.engine.stop()
})

test('large commands that a dead device lets wait do not keep those of another from being read', async () => {
  const store = new KeepingStore()
  const define = (gate: Promise<unknown> | undefined, seen: string[]) => (router: Router) => {
    router.on(
      'd/{id}',
      async ({ params, payload }) => {
        if (gate === undefined) await new Promise(() => {})
        if (params.id === 'dead') await gate
        seen.push(`${params.id} ${(payload as { n: number }).n}`)
      },
      { concurrency: 8 },
    )
  }
  const first = bench(define(undefined, []), { store, ackHoldMs: 10 })
  for (let n = 0; n < 6; n++) await first.send('d/dead', fill(n))
  await first.send('d/alive', fill(0))
  await first.engine.stop()
  const gate = closedGate()
  const seen: string[] = []
  const second = bench(define(gate.opened, seen), { store, parking: { keptBytes: 1, runningBytes: 4 * BODY } })
  second.engine.resume(heads(store))
  await until('the other is handled', () => seen.length === 1)
  assert.deepEqual(seen, ['alive 0'])
  assert.ok(second.engine.stats().parked_bytes <= 5 * BODY, `${second.engine.stats().parked_bytes} bytes`)
  gate.open()
  await until('all are handled', () => seen.length === 7)
  await second.engine.stop()
})

test('a finished message is taken out of the store as soon as that works again: it must not run after a restart', async () => {
  const store = new KeepingStore()
  let away = true
  store.fail = (method) => (away && method === 'unpark' ? new RouteMQError('SPOOL_FULL', 'full') : undefined)
  const { send, open, seen, engine } = plant(store)
  await send('d/1', fill(1))
  open()
  await until('it is handled', () => seen.length === 1)
  assert.equal(store.inner.parked.length, 1)
  away = false
  await until('it is gone', () => store.inner.parked.length === 0)
  assert.equal(engine.stats().parked_now, 0)
  await engine.stop()
})
