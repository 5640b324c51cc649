import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deadlineOf, parseInstant, refuseExpired } from '../../../core/delivery/deadline.js'
import type { Router } from '../../../core/router/router.js'
import { systemClock } from '../../../core/support/clock.js'
import { bench, closedGate, KeepingStore, message, until } from './harness.js'

const at = 1_700_000_000_000
const arrived = (extra = {}) => message('a', {}, { receivedAt: at, ...extra })

test('an instant is Unix seconds, Unix milliseconds or ISO 8601; anything else is none', () => {
  assert.equal(parseInstant(1_700_000_000.25), at + 250)
  assert.equal(parseInstant(at), at)
  assert.equal(parseInstant('2023-11-14T22:13:20Z'), at)
  for (const odd of ['soon', '', -1, 0, Number.NaN, Number.POSITIVE_INFINITY, null, {}, true, '2023']) {
    assert.equal(parseInstant(odd), undefined, String(odd))
  }
})

test('the deadline is the message expiry, else expires_at, else timestamp plus maxAge, else arrival plus maxAge', () => {
  const payload = { expires_at: at / 1_000 + 5, timestamp: at / 1_000 - 1 }
  const expiring = arrived({ properties: { messageExpiryInterval: 2 } })
  assert.equal(deadlineOf(expiring, payload, 30_000), at + 2_000)
  assert.equal(deadlineOf(arrived(), payload, 30_000), at + 5_000)
  assert.equal(deadlineOf(arrived(), { timestamp: payload.timestamp }, 30_000), at + 29_000)
  assert.equal(deadlineOf(arrived(), {}, 30_000), at + 30_000)
  assert.equal(deadlineOf(arrived(), {}, undefined), undefined)
  assert.equal(deadlineOf(arrived(), { timestamp: 1 }, undefined), undefined)
})

test('a sender whose clock runs ahead does not make a command live longer', () => {
  assert.equal(deadlineOf(arrived(), { timestamp: at / 1_000 + 3_600 }, 30_000), at + 30_000)
})

test('a time that the payload merely inherits is no time', () => {
  const payload = JSON.parse('{"__proto__": {"expires_at": 1}}')
  assert.equal(deadlineOf(arrived(), payload, undefined), undefined)
})

test('a message that waited at the broker and carries no time has an unknown age', () => {
  assert.throws(() => deadlineOf(arrived({ fresh: false }), {}, 30_000), { code: 'COMMAND_AGE_UNKNOWN' })
  assert.equal(deadlineOf(arrived({ fresh: false }), { timestamp: at / 1_000 }, 30_000), at + 30_000)
  assert.equal(deadlineOf(arrived({ fresh: false }), {}, undefined), undefined)
  const bounded = (queuedAtMostMs: number) => arrived({ fresh: false, queuedAtMostMs })
  assert.equal(deadlineOf(bounded(2_000), {}, 30_000), at + 28_000)
  assert.throws(() => deadlineOf(bounded(30_000), {}, 30_000), { code: 'COMMAND_AGE_UNKNOWN' })
})

test('a deadline has passed from its millisecond on', () => {
  const clock = { ...systemClock, now: () => 10, monotonic: () => 500 }
  refuseExpired({ deadline: undefined, lapsesAt: undefined }, clock)
  refuseExpired({ deadline: 11, lapsesAt: undefined }, clock)
  refuseExpired({ deadline: 11, lapsesAt: 501 }, clock)
  for (const limit of [
    { deadline: 10, lapsesAt: undefined },
    { deadline: 10, lapsesAt: 501 },
    { deadline: 11, lapsesAt: 500 },
  ]) {
    assert.throws(() => refuseExpired(limit, clock), { code: 'COMMAND_EXPIRED' })
  }
})

test('a time is read in every unit, as a number or a text; what is none is no time', () => {
  const seconds = 1_767_225_600
  for (const value of [seconds, seconds * 1e3, seconds * 1e6, seconds * 1e9, String(seconds), '2026-01-01T00:00:00Z']) {
    assert.equal(parseInstant(value), seconds * 1e3, String(value))
  }
  for (const value of [0, -1, Number.NaN, '', 'yesterday', '2020-13-45', true, {}, 1e21]) {
    assert.equal(parseInstant(value), undefined, String(value))
  }
})

test('a command whose time nobody can read is refused, and telemetry with such a field is not', () => {
  for (const payload of [{ timestamp: 0 }, { timestamp: '2020-13-45' }, { expires_at: 'yesterday' }]) {
    assert.throws(() => deadlineOf(arrived(), payload, 30_000), { code: 'PAYLOAD_INVALID' })
    assert.equal(deadlineOf(arrived(), payload, undefined), undefined)
  }
})

