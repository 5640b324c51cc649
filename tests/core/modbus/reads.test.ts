import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { freePort } from '../support/free-port.js'
import { type DeviceExtra, failure, openField } from './field-harness.js'
import { scriptedField } from './scripted-field.js'
import { until } from './until.js'

async function plant(extra: DeviceExtra = {}, unit = {}) {
  const opened = await openField(
    { port: 0, units: { 1: { holding: [1, 2, 3, 4, 5, 6, 7, 8], ...unit } } },
    { unit1: extra },
  )
  const read = (address: number, count = 1, more = {}, signal?: AbortSignal) =>
    opened.field.request({ op: 'read', device_id: 'unit1', register_type: 'holding', address, count, ...more }, signal)
  return { ...opened, read }
}

test('ranges no function can carry are refused before the wire', async () => {
  const p = await plant()
  for (const [address, count] of [
    [-1, 1],
    [0, 0],
    [0, 126],
    [65_535, 2],
    [0.5, 1],
    [70_000, 1],
  ] as const) {
    assert.equal((await failure(p.read(address, count))).code, 'ADDRESS_INVALID', `${address} ${count}`)
  }
  assert.equal((await failure(p.read(0, 2_001, { register_type: 'coil' }))).code, 'ADDRESS_INVALID')
  assert.equal((await p.read(0, 2_000, { register_type: 'coil' })).values.length, 2_000)
  assert.equal((await failure(p.read(0, 1, { register_type: 'spool' }))).code, 'ADDRESS_INVALID')
  assert.equal(p.plant.requests, 1)
  await p.close()
})

test('an exception names device, function and address, in both notations', async () => {
  const p = await plant({}, { ranges: { holding: [[0, 99]] } })
  const error = await failure(p.read(100, 2))
  assert.equal(error.code, 'MODBUS_ILLEGAL_ADDRESS')
  assert.match(error.message, /unit1 .*function 3, holding 100-101 \(40101\).*exception 2/)
  assert.equal(error.details.exception, 2)
  await p.close()
})

test('a read is tried again as often as the record says; an exception is not', async () => {
  const p = await plant({ max_retries: 2, retry_delay: 0.01, timeout_ms: 60 })
  p.plant.faults.set(1, { kind: 'silence', times: 2 })
  assert.deepEqual((await p.read(0)).values, [1])
  assert.equal(p.plant.requests, 3)
  p.plant.faults.set(1, { kind: 'silence', times: 3 })
  assert.equal((await failure(p.read(0))).code, 'DEVICE_TIMEOUT')
  const before = p.plant.requests
  p.plant.faults.set(1, { kind: 'exception', code: 4, times: 1 })
  assert.equal((await failure(p.read(0))).code, 'DEVICE_FAILURE')
  assert.deepEqual((await p.read(0)).values, [1])
  assert.ok(p.plant.requests <= before + 2)
  await p.close()
})

test('"server busy" is asked again, longer apart, until it answers or its time is over', async () => {
  const { plant, field, close } = await openField(
    { port: 0, units: { 1: { holding: [42] } } },
    { unit1: { timeout_ms: 2_000 } },
  )
  const read = () =>
    field.request({ op: 'read', device_id: 'unit1', register_type: 'holding', address: 0, count: 1 } as const)
  plant.faults.set(1, { kind: 'exception', code: 6, times: 2 })
  const started = performance.now()
  assert.deepEqual((await read()).values, [42])
  assert.equal(plant.requests, 3)
  // 100 ms, then 200 ms.
  assert.ok(performance.now() - started >= 295)
  plant.faults.set(1, { kind: 'exception', code: 6 })
  const error = await failure(read())
  assert.deepEqual([error.code, error.details.retry_after_ms], ['DEVICE_BUSY', 1_000])
  assert.ok(plant.requests > 4, 'it was asked more than once')
  await close()
})

