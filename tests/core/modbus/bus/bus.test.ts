import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import type { BusError } from '../../../../core/modbus/bus/bus-error.js'
import { normalizeDevice } from '../../../../core/modbus/device-schema.js'
import { FieldService } from '../../../../core/modbus/field-service.js'
import { TransportError } from '../../../../core/modbus/transport/transport.js'
import { FakeClock } from '../../../../core/testing/fake-clock.js'
import { FIELD_SETTINGS } from '../field-settings.js'
import { until } from '../until.js'
import { kindOf, open, read, ScriptedTransport, tick, write } from './scripted-bus.js'

test('in flight as many as allowed; a write goes alone on its unit', async () => {
  const { bus, line, submit } = open({ inFlight: 4 })
  submit(1, read(0))
  submit(1, read(1))
  submit(1, write(2))
  submit(1, read(3))
  submit(2, read(4))
  await tick()
  assert.deepEqual(
    line.calls.map(({ unit, call }) => [unit, call.fc]),
    [
      [1, 6],
      [2, 3],
    ],
    'the write first, and alone',
  )
  line.calls[0]!.answer()
  await tick()
  assert.deepEqual(
    line.calls.slice(2).map(({ unit, call }) => [unit, call.fc]),
    [
      [1, 3],
      [1, 3],
      [1, 3],
    ],
  )
  submit(1, write(5))
  await tick()
  assert.equal(line.calls.length, 5, 'a write waits until nothing of its unit is in flight')
  for (const call of line.calls) call.answer([0])
  await tick()
  assert.equal(line.calls[5]!.call.fc, 6)
  line.calls[5]!.answer()
  await bus.stop(100)
})

test('bounded per device; a full queue refuses without touching the others', async () => {
  const { bus, submit } = open()
  const first = [0, 1, 2, 3].map((address) => submit(1, read(address)))
  assert.equal(await kindOf(submit(1, read(9))), 'overloaded')
  const other = submit(2, read(0))
  await bus.stop(20)
  assert.equal(await kindOf(other), 'stopped')
  assert.equal(first.length, 4)
})

test('what waits leaves at its deadline or with its caller, and was not sent', async () => {
  const { bus, line, submit } = open()
  submit(1, read(0))
  await tick()
  const abort = new AbortController()
  const late = submit(2, write(1), { deadline: performance.now() + 20 })
  const gone = submit(3, write(2), { signal: abort.signal })
  abort.abort()
  const results = await Promise.all([late, gone].map((sent) => sent.catch((error: BusError) => error)))
  assert.deepEqual(
    results.map((error) => [(error as BusError).failure.kind, (error as BusError).notSent]),
    [
      ['expired', true],
      ['cancelled', true],
    ],
  )
  assert.equal(line.calls.length, 1)
  line.calls[0]!.answer([0])
  await bus.stop(100)
})

test('without transaction ids the next request after a time-out differs, or waits for the late answer', async () => {
  const clock = new FakeClock()
  const { bus, line, submit } = open({ lateGraceMs: 120 }, false, undefined, undefined, clock)
  const timedOut = submit(1, read(100))
  await clock.advance(0)
  line.calls[0]!.fail(new TransportError('no answer', { kind: 'timeout' }))
  assert.equal(await kindOf(timedOut), 'timeout')
  submit(1, read(200))
  submit(1, write(3))
  submit(2, read(7))
  for (let i = 1; i < 3; i += 1) {
    await clock.advance(0)
    line.calls[i]!.answer([0])
  }
  await clock.advance(0)
  assert.deepEqual(
    line.calls.map(({ unit, call }) => [unit, call.fc]),
    [
      [1, 3],
      [1, 6],
      [2, 3],
    ],
  )
  assert.equal(line.discards, 1, 'what came meanwhile is thrown away')
  await clock.advance(119)
  assert.equal(line.calls.length, 3)
  await clock.advance(1)
  assert.deepEqual((line.calls[3]!.call as { address: number }).address, 200)
  line.calls[3]!.answer([0])
  await bus.stop(0)
})

