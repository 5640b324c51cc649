import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import type { Fault } from '../../../core/modbus/server/faults.js'
import type { Logger } from '../../../core/observability/logger.js'
import { failure, openField } from './field-harness.js'

/** What the log says, by message; the rest of a line is not looked at. */
function recorder(lines: string[]): Logger {
  const note = (...args: unknown[]) => void lines.push(String(args.find((one) => typeof one === 'string')))
  const quiet = () => {}
  const logger = { trace: quiet, debug: quiet, info: note, warn: note, error: note, fatal: note, child: () => logger }
  return logger as unknown as Logger
}

async function plant(units = 1, extra = {}) {
  const lines: string[] = []
  const ids = Array.from({ length: units }, (_, i) => `unit${i + 1}`)
  const opened = await openField(
    { port: 0, units: Object.fromEntries(ids.map((_, i) => [i + 1, { holding: [7] }])) },
    Object.fromEntries(ids.map((id) => [id, { timeout_ms: 100, options: { late_grace_ms: 0 }, ...extra }])),
    { logger: recorder(lines) },
  )
  const { field } = opened
  const poll = (device_id = 'unit1') => {
    const block = { device_id, register_type: 'holding', address: 0, count: 1 } as const
    return field.polling.poll({ block: { ...block, wanted: [0] }, wanted: [block], dueAt: 0, intervalMs: 200 })
  }
  /** A poll that went out: after a loss the bus takes a moment until it connects again, and polls fail at once. */
  const asked = async (): Promise<string | undefined> => {
    for (const before = opened.plant.requests; ; await pause(20)) {
      const code = await poll().then(
        () => undefined,
        (error: { code: string }) => error.code,
      )
      if (opened.plant.requests > before) return code
    }
  }
  /** Polls until the bus is known to be away. */
  const lostBus = async (id?: string) => {
    while (!opened.events.some((event) => event.type === 'bus')) {
      await failure(poll(id))
      await pause(20)
    }
  }
  const states = (id = 'unit1') =>
    opened.events.flatMap((event) =>
      event.type === 'device' && event.device_id === id
        ? [event.state.name === 'offline' ? event.state.reason : event.state.name]
        : [],
    )
  return { ...opened, poll, asked, lostBus, states, lines }
}

const FAULTS: readonly (readonly [string, Fault, string])[] = [
  ['silence', { kind: 'silence' }, 'DEVICE_TIMEOUT'],
  ['a connection that is reset at each poll', { kind: 'reset' }, 'DEVICE_UNREACHABLE'],
  ['nonsense', { kind: 'wrong_function' }, 'MODBUS_PROTOCOL'],
  ['exception 10 of its gateway', { kind: 'exception', code: 10 }, 'MODBUS_GATEWAY_PATH'],
  ['exception 11 of its gateway', { kind: 'exception', code: 11 }, 'DEVICE_TIMEOUT'],
]

for (const [name, fault, code] of FAULTS) {
  test(`${name}: offline after two polls in a row, online with the first answer, one line each`, async () => {
    const p = await plant()
    assert.equal(await p.asked(), undefined)
    // One failure between answers is no news; of a good connection that breaks a read goes out once more.
    p.plant.faults.set(1, { ...fault, times: fault.kind === 'reset' ? 2 : 1 })
    assert.equal(await p.asked(), code)
    assert.equal(await p.asked(), undefined)
    p.plant.faults.set(1, fault)
    assert.equal(await p.asked(), code)
    assert.equal(p.field.devices()[0]!.state, 'online')
    assert.equal(await p.asked(), code)
    assert.equal(p.field.devices()[0]!.state, 'offline')
    for (let i = 0; i < 5; i += 1) await failure(p.poll())
    p.plant.faults.clear()
    // By a caller: polls probe only so often.
    await p.field.request({ op: 'read', device_id: 'unit1', register_type: 'holding', address: 0, count: 1 })
    assert.equal(await p.asked(), undefined)
    assert.deepEqual(p.states(), ['online', 'silent', 'online'])
    assert.deepEqual(
      p.lines.filter((line) => line.startsWith('device')),
      ['device does not answer', 'device answers again'],
    )
    assert.deepEqual(
      p.events.filter((event) => event.type === 'bus'),
      [],
      'the bus was there all the time',
    )
    await p.close()
  })
}

test('exceptions of the device itself keep it online', async () => {
  const p = await plant()
  for (const code of [1, 2, 3, 4, 5, 6, 7, 8]) {
    p.plant.faults.set(1, { kind: 'exception', code, times: 3 })
    for (let i = 0; i < 3; i += 1) await failure(p.poll())
  }
  assert.deepEqual(p.states(), ['online'])
  await p.close()
})