test('an expired command is answered COMMAND_EXPIRED and its handler does not run', async () => {
  const ran: string[] = []
  const { send, outgoing, engine } = bench((router) =>
    router.on('d/{id}', ({ params }) => ran.push(String(params.id)), { maxAge: '30s', reply: true }),
  )
  await send('d/old', {}, { receivedAt: Date.now() - 31_000 })
  await send('d/late', { timestamp: Date.now() / 1_000 - 40 })
  await send('d/gone', { expires_at: new Date(Date.now() - 1).toISOString() })
  await send('d/unknown', {}, { fresh: false })
  await send('d/good', {})
  const code = (id: string) => (outgoing.on(`d/${id}/response`) as { error?: { code: string } }[])[0]?.error?.code
  assert.deepEqual(['old', 'late', 'gone', 'unknown', 'good'].map(code), [
    'COMMAND_EXPIRED',
    'COMMAND_EXPIRED',
    'COMMAND_EXPIRED',
    'COMMAND_AGE_UNKNOWN',
    undefined,
  ])
  assert.deepEqual(ran, ['good'])
  assert.equal(engine.stats().expired, 4)
})

test('a command that expires while it waits for its turn is not run', async () => {
  const ran: number[] = []
  let ahead = 0
  const clock = { ...systemClock, now: () => systemClock.now() + ahead }
  const { send, outgoing } = bench(
    (router) =>
      router.on(
        'd/{id}',
        async ({ payload }) => {
          ran.push((payload as { n: number }).n)
          ahead = 30_001
        },
        { orderBy: 'id', maxAge: '30s', reply: true },
      ),
    { clock },
  )
  await Promise.all([send('d/a', { n: 1 }), send('d/a', { n: 2 })])
  assert.deepEqual(ran, [1])
  assert.equal((outgoing.on('d/a/response') as { error: { code: string } }[])[0]!.error.code, 'COMMAND_EXPIRED')
})

test('the deadline travels with every request to a device; an earlier one of the handler stands', async () => {
  const { send, field } = bench((router) =>
    router.on(
      'd/{id}',
      async ({ devices, deadline }) => {
        await devices.request({ op: 'read', device_id: 'x', register_type: 'holding', address: 0, count: 1 })
        await devices.request({ op: 'write', device_id: 'x', items: [], deadline: deadline! - 5 })
      },
      { maxAge: '30s' },
    ),
  )
  const receivedAt = Date.now()
  await send('d/a', {}, { receivedAt })
  assert.deepEqual(
    field.requests.map(({ deadline }) => deadline),
    [receivedAt + 30_000, receivedAt + 29_995],
  )
})

test('a retained message runs only routes that say so', async () => {
  const ran: string[] = []
  const { send, engine } = bench((router) => {
    router.on('a/#', () => void ran.push('not'))
    router.on('a/{x}', () => void ran.push('retained'), { retained: true })
  })
  await send('a/b', {}, { retain: true })
  assert.deepEqual(ran, ['retained'])
  assert.equal(engine.stats().skipped, 1)
})

test('a command that was parked before its turn keeps its deadline over a restart', async () => {
  const store = new KeepingStore()
  let ahead = 0
  const clock = { ...systemClock, now: () => systemClock.now() + ahead }
  const define = (run: () => unknown) => (router: Router) =>
    void router.on('k/{key}', run, { orderBy: 'key', maxAge: '30s', reply: true })
  const first = bench(
    define(() => new Promise(() => {})),
    { store, ackHoldMs: 10, clock },
  )
  await Promise.all([first.send('k/a', { n: 1 }), first.send('k/a', { n: 2 })])
  await first.engine.stop()
  ahead = 30_001
  let runs = 0
  const second = bench(
    define(() => runs++),
    { store, clock },
  )
  second.engine.resume(store.inner.parked)
  await until('both ended', () => second.engine.stats().failed === 2)
  assert.equal(runs, 0)
  assert.equal(second.engine.stats().expired, 2)
  await until('both answered', () => second.outgoing.on('k/a/response').length === 2)
})

test('a wall clock that is set back lets no command run past its age, and its writes carry a deadline of that clock', async () => {
  let set = 0
  let passed = 0
  const clock = {
    ...systemClock,
    now: () => Date.now() + set + passed,
    monotonic: () => systemClock.monotonic() + passed,
  }
  const first = closedGate()
  const ran: unknown[] = []
  const { send, store, field, engine } = bench(
    (router) =>
      router.on(
        'a',
        async ({ payload, devices }) => {
          ran.push(payload)
          await first.opened
          await devices.request({ op: 'read', device_id: 'd', points: ['p'] } as never)
        },
        { maxAge: 60_000, concurrency: 1, attempts: 1 },
      ),
    { clock },
  )
  const both = [send('a', 1), send('a', 2)]
  await until('the first runs', () => ran.length === 1)
  set = -3_600_000
  passed = 61_000
  first.open()
  await Promise.all(both)
  await until('the end of the second', () => (store as KeepingStore).inner.letters.length === 1)
  assert.deepEqual(ran, [1])
  assert.equal((store as KeepingStore).inner.letters[0]!.error.code, 'COMMAND_EXPIRED')
  const { deadline } = field.requests[0] as { deadline: number }
  assert.ok(deadline <= clock.now(), 'passed on the clock that was set too')
  await engine.stop()
})