test('silence between frames, more before another unit', async () => {
  const { bus, line, submit } = open({ silenceMs: 20, unitSwitchMs: 60 })
  submit(1, read(0))
  submit(1, read(1))
  submit(2, read(2))
  await tick()
  line.calls[0]!.answer([0])
  const first = performance.now()
  await until(() => line.calls.length >= 2)
  const order = line.calls[1]!.unit
  assert.ok(line.calls[1]!.at - first >= (order === 1 ? 18 : 58))
  line.calls[1]!.answer([0])
  const second = performance.now()
  await until(() => line.calls.length >= 3)
  assert.ok(line.calls[2]!.at - second >= 58)
  line.calls[2]!.answer([0])
  await bus.stop(100)
})

test('a request waits its own delay, and the line keeps still after a broadcast', async () => {
  const { bus, line, submit } = open({}, false)
  submit(1, read(0))
  await tick()
  line.calls[0]!.answer([0])
  const answered = performance.now()
  submit(1, read(1), { delayMs: 40 })
  await until(() => line.calls.length >= 2)
  assert.ok(line.calls[1]!.at - answered >= 38)
  line.calls[1]!.answer([0])
  submit(0, write(2))
  await until(() => line.calls.length >= 3)
  line.calls[2]!.answer()
  const cast = performance.now()
  submit(1, read(3))
  await until(() => line.calls.length >= 4)
  assert.ok(line.calls[3]!.at - cast >= 98)
  line.calls[3]!.answer([0])
  await bus.stop(100)
})

test('a line that is opened again still waits for what was late, over another socket to its converter too', async () => {
  const serial = {
    kind: 'serial_rtu',
    path: '/dev/x',
    baudRate: 9_600,
    parity: 'none',
    dataBits: 8,
    stopBits: 1,
  } as const
  for (const endpoint of [serial, { kind: 'rtu_tcp', host: 'h', port: 1 } as const]) {
    const { bus, line, submit } = open({ lateGraceMs: 5_000 }, false, undefined, endpoint)
    submit(1, read(0))
    await tick()
    line.calls[0]!.fail(new TransportError('no answer', { kind: 'timeout' }))
    await tick()
    line.lose(new Error('unplugged'))
    submit(1, read(1))
    submit(2, read(1))
    await pause(20)
    assert.equal(line.connects, 2)
    const units = line.calls.slice(1).map(({ unit }) => unit)
    assert.deepEqual(units, [2], endpoint.kind)
    await bus.stop(1)
  }
})

test('a bus that cannot be opened fails what waits; polls fail at once until it is time, a command tries again', async () => {
  const { bus, line, submit, states } = open()
  line.refuse = new Error('refused')
  assert.equal(await kindOf(submit(1, read(0))), 'unreachable')
  assert.equal(line.connects, 1)
  assert.equal(await kindOf(submit(1, read(0), { kind: 'poll' })), 'unreachable')
  assert.equal(line.connects, 1)
  assert.equal(await kindOf(submit(1, read(0))), 'unreachable')
  assert.equal(line.connects, 2)
  line.refuse = undefined
  const sent = submit(1, read(0))
  await tick()
  line.calls[0]!.answer([5])
  assert.deepEqual((await sent).values, [5])
  assert.deepEqual(
    states.map((state) => {
      if (state.name === 'down') return `down ${state.failedConnects}`
      return state.name === 'open' && state.isProven ? 'proven' : state.name
    }),
    ['connecting', 'down 1', 'connecting', 'down 2', 'connecting', 'open', 'proven'],
  )
  await bus.stop(100)
})

test('what waited when the connection broke goes out over a fresh one', async () => {
  const { bus, line, submit } = open()
  const broken = submit(1, write(0))
  const waiting = submit(1, write(1))
  await tick()
  line.calls[0]!.fail(new TransportError('reset', { kind: 'lost' }))
  line.lose(new Error('reset'))
  assert.equal(await kindOf(broken), 'lost')
  await tick()
  assert.equal(line.connects, 2)
  line.calls[1]!.answer()
  assert.equal(await kindOf(waiting), 'answered')
  assert.equal(line.calls.length, 2, 'the broken write is not sent again by the bus')
  await bus.stop(100)
})