test('an answer that came while the process stood still is no value of now: its time-out had passed', async () => {
  const { clock, field, slowMs, asked, events } = scriptedField({ unit1: { timeout: 1, max_retries: 1 } })
  slowMs.set(1, 50)
  const wanted = { device_id: 'unit1', register_type: 'holding', address: 0, count: 1 } as const
  const poll = field.polling.poll({
    block: { ...wanted, wanted: [0] },
    wanted: [wanted],
    dueAt: 0,
    intervalMs: 1_000,
  })
  await clock.advance(0)
  clock.standStill(20_000)
  await Promise.all([assert.rejects(poll, { code: 'DEVICE_TIMEOUT' }), clock.advance(0)])
  assert.deepEqual(
    events.map((event) => event.type === 'device' && event.state),
    [{ name: 'online' }],
    'it has answered',
  )
  assert.equal(field.gateways()[0]!.round_trip_ms, null, 'and nothing is known of how long it takes')

  const read = field.request({ op: 'read', ...wanted })
  await clock.advance(0)
  clock.standStill(20_000)
  await clock.advance(1_000)
  const { timestamp } = await read
  assert.equal(asked.length, 3, 'asked again')
  assert.ok(timestamp * 1_000 - (clock.now() - clock.monotonic()) > 40_000, 'and answered after it')
})

test('equal reads that wait are one request; one that comes later is a new one', async () => {
  const p = await plant({ timeout_ms: 2_000 })
  await p.read(7)
  p.plant.faults.set(1, { kind: 'delay', ms: 60, times: 1 })
  const first = p.read(0)
  const waiting = [p.read(1), p.read(1), p.read(1), p.read(2)]
  await Promise.all([first, ...waiting])
  assert.equal(p.plant.requests, 4)
  await p.close()
})

test('one caller that gives up does not take the shared read from the others', async () => {
  const p = await plant({ timeout_ms: 2_000 })
  await p.read(7)
  p.plant.faults.set(1, { kind: 'delay', ms: 80, times: 1 })
  const first = p.read(0)
  const abort = new AbortController()
  const leaving = failure(p.read(1, 1, {}, abort.signal))
  const staying = p.read(1)
  const late = failure(p.read(1, 1, { deadline: Date.now() + 20 }))
  abort.abort()
  assert.equal((await leaving).code, 'REQUEST_CANCELLED')
  assert.equal((await late).code, 'COMMAND_EXPIRED')
  assert.deepEqual((await staying).values, [2])
  await first
  await p.close()
})

test('the breaker opens after five failures, fails fast, and one try after the recovery closes it', async () => {
  const p = scriptedField({ unit1: {} })
  const read = () => p.settled({ op: 'read', device_id: 'unit1', register_type: 'holding', address: 0, count: 1 })
  p.silent.add(1)
  for (let i = 0; i < 5; i += 1) assert.equal((await read()).error?.code, 'DEVICE_TIMEOUT')
  const refused = (await read()).error
  assert.deepEqual([refused?.code, refused?.details?.retry_after_ms], ['BREAKER_OPEN', 30_000])
  assert.equal(p.asked.length, 5)
  p.silent.clear()
  await p.clock.advance(29_999)
  assert.equal((await read()).error?.code, 'BREAKER_OPEN')
  await p.clock.advance(1)
  assert.deepEqual((await read()).answer?.values, [1])
  assert.deepEqual(
    p.events.filter((event) => event.type === 'breaker').map((event) => event.state),
    ['open', 'closed'],
  )
  await p.field.stop(0)
})

test('exceptions are signs of life: they never open the breaker', async () => {
  const p = await plant()
  for (const code of [1, 2, 3, 4, 8]) {
    p.plant.faults.set(1, { kind: 'exception', code, times: 2 })
    await failure(p.read(0))
    await failure(p.read(0))
  }
  assert.deepEqual((await p.read(0)).values, [1])
  await p.close()
})

test('the cache answers ranges inside a block, the newest first, and falls back to the device', async () => {
  const p = await plant()
  await p.read(0, 8)
  p.plant.set(1, 'holding', 2, 30)
  await p.read(2, 1)
  assert.deepEqual((await p.read(2, 1, { source: 'cache' })).values, [30])
  const inside = await p.read(1, 3, { source: 'cache' })
  assert.deepEqual([inside.values, inside.source, inside.quality], [[2, 3, 4], 'cache', 'good'])
  assert.equal((await p.read(7, 2, { source: 'cache' })).source, 'live')
  assert.deepEqual(
    { ...p.field.metrics().cache },
    { hits: 2, misses: 1, sets: 3, evictions: 0, hit_rate_percent: 66.67 },
  )
  assert.equal(p.field.cache.stats().total_entries, 3)
  p.field.cache.clear()
  assert.equal(p.field.cache.stats().total_entries, 0)
  await p.close()
})

