import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withCrc } from '../../../../core/modbus/transport/checksum.js'
import { rtuFraming } from '../../../../core/modbus/transport/rtu-framing.js'
import type { ModbusTransport } from '../../../../core/modbus/transport/transport.js'
import { RouteMQError } from '../../../../core/support/errors.js'
import { FakeClock } from '../../../../core/testing/fake-clock.js'
import { scriptedLine } from '../transport/scripted-line.js'
import { kindOf, open, read, write } from './scripted-bus.js'

const NOISE = Buffer.from([0xff, 0x00, 0xff])

/** A bus over a real connection on a line that the test babbles on, and a clock that it moves. */
async function babbling() {
  const clock = new FakeClock()
  const sent: number[] = []
  const connection = scriptedLine({
    framing: rtuFraming,
    clock,
    quietMs: 4,
    copyMs: 0,
    onSent: () => sent.push(clock.monotonic()),
  })
  const transport: ModbusTransport = {
    state: 'open',
    hasTransactionIds: false,
    maxInFlight: 1,
    connect: async () => {},
    call: (unit, call, options) => connection.call(unit, call, options),
    discardInput: () => connection.discardInput(),
    onLost: () => {},
    close: async () => connection.fail('closed', { kind: 'lost' }),
  }
  const opened = open({}, false, () => transport, undefined, clock)
  const hears = (bytes: Buffer) => connection.receive(bytes)
  /** Somebody else speaks without a pause. */
  const babble = async (ms: number) => {
    for (let at = 0; at < ms; at += 2) {
      hears(NOISE)
      await clock.advance(2)
    }
  }
  await clock.advance(0)
  hears(NOISE)
  return { ...opened, clock, sent, hears, babble }
}

const LONG = { timeoutMs: 10_000 }

test('a write whose deadline passes while the line is not quiet never goes out', async () => {
  const { bus, submit, clock, sent, babble } = await babbling()
  const late = kindOf(submit(1, write(1), { ...LONG, deadline: clock.monotonic() + 100 }))
  await babble(150)
  assert.equal(await late, 'expired')
  await clock.advance(1_000)
  assert.deepEqual(sent, [])
  await bus.stop(0)
})

test('a write whose caller gives up while the line is not quiet never goes out, and the next one does', async () => {
  const { bus, submit, clock, sent, hears, babble } = await babbling()
  const caller = new AbortController()
  const given = submit(1, write(1), { ...LONG, signal: caller.signal })
  const failure = given.then(
    () => assert.fail('it was sent'),
    (error) => error,
  )
  await babble(20)
  caller.abort()
  await clock.advance(0)
  assert.deepEqual((await failure).failure, { kind: 'cancelled', sent: false })
  const next = kindOf(submit(1, write(2), LONG))
  await clock.advance(50)
  assert.equal(sent.length, 1)
  hears(withCrc(Uint8Array.from([1, 6, 0, 2, 0, 1])))
  await clock.advance(50)
  assert.equal(await next, 'answered')
  await bus.stop(0)
})

test('a write that is no longer allowed when the line is quiet at last never goes out', async () => {
  const { bus, submit, clock, sent, babble } = await babbling()
  const writingIsOff = new RouteMQError('WRITE_DISABLED', 'writing is off')
  let isAllowed = true
  const refused = kindOf(submit(1, write(1), { ...LONG, refusal: () => (isAllowed ? undefined : writingIsOff) }))
  await babble(20)
  isAllowed = false
  await clock.advance(50)
  assert.equal(await refused, 'refused')
  assert.deepEqual(sent, [])
  await bus.stop(0)
})

test('the wait for a quiet line is part of the time-out, at most half of it', async () => {
  const { bus, submit, clock, sent, babble } = await babbling()
  const startedAt = clock.monotonic()
  const kept = kindOf(submit(1, read(1), { timeoutMs: 100 }))
  await babble(60)
  assert.equal(await kept, 'not_sent')
  assert.deepEqual(sent, [])
  const second = clock.monotonic()
  const unanswered = kindOf(submit(1, read(1), { timeoutMs: 100 }))
  await babble(30)
  let endedAt = Number.NaN
  unanswered.then(() => {
    endedAt = clock.monotonic()
  })
  await clock.advance(200)
  assert.equal(await unanswered, 'timeout')
  assert.equal(sent.length, 1)
  assert.equal(endedAt - second, 100)
  assert.ok(second - startedAt >= 60)
  await bus.stop(0)
})

test('what waits for a quiet line was not sent yet: onSent comes with the bytes', async () => {
  const { bus, submit, clock, sent, babble } = await babbling()
  const onSent: number[] = []
  submit(1, write(1), { ...LONG, onSent: () => onSent.push(clock.monotonic()) })
  await babble(20)
  assert.deepEqual(onSent, [])
  await clock.advance(20)
  assert.deepEqual(onSent, sent)
  assert.equal(sent.length, 1)
  const stopped = bus.stop(0)
  await clock.advance(1)
  await stopped
})