test('three time-outs in a row open the connection afresh', async () => {
  const { bus, line, submit } = open()
  for (let i = 0; i < 3; i += 1) {
    const sent = submit(1, read(i))
    await tick()
    line.calls[i]!.fail(new TransportError('no answer', { kind: 'timeout' }))
    assert.equal(await kindOf(sent), 'timeout')
  }
  assert.equal(line.closed, 1)
  submit(1, read(9))
  await tick()
  assert.equal(line.connects, 2)
  line.calls[3]!.answer([1])
  await bus.stop(100)
})

test('an idle connection is closed where that is asked for, and opened again on demand', async () => {
  const { bus, line, submit } = open({ idleCloseMs: 30 })
  const sent = submit(1, read(0))
  await tick()
  line.calls[0]!.answer([1])
  await sent
  await pause(60)
  assert.equal(bus.state.name, 'idle')
  assert.equal(line.closed, 1)
  submit(1, read(0))
  await tick()
  assert.equal(line.connects, 2)
  line.calls[1]!.answer([1])
  await bus.stop(100)
})

test('at most ten connects a second to one host, whatever the buses', async () => {
  const clock = new FakeClock()
  const connects: Record<string, number[]> = { plant: [], other: [] }
  const field = new FieldService({
    ...FIELD_SETTINGS,
    clock,
    createTransport(endpoint) {
      const line = new ScriptedTransport(true)
      line.connect = async () => {
        connects[(endpoint as { host: string }).host.toLowerCase()]!.push(clock.monotonic())
        throw new Error('refused')
      }
      return line
    },
  })
  const record = (host: string, index: number) =>
    normalizeDevice({ device_id: `${host}${index}`, host, port: 500 + index, slave_id: 1, max_retries: 0 })
  const devices = [...Array.from({ length: 13 }, (_, index) => record(index % 2 ? 'plant' : 'PLANT', index))]
  field.apply([...devices, record('other', 0)])
  const asked = Promise.all(
    [...devices.map(({ device_id }) => device_id), 'other0'].map((device_id) =>
      assert.rejects(field.request({ op: 'read', device_id, register_type: 'holding', address: 0, count: 1 })),
    ),
  )
  await clock.advance(2_000)
  await asked
  await field.stop(0)
  const { plant, other } = connects as Record<'plant' | 'other', number[]>
  assert.deepEqual([plant.length, other.length], [13, 1])
  for (let i = 10; i < plant.length; i += 1) assert.ok(plant[i]! - plant[i - 10]! >= 1_000, `${plant}`)
})

test('late polls have the bus for as long as each write before them took', async () => {
  const clock = new FakeClock()
  const { bus, line, submit } = open({}, true, undefined, undefined, clock)
  await clock.advance(1_000)
  for (let n = 0; n < 3; n += 1) submit(1, write(n), { limit: 9 })
  for (let n = 0; n < 6; n += 1) submit(2, read(n), { kind: 'poll', dueAt: 0, intervalMs: 100, limit: 9 })
  const order: string[] = []
  while (order.length < 9) {
    await clock.advance(0)
    const next = line.calls[order.length]!
    order.push(next.unit === 1 ? 'write' : 'poll')
    await clock.advance(next.unit === 1 ? 30 : 10)
    next.answer([0])
  }
  const each = ['write', 'poll', 'poll', 'poll']
  assert.deepEqual(order, [...each, ...each, 'write'])
  await bus.stop(0)
})

test('a read with little time left ends for its caller and is waited for on the line: its unit is not taken for dead', async () => {
  const clock = new FakeClock()
  const { bus, line, submit } = open({}, false, undefined, undefined, clock)
  const late = submit(1, read(0), { timeoutMs: 500, deadline: 20 })
  const next = submit(2, read(0), { timeoutMs: 500 })
  await clock.advance(20)
  const error = (await late.catch((cause: unknown) => cause)) as BusError
  assert.deepEqual([error.failure, error.notSent], [{ kind: 'expired', sent: true }, false])
  await clock.advance(50)
  assert.equal(line.calls.length, 1, 'the line is still taken')
  line.calls[0]!.answer([7])
  await clock.advance(0)
  assert.deepEqual([line.calls.length, line.discards], [2, 0])
  line.calls[1]!.answer([8])
  assert.deepEqual((await next).values, [8])
  await bus.stop(0)
})