test('a device that is away answers with its last known value, marked stale, only for who allows it', async () => {
  const p = await plant({ timeout_ms: 50 })
  await p.read(0, 4)
  await p.plant.close()
  assert.equal((await failure(p.read(1, 2))).code, 'DEVICE_UNREACHABLE')
  const stale = await p.read(1, 2, { allow_stale: true })
  assert.deepEqual([stale.values, stale.quality, stale.source], [[2, 3], 'stale', 'cache'])
  await p.field.stop(100)
})

test('points are read together and decoded; those of a refused request are bad with the reason', async () => {
  const points = [
    { name: 'a', address: 0 },
    { name: 'b', address: 2, type: 'uint32' },
    { name: 'far', address: 500 },
    { name: 'secret', address: 5, access: 'w' },
  ]
  const p = await plant({ points }, { ranges: { holding: [[0, 99]] } })
  const { points: readings } = await p.field.request({
    op: 'read_points',
    device_id: 'unit1',
    points: ['b', 'a', 'far'],
  })
  assert.deepEqual(
    readings.map(({ point, value, quality, reason }) => [point, value, quality, reason]),
    [
      ['b', 3 * 65_536 + 4, 'good', undefined],
      ['a', 1, 'good', undefined],
      ['far', null, 'bad', 'MODBUS_ILLEGAL_ADDRESS'],
    ],
  )
  assert.equal(p.plant.requests, 2)
  const ask = (name: string) => failure(p.field.request({ op: 'read_points', device_id: 'unit1', points: [name] }))
  assert.equal((await ask('secret')).code, 'WRITE_ONLY')
  assert.equal((await ask('none')).code, 'POINT_UNKNOWN')
  assert.equal((await ask('far')).code, 'MODBUS_ILLEGAL_ADDRESS')
  await p.close()
})

test('devices come, change and go live; the other buses do not notice', async () => {
  const p = await plant()
  const other = await openField({ port: 0, units: { 2: { holding: [9] } } }, {})
  const second = other.record('second2')
  await p.read(0)
  p.field.apply([...p.records, second])
  const read = (device_id: string) =>
    p.field.request({ op: 'read', device_id, register_type: 'holding', address: 0, count: 1 })
  assert.deepEqual((await read('second2')).values, [9])
  p.field.apply([...p.records, { ...second, is_active: false }])
  assert.equal((await failure(read('second2'))).code, 'DEVICE_INACTIVE')
  p.field.apply(p.records)
  assert.equal((await failure(read('second2'))).code, 'DEVICE_UNKNOWN')
  assert.deepEqual(
    p.field.gateways().map(({ connected, devices }) => ({ connected, devices })),
    [{ connected: true, devices: ['unit1'] }],
  )
  await read('unit1')
  await other.close()
  await p.close()
})

test('a device that moved to another unit: what its old unit still answers is not cached as its own', async () => {
  const p = await openField(
    { port: 0, units: { 1: { holding: [1] }, 2: { holding: [2] } } },
    { unit1: { timeout_ms: 60, max_retries: 5, retry_delay: 0.1 } },
  )
  p.plant.faults.set(1, { kind: 'silence', times: 1 })
  const block = { op: 'read', device_id: 'unit1', register_type: 'holding', address: 0, count: 1 } as const
  const old = p.field.request({ ...block, source: 'live' })
  await until(() => p.plant.requests >= 1)
  p.field.apply([p.record('unit1', { slave_id: 2 })])
  assert.deepEqual((await old).values, [1], 'who asked before gets what was asked for')
  assert.deepEqual(p.field.cache.entries(), [])
  assert.deepEqual((await p.field.request({ ...block, source: 'cache' })).values, [2])
  await p.close()
})

test('one host and port with another framer is a conflict; the first device keeps its bus', async () => {
  const p = await plant()
  p.field.apply([...p.records, p.record('wrong2', { framer: 'rtu' })])
  const ask = (device_id: string) =>
    p.field.request({ op: 'read', device_id, register_type: 'holding', address: 0, count: 1 })
  assert.equal((await failure(ask('wrong2'))).code, 'BUS_CONFLICT')
  assert.deepEqual((await ask('unit1')).values, [1])
  assert.deepEqual(
    p.field.devices().map(({ device_id, state }) => [device_id, state]),
    [
      ['unit1', 'online'],
      ['wrong2', 'conflict'],
    ],
  )
  await p.close()
})

