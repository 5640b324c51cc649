import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import type { BusSettings } from '../../../../core/modbus/bus/bus.js'
import { TransportError } from '../../../../core/modbus/transport/transport.js'
import { until } from '../until.js'
import { kindOf, open, read, ScriptedTransport, tick, write } from './scripted-bus.js'

const SETTINGS: BusSettings = {
  inFlight: 1,
  connections: 1,
  silenceMs: 0,
  unitSwitchMs: 0,
  lateGraceMs: 0,
  copyGraceMs: 0,
  localEcho: false,
  idleCloseMs: 0,
  connectTimeoutMs: 100,
}

/** A bus each of whose connections is a line of its own, in the order in which they were made. */
function openMany(settings: Partial<BusSettings>, refuse: (index: number) => boolean = () => false) {
  const lines: ScriptedTransport[] = []
  const opened = open(settings, true, () => {
    const line = new ScriptedTransport(true)
    if (refuse(lines.length)) line.refuse = new Error('one master only')
    lines.push(line)
    return line
  })
  const sent = () => lines.map(({ calls }) => calls.map(({ unit, call }) => `${unit}:${call.fc}`))
  return { ...opened, lines, sent }
}

test('another connection is opened only when all are full, and no more than allowed', async () => {
  const { bus, lines, sent, submit } = openMany({ connections: 2, inFlight: 2 })
  submit(1, read(0))
  submit(1, read(1))
  await tick()
  assert.deepEqual(sent(), [['1:3', '1:3']])
  for (let unit = 2; unit < 6; unit += 1) submit(unit, read(0))
  await tick()
  assert.deepEqual(sent(), [
    ['1:3', '1:3'],
    ['2:3', '3:3'],
  ])
  assert.deepEqual([bus.inFlight, bus.queued], [4, 2])
  lines[1]!.calls[0]!.answer([1])
  await tick()
  assert.deepEqual(sent()[1], ['2:3', '3:3', '4:3'], 'what ends makes room on its connection')
  await bus.stop(20)
  assert.deepEqual(
    lines.map(({ closed }) => closed),
    [1, 1],
  )
})

test('a write goes alone on its unit across all connections', async () => {
  const { bus, lines, sent, submit } = openMany({ connections: 3 })
  submit(1, read(0))
  await tick()
  submit(1, write(1))
  submit(1, read(2))
  submit(2, read(3))
  await tick()
  assert.deepEqual(sent(), [['1:3'], ['2:3']], 'neither the write nor what came after it')
  lines[1]!.calls[0]!.answer([0])
  await tick()
  assert.deepEqual([bus.inFlight, bus.queued], [1, 2], 'a free connection changes nothing')
  lines[0]!.calls[0]!.answer([0])
  await tick()
  assert.equal(
    sent()
      .flat()
      .filter((one) => one === '1:6').length,
    1,
  )
  assert.equal(
    sent()
      .flat()
      .filter((one) => one === '1:3').length,
    1,
    'nothing starts before the write ended',
  )
  const writing = lines.flatMap(({ calls }) => calls).find(({ call }) => call.fc === 6)!
  writing.answer()
  await tick()
  assert.equal(
    sent()
      .flat()
      .filter((one) => one === '1:3').length,
    2,
  )
  await bus.stop(20)
})

test('a device that takes one connection only is served over that one, and is not away', async () => {
  const { bus, lines, states, sent, submit } = openMany({ connections: 2 }, (index) => index > 0)
  const answered = [0, 1, 2].map((address) => submit(1, read(address)))
  await tick()
  for (let n = 0; n < 3; n += 1) {
    lines[0]!.calls[n]!.answer([n])
    await tick()
  }
  assert.deepEqual(await Promise.all(answered.map(kindOf)), ['answered', 'answered', 'answered'])
  assert.deepEqual(sent()[0], ['1:3', '1:3', '1:3'])
  assert.equal(bus.state.name, 'open')
  assert.equal(
    states.some(({ name }) => name === 'down'),
    false,
  )
  assert.ok(lines.length >= 2, 'it was tried')
  await bus.stop(20)
})

test('one connection that breaks costs what was on it; the others go on', async () => {
  const { bus, lines, states, submit } = openMany({ connections: 2 })
  const first = submit(1, read(0))
  const second = submit(2, read(0))
  await tick()
  lines[0]!.calls[0]!.fail(new TransportError('reset', { kind: 'lost' }))
  lines[0]!.lose(new Error('reset'))
  assert.equal(await kindOf(first), 'lost')
  const third = submit(3, read(0))
  lines[1]!.calls[0]!.answer([2])
  await tick()
  lines.at(-1)!.calls.at(-1)!.answer([3])
  assert.deepEqual([await kindOf(second), await kindOf(third)], ['answered', 'answered'])
  assert.equal(
    states.some(({ name }) => name === 'down'),
    false,
  )
  await bus.stop(20)
})

test('idle connections are all closed, and fewer connections close the surplus once it is done', async () => {
  const { bus, lines, submit } = openMany({ connections: 2, idleCloseMs: 30 })
  const both = [submit(1, read(0)), submit(2, read(0))]
  await tick()
  bus.configure({ ...SETTINGS, idleCloseMs: 30 })
  assert.deepEqual(
    lines.map(({ closed }) => closed),
    [0, 0],
    'not under a request',
  )
  for (const { calls } of lines) calls[0]!.answer([1])
  await Promise.all(both)
  assert.deepEqual(
    lines.map(({ closed }) => closed),
    [0, 1],
  )
  await until(() => lines[0]!.closed > 0)
  assert.equal(bus.state.name, 'idle')
  await bus.stop(20)
})

test('a connection that is to stay open from now on is not closed by the time it had before', async () => {
  const { bus, lines, submit } = openMany({ idleCloseMs: 30 })
  const sent = submit(1, read(0))
  await tick()
  lines[0]!.calls[0]!.answer([1])
  await sent
  bus.configure({ ...SETTINGS, idleCloseMs: 0 })
  await pause(60)
  assert.deepEqual([bus.state.name, lines[0]!.closed], ['open', 0])
  await bus.stop(20)
})
