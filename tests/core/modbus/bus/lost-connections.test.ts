import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { BusSettings } from '../../../../core/modbus/bus/bus.js'
import { TransportError } from '../../../../core/modbus/transport/transport.js'
import { FakeClock } from '../../../../core/testing/fake-clock.js'
import { kindOf, open, read, ScriptedTransport, write } from './scripted-bus.js'

/** A bus whose connections the test breaks, and a clock that it moves. */
function breaking(settings: Partial<BusSettings> = {}, hasIds = true) {
  const clock = new FakeClock()
  const lines: ScriptedTransport[] = []
  const connectedAt: number[] = []
  const opened = open(
    settings,
    hasIds,
    () => {
      const line = new ScriptedTransport(hasIds)
      connectedAt.push(clock.monotonic())
      lines.push(line)
      return line
    },
    undefined,
    clock,
  )
  /** As a socket does: what is on the wire ends first, then it is told that the connection is gone. */
  const lose = async () => {
    const line = lines.at(-1)!
    for (const call of line.calls) call.fail(new TransportError('closed', { kind: 'lost' }))
    line.lose(new Error('closed'))
    await clock.advance(0)
  }
  const end = () => Promise.all([opened.bus.stop(0), clock.advance(0)])
  const downs = () => opened.states.flatMap((state) => (state.name === 'down' ? [state.failedConnects] : []))
  return { ...opened, clock, lines, connectedAt, lose, downs, end }
}

test('connections that break before they carried anything are failed connects from the second on, ever more rarely tried', async () => {
  const { bus, clock, connectedAt, lose, downs, submit } = breaking()
  const kinds: string[] = []
  for (let nth = 0; nth < 6; nth += 1) {
    // Two polls: one is on the wire, the other waits.
    const polls = [0, 1].map((address) => submit(1, read(address), { kind: 'poll' }))
    await clock.advance(0)
    await lose()
    if (nth === 0) await clock.advance(100)
    if (nth === 0) await lose()
    kinds.push((await Promise.all(polls.map(kindOf))).join())
    const { state } = bus
    if (state.name === 'down') await clock.advance(state.retryAt - clock.monotonic())
  }
  const gaps = connectedAt.slice(1).map((at, index) => at - connectedAt[index]!)
  assert.deepEqual(gaps, [100, 200, 400, 800, 1_600, 3_200])
  assert.deepEqual(downs(), [0, 2, 3, 4, 5, 6, 7])
  assert.deepEqual(kinds, ['lost,lost', ...Array(5).fill('lost,unreachable')])
  await bus.stop(0)
})

for (const [what, carried] of [
  ['an answer', 'answered'],
  ['a time-out', 'timeout'],
] as const) {
  test(`a connection that carried ${what} and breaks then is tried again at once, and its bus is not away`, async () => {
    const { bus, clock, lines, connectedAt, lose, downs, states, submit } = breaking()
    for (let nth = 0; nth < 5; nth += 1) {
      const first = submit(1, read(0), { kind: 'poll' })
      await clock.advance(0)
      const call = lines.at(-1)!.calls.at(-1)!
      if (carried === 'answered') call.answer([1])
      else call.fail(new TransportError('no answer', { kind: 'timeout' }))
      assert.equal(await kindOf(first), carried)
      const second = submit(1, read(0), { kind: 'poll' })
      await clock.advance(0)
      await lose()
      await clock.advance(100)
      if (carried === 'answered') lines.at(-1)!.calls[0]!.answer([2])
      assert.equal(await kindOf(second), carried === 'answered' ? 'answered' : 'lost')
    }
    assert.deepEqual(downs(), [0, 0, 0, 0, 0])
    const gaps = connectedAt.slice(1).map((at, index) => at - connectedAt[index]!)
    assert.deepEqual(gaps, Array(carried === 'answered' ? 5 : 4).fill(100))
    assert.equal(
      states.filter((state) => state.name === 'open' && state.isProven).length,
      carried === 'answered' ? 6 : 5,
    )
    await bus.stop(0)
  })
}