test('a lost bus is one event; it comes back by itself when somebody asks', async () => {
  const p = await openField({ port: await freePort(), units: { 1: { holding: [5] }, 2: {} } }, { unit1: {}, unit2: {} })
  const read = (id: string) =>
    p.field.request({ op: 'read', device_id: id, register_type: 'holding', address: 0, count: 1 })
  await read('unit1')
  const { port } = p.plant
  await p.plant.close()
  for (let i = 0; i < 4; i += 1) await failure(read(i % 2 === 0 ? 'unit1' : 'unit2'))
  assert.deepEqual(
    p.events.filter((event) => event.type === 'bus').map((event) => [event.state, event.devices]),
    [['down', ['unit1', 'unit2']]],
  )
  const again = await openField({ port, units: { 1: { holding: [6] } } }, {})
  assert.deepEqual((await read('unit1')).values, [6])
  assert.deepEqual(
    p.events.filter((event) => event.type === 'bus').map((event) => event.state),
    ['down', 'up'],
  )
  await again.close()
  await p.field.stop(100)
})

test('RTU over TCP: a late answer never becomes the answer to another address', async () => {
  const holding = Array.from({ length: 300 }, (_, i) => i)
  const p = await openField(
    { port: 0, kind: 'rtu_tcp', units: { 1: { holding } } },
    { unit1: { framer: 'RTU', timeout_ms: 60, options: { late_grace_ms: 900 } } },
  )
  const read = (address: number) =>
    p.field.request({ op: 'read', device_id: 'unit1', register_type: 'holding', address, count: 1 })
  // So late that a busy machine does not find it beside the time-out, when it would be in time.
  for (let round = 0; round < 3; round += 1) {
    p.plant.faults.set(1, { kind: 'delay', ms: 300, times: 1 })
    assert.equal((await failure(read(100 + round))).code, 'DEVICE_TIMEOUT')
    assert.deepEqual((await read(200 + round)).values, [200 + round])
  }
  await p.close()
})

test('stop refuses what waits and answers nothing after it', async () => {
  const p = await plant({ timeout_ms: 1_000 })
  await p.read(0)
  p.plant.faults.set(1, { kind: 'delay', ms: 80, times: 1 })
  const onWire = p.read(1)
  const waiting = failure(p.read(2))
  await pause(10)
  const stopping = p.field.stop(500)
  assert.deepEqual((await onWire).values, [2])
  assert.equal((await waiting).code, 'SHUTTING_DOWN')
  await stopping
  assert.equal((await failure(p.read(3))).code, 'SHUTTING_DOWN')
  await p.close()
})

test('what is counted went to the wire or found no way there, not what was taken back or refused before that', async () => {
  const p = scriptedField({ unit1: { options: { queue_limit: 2 } }, unit2: {} })
  p.slowMs.set(1, 50)
  const read = (address: number, deadline?: number, signal?: AbortSignal) =>
    p.field
      .request(
        {
          op: 'read',
          device_id: 'unit1',
          register_type: 'holding',
          address,
          count: 1,
          ...(deadline === undefined ? {} : { deadline }),
        },
        signal,
      )
      .then(
        () => 'answered',
        (error: { code: string }) => error.code,
      )
  const leaving = new AbortController()
  const first = read(0)
  await p.clock.advance(1)
  const ends = [first, read(1, p.clock.now() + 10), read(2, undefined, leaving.signal), read(3)]
  await p.clock.advance(5)
  leaving.abort()
  await p.clock.advance(100)
  assert.deepEqual(await Promise.all(ends), ['answered', 'COMMAND_EXPIRED', 'REQUEST_CANCELLED', 'BUS_OVERLOADED'])
  const { total_requests, successful_requests, errors_by_type } = p.field.metrics().modbus
  assert.deepEqual([total_requests, successful_requests, errors_by_type], [p.asked.length, 1, {}])
  await p.field.stop(0)
})

test('one signal may end as many requests as its caller has, and nothing is reported as a leak', async (t) => {
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  t.after(() => process.off('warning', onWarning))
  const points = Array.from({ length: 20 }, (_, n) => ({ name: `p${n}`, address: n * 1_000 }))
  const { field, clock } = scriptedField({ unit1: { points } })
  const names = points.map(({ name }) => name)
  const reading = field.request({ op: 'read_points', device_id: 'unit1', points: names }, new AbortController().signal)
  await clock.advance(10)
  assert.equal((await reading).points.length, 20)
  assert.deepEqual(warnings, [])
  await field.stop(0)
})