test('a bus that is refused is one event and one line; its devices follow from it and come back with it', async () => {
  const p = await plant(3)
  const ids = ['unit1', 'unit2', 'unit3']
  for (const id of ids) await p.poll(id)
  const { port } = p.plant
  await p.plant.close()
  await p.lostBus()
  for (const id of ids) await failure(p.poll(id))
  assert.deepEqual(
    p.events.flatMap((event) => (event.type === 'bus' ? [[event.state, event.devices]] : [])),
    [['down', ids]],
  )
  for (const id of ids) assert.deepEqual(p.states(id), ['online', 'bus_down'])
  // One that is made known meanwhile follows from it too.
  p.field.apply([...p.records, p.record('unit4', { slave_id: 1 })])
  assert.deepEqual(
    p.field.devices().map(({ state, reason }) => [state, reason]),
    Array.from({ length: 4 }, () => ['offline', 'bus_down']),
  )
  assert.deepEqual(p.lines, ['bus is away'])
  const again = await openField({ port, units: { 1: {}, 2: {}, 3: {} } }, {})
  for (const id of ids) {
    await p.field.request({ op: 'read', device_id: id, register_type: 'holding', address: 0, count: 1 })
    assert.deepEqual(p.states(id), ['online', 'bus_down', 'unknown', 'online'])
  }
  assert.deepEqual(p.lines, ['bus is away', 'bus is back'])
  await again.close()
  await p.field.stop(100)
})

test('a bus that takes each connection and closes it at once is away as a whole, and back with its first answer', async () => {
  const taken: Socket[] = []
  const closing = createServer(
    (socket) =>
      void taken.push(
        socket
          .on('error', () => {})
          .resume()
          .end(),
      ),
  ).listen(0, '127.0.0.1')
  await once(closing, 'listening')
  const { port } = closing.address() as AddressInfo
  const ids = ['unit1', 'unit2', 'unit3']
  const p = await plant(3, { port })
  while (taken.length < 4) {
    for (const id of ids) await failure(p.poll(id))
    await pause(20)
  }
  for (const id of ids) assert.deepEqual(p.states(id), ['bus_down'], 'none of them is silent by itself')
  assert.deepEqual(
    p.events.flatMap((event) => (event.type === 'bus' ? [event.state] : [])),
    ['down'],
  )
  assert.deepEqual(p.lines, ['bus is away'])
  closing.close()
  await once(closing, 'close')
  const again = await openField({ port, units: { 1: {}, 2: {}, 3: {} } }, {})
  await p.field.request({ op: 'read', device_id: 'unit2', register_type: 'holding', address: 0, count: 1 })
  assert.deepEqual(p.lines, ['bus is away', 'bus is back'])
  assert.deepEqual(p.states('unit2'), ['bus_down', 'unknown', 'online'])
  await again.close()
  await p.close()
})

test('polls that one broken connection takes with it are one failure of their device', async () => {
  const p = await plant(1, { timeout_ms: 5_000, poll_timeout_ms: 5_000, options: { in_flight: 8 } })
  await p.poll()
  p.plant.faults.set(1, { kind: 'delay', ms: 10_000, times: 7 })
  const block = { device_id: 'unit1', register_type: 'holding', count: 1 } as const
  const polls = Array.from({ length: 8 }, (_, address) => {
    if (address === 7)
      p.plant.faults.choose(({ functionCode }) => (functionCode === 4 ? { kind: 'reset' } : { kind: 'silence' }))
    const one = { ...block, address, ...(address === 7 ? { register_type: 'input' as const } : {}) }
    return failure(
      p.field.polling.poll({ block: { ...one, wanted: [0] }, wanted: [one], dueAt: 0, intervalMs: 20_000 }),
    )
  })
  const codes = (await Promise.all(polls)).map(({ code }) => code)
  assert.deepEqual(new Set(codes), new Set(['DEVICE_UNREACHABLE']))
  assert.deepEqual(p.states(), ['online'])
  await p.close()
})

test('a device that was silent before its bus went away is silent again after it, and says so', async () => {
  const p = await plant(2)
  await p.poll('unit2')
  p.plant.faults.set(1, { kind: 'silence' })
  await failure(p.poll())
  await failure(p.poll())
  const { port } = p.plant
  await p.plant.close()
  await p.lostBus('unit2')
  const again = await openField({ port, units: { 2: {} } }, {})
  await p.field.request({ op: 'read', device_id: 'unit2', register_type: 'holding', address: 0, count: 1 })
  assert.deepEqual(p.states(), ['silent', 'bus_down', 'unknown'])
  // Probes are rare; each poll that is no probe says nothing new.
  for (; p.states().length < 4; await pause(20)) await failure(p.poll())
  assert.deepEqual(p.states(), ['silent', 'bus_down', 'unknown', 'silent'])
  await again.close()
  await p.field.stop(100)
})

test('a device that nobody polls goes offline with its breaker', async () => {
  const p = await plant()
  const read = () => p.field.request({ op: 'read', device_id: 'unit1', register_type: 'holding', address: 0, count: 1 })
  await read()
  p.plant.faults.set(1, { kind: 'silence' })
  for (let i = 0; i < 4; i += 1) await failure(read())
  assert.deepEqual(p.states(), ['online'])
  await failure(read())
  assert.deepEqual(p.states(), ['online', 'silent'])
  await p.close()
})