test('a read that a good connection took with it goes out once more, first over a fresh one; a write never', async () => {
  const { clock, lines, lose, submit, end } = breaking()
  submit(1, read(0))
  await clock.advance(0)
  lines[0]!.calls[0]!.answer([1])
  await clock.advance(0)
  const [again, next] = [submit(2, read(5)), submit(3, read(6))]
  await clock.advance(0)
  await lose()
  await clock.advance(100)
  const line = lines[1]!
  assert.deepEqual(
    line.calls.map(({ unit }) => unit),
    [2],
    'a device that closes after each answer answers one request of a connection',
  )
  line.calls[0]!.answer([5])
  assert.equal(await kindOf(again), 'answered')
  await clock.advance(0)
  await lose()
  await clock.advance(100)
  await lose()
  assert.equal(await kindOf(next), 'lost', 'not twice')
  const written = submit(4, write(0))
  await clock.advance(200)
  lines.at(-1)!.calls[0]!.answer([])
  assert.equal(await kindOf(written), 'answered')
  const lost = submit(4, write(1))
  await clock.advance(0)
  await lose()
  assert.equal(await kindOf(lost), 'lost')
  await end()
})

test('a read whose caller left does not go out again, nor any when the bus is closed', async () => {
  for (const how of ['left', 'stopped'] as const) {
    const { bus, clock, lines, lose, submit, end } = breaking()
    submit(1, read(0))
    await clock.advance(0)
    lines[0]!.calls[0]!.answer([1])
    await clock.advance(0)
    const caller = new AbortController()
    const sent = submit(2, read(5), { signal: caller.signal })
    await clock.advance(0)
    if (how === 'left') caller.abort()
    else void bus.stop(1_000)
    await lose()
    await clock.advance(200)
    assert.equal(await kindOf(sent), how === 'left' ? 'cancelled' : 'lost')
    assert.deepEqual([bus.queued, bus.inFlight], [0, 0])
    await end()
  }
})

test('a connection that broke says nothing of the unit: what it was asked may be answered over the next one', async () => {
  const { clock, lines, lose, submit, end } = breaking({ lateGraceMs: 500 }, false)
  submit(1, read(0), { timeoutMs: 1_000 })
  await clock.advance(200)
  await lose()
  submit(1, read(100), { timeoutMs: 1_000 })
  submit(2, read(0), { timeoutMs: 1_000 })
  await clock.advance(100)
  const sent = () => lines[1]!.calls.map(({ unit }) => unit)
  assert.deepEqual(sent(), [2], 'a converter hands it to whoever is connected then')
  lines[1]!.calls[0]!.answer([1])
  await clock.advance(1_199)
  assert.deepEqual(sent(), [2])
  await clock.advance(1)
  assert.deepEqual(sent(), [2, 1], 'after its time and the grace')
  await end()
})

test('a pipelined connection to a peer that vanished is opened afresh, however much waits to be asked', async () => {
  const { clock, lines, connectedAt, submit, end } = breaking({ inFlight: 4 })
  for (let unit = 1; unit <= 40; unit += 1) submit(unit, read(0))
  await clock.advance(0)
  const silence = async (line: ScriptedTransport) => {
    await clock.advance(10)
    for (const call of line.calls) call.fail(new TransportError('no answer', { kind: 'timeout' }))
    await clock.advance(0)
  }
  for (let round = 0; connectedAt.length === 1 && round < 10; round += 1) await silence(lines[0]!)
  assert.equal(connectedAt.length, 2)
  assert.ok(lines[0]!.calls.length <= 12, `${lines[0]!.calls.length} requests were given to the dead one`)
  assert.equal(lines[0]!.closed, 1)
  assert.equal(lines[1]!.calls.length, 4, 'the others go out over the fresh one')
  await end()
})

test('silent units among others that answer do not hold a pipelined connection back', async () => {
  const { clock, lines, connectedAt, submit, end } = breaking({ inFlight: 4 })
  for (let unit = 1; unit <= 7; unit += 1) submit(unit, read(0))
  await clock.advance(0)
  const [line] = lines
  for (const call of line!.calls.slice(1)) call.fail(new TransportError('no answer', { kind: 'timeout' }))
  await clock.advance(0)
  assert.deepEqual(
    line!.calls.slice(4).map(({ unit }) => unit),
    [5, 6, 7],
    'while one that is slow is waited for',
  )
  assert.equal(connectedAt.length, 1)
  await end()
})
