import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { type Logger, silentLogger } from '../../../core/observability/logger.js'
import type { TriggerBook } from '../../../core/poller/trigger-memory.js'
import { freePort } from '../support/free-port.js'
import { openPoller, startDevice, until } from './poller-harness.js'

const units = { 1: { holding: [10, 20, 30, 40], coils: [true, false] } }

test('publishes blocks and points in the contract format, keeps samples, fills the cache', async () => {
  const points = [{ name: 'temperature', address: 1, scale: 0.1, unit: '°C' }]
  const p = await openPoller({ port: 0, units }, { unit1: { points } }, [
    { device_id: 'unit1', address: 0, count: 3 },
    { device_id: 'unit1', address: 0, count: 2, register_type: 'coil' },
  ])
  const before = Date.now() / 1_000
  p.poller.start()
  await until(() => p.recorder.on('modbus/data/unit1/coil/0').length >= 2)
  const [block] = p.recorder.values('modbus/data/unit1/holding/0') as Record<string, unknown>[]
  assert.deepEqual(Object.keys(block!), ['device_id', 'register_type', 'address', 'count', 'values', 'timestamp'])
  assert.deepEqual([block!.values, block!.count, block!.register_type], [[10, 20, 30], 3, 'holding'])
  assert.ok((block!.timestamp as number) >= before && (block!.timestamp as number) <= Date.now() / 1_000)
  const [coils] = p.recorder.values('modbus/data/unit1/coil/0') as Record<string, unknown>[]
  assert.deepEqual(coils!.values, [true, false])
  const told = p.recorder.values('modbus/data/unit1/points/temperature') as Record<string, unknown>[]
  const point = told.find(({ quality }) => quality === 'good')
  assert.deepEqual(Object.keys(point!), ['value', 'unit', 'quality', 'timestamp'])
  assert.deepEqual([point!.value, point!.unit, point!.quality, point!.timestamp], [2, '°C', 'good', block!.timestamp])
  assert.ok(p.samples.some(({ points }) => points[0]?.value === 2))
  const cached = await p.field.request({
    op: 'read',
    device_id: 'unit1',
    register_type: 'holding',
    address: 1,
    count: 1,
    source: 'cache',
  })
  assert.deepEqual([cached.values, cached.source], [[20], 'cache'])
  const [online] = p.recorder.on('modbus/data/unit1/availability')
  assert.deepEqual([online!.payload, online!.options.retain], ['online', true])
  assert.ok(online!.options.properties!.messageExpiryInterval! > 0)
  await p.close()
  assert.equal(p.recorder.on('modbus/data/unit1/availability').at(-1)!.payload, 'offline')
  const metrics = p.poller.metrics()
  assert.equal(metrics.total_targets_polled, metrics.total_targets_success + metrics.total_targets_failed)
  assert.equal(metrics.total_cycles, metrics.successful_cycles + metrics.failed_cycles)
  assert.ok(metrics.total_targets_success >= 2)
})

test('slots lie on the fixed grid and are numbered; nothing drifts, nothing is caught up', async () => {
  const p = await openPoller({ port: 0, units }, { unit1: {} }, [{ device_id: 'unit1', address: 0, interval_ms: 40 }])
  p.poller.start()
  await until(() => p.samples.length >= 5)
  // The process stands still for four slots.
  const end = performance.now() + 170
  while (performance.now() < end);
  const slotsBefore = p.samples.length
  await until(() => p.samples.length >= slotsBefore + 5)
  const slots = p.samples.map((sample) => sample.slot)
  assert.deepEqual([...new Set(slots)], slots, 'each slot once')
  const { skipped_slots: skipped, total_targets_failed: failed } = p.poller.metrics()
  const missing = slots.at(-1)! - slots[0]! + 1 - slots.length
  assert.ok(missing <= skipped + failed, `${missing} slots are missing, ${skipped} skipped and ${failed} failed`)
  assert.ok(skipped >= 3)
  await p.close()
})

test('a value carries the time at which its answer was complete', async () => {
  const p = await openPoller({ port: 0, units }, { unit1: {} }, [{ device_id: 'unit1', address: 0, interval_ms: 400 }])
  const asked: number[] = []
  p.plant.faults.choose(() => {
    asked.push(Date.now())
    return { kind: 'delay', ms: 60 }
  })
  p.poller.start()
  await until(() => p.samples.length >= 3)
  await p.close()
  for (const [at, { block }] of p.samples.entries()) {
    const ageMs = block.timestamp * 1_000 - asked[at]!
    // A timer may come a millisecond early; when the next one was asked, this one had its time already.
    assert.ok(ageMs >= 58, `${ageMs} ms after it was asked`)
    assert.ok(asked[at + 1] === undefined || block.timestamp * 1_000 <= asked[at + 1]!)
  }
})

test('phases are spread over the interval, on a raster that all buses share', async () => {
  const other = await startDevice({ units })
  const ids = Array.from({ length: 8 }, (_, n) => `unit${n + 1}`)
  const onOther = { host: other.host, port: other.port }
  const p = await openPoller(
    { port: 0, units },
    Object.fromEntries(ids.map((id, n) => [id, n < 4 ? {} : { ...onOther, slave_id: n - 3 }])),
    ids.map((device_id) => ({ device_id, address: 0, interval_ms: 1_000 })),
  )
  const phases = p.poller.status().groups.map(({ phase_ms }) => phase_ms)
  await p.close()
  await other.close()
  for (const phase of phases) assert.equal(phase % 20, 0, `${phases}`)
  for (const bus of [phases.slice(0, 4), phases.slice(4)]) {
    const sorted = [...bus].sort((a, b) => a - b)
    const gaps = sorted.map((phase, at) => (sorted[at + 1] ?? sorted[0]! + 1_000) - phase)
    assert.ok(Math.min(...gaps) >= 100 && Math.max(...gaps) <= 500, `${sorted}`)
  }
})

test('targets of one device are one request where that is cheaper', async () => {
  const p = await openPoller({ port: 0, units }, { unit1: {} }, [
    { device_id: 'unit1', address: 0 },
    { device_id: 'unit1', address: 1, count: 2 },
    { device_id: 'unit1', address: 3 },
  ])
  assert.deepEqual(
    p.poller.status().groups.map(({ targets, reads }) => ({ targets, reads })),
    [{ targets: [1, 2, 3], reads: 1 }],
  )
  p.poller.start()
  await until(() => p.recorder.on('modbus/data/unit1/holding/3').length >= 2)
  assert.deepEqual((p.recorder.values('modbus/data/unit1/holding/1')[0] as { values: unknown }).values, [20, 30])
  const slots =
    Math.max(...p.samples.map((sample) => sample.slot)) - Math.min(...p.samples.map((sample) => sample.slot)) + 1
  assert.ok(p.plant.requests <= slots + 1, `${p.plant.requests} requests in ${slots} slots`)
  await p.close()
})

test('a device that falls silent: its points turn bad once, it is asked rarely, the others go on', async () => {
  const points = [{ name: 'p', address: 0 }]
  const p = await openPoller(
    { port: 0, units: { 1: units[1], 2: units[1] } },
    { unit1: { points }, unit2: { points } },
    [
      { device_id: 'unit1', address: 0 },
      { device_id: 'unit2', address: 0 },
    ],
  )
  p.poller.start()
  await until(() => p.recorder.on('modbus/data/unit1/points/p').length > 1)
  const said = () => p.recorder.on('modbus/data/unit1/availability').at(-1)?.payload
  await until(() => said() === 'online')
  const from = performance.now()
  const told = p.recorder.on('modbus/data/unit1/points/p').length
  const changes = p.events.length
  let asked = 0
  p.plant.faults.choose(({ unit }) => {
    if (unit !== 1) return undefined
    asked += 1
    return { kind: 'deaf' }
  })
  await until(() => said() === 'offline')
  const good = () =>
    p.samples.filter(({ device_id, block }) => device_id === 'unit2' && block.quality === 'good').length
  const before = good()
  await until(() => good() >= before + 20)
  // Two that took it off line, one that starts the count, one ahead of it; then 5 % of the time, at 60 ms each.
  const most = 4 + (performance.now() - from) / (60 / 0.05)
  assert.ok(asked <= most, `asked ${asked} times, ${most.toFixed(1)} at most`)
  const bad = (p.recorder.values('modbus/data/unit1/points/p').slice(told) as Record<string, unknown>[]).filter(
    ({ quality }) => quality === 'bad',
  )
  assert.equal(bad.length, 1)
  assert.deepEqual([bad[0]!.value, bad[0]!.reason], [null, 'DEVICE_TIMEOUT'])
  assert.deepEqual(
    p.events
      .slice(changes)
      .flatMap((event) => (event.type === 'device' && event.device_id === 'unit1' ? [event.state.name] : [])),
    ['offline'],
  )
  p.plant.faults.clear()
  await until(() => said() === 'online')
  const last = p.recorder.values('modbus/data/unit1/points/p').at(-1) as { quality: string }
  assert.equal(last.quality, 'good')
  await p.close()
})

test('a stop keeps the answer to what was asked before it, and waits for no device that says nothing', async () => {
  const points = [{ name: 'p', address: 0 }]
  const p = await openPoller({ port: 0, units }, { unit1: { points, poll_timeout_ms: 2_000 } }, [
    { device_id: 'unit1', address: 0, interval_ms: 2_000 },
  ])
  let asked = 0
  const request = new Promise<void>((resolve) => {
    p.plant.faults.choose(() => {
      asked += 1
      resolve()
      return { kind: 'delay', ms: 100 }
    })
  })
  p.poller.start()
  await request
  await p.poller.stop()
  assert.equal(asked, 1)
  assert.deepEqual(
    p.samples.map(({ block }) => block.values),
    [[10]],
    'the read that the device answered',
  )
  await p.close()

  const silent = await openPoller({ port: 0, units }, { unit1: { points, poll_timeout_ms: 2_000 } }, [
    { device_id: 'unit1', address: 0, interval_ms: 2_000 },
  ])
  const unanswered = new Promise<void>((resolve) => {
    silent.plant.faults.choose(() => {
      resolve()
      return { kind: 'silence' }
    })
  })
  silent.poller.start()
  await unanswered
  await silent.poller.stop()
  assert.equal(silent.samples.length, 0)
  await silent.close()
})

test('a bus that is away: one event, bad values once, polling again when it is back', async () => {
  const p = await openPoller({ port: await freePort(), units }, { unit1: { points: [{ name: 'p', address: 0 }] } }, [
    { device_id: 'unit1', address: 0 },
  ])
  p.poller.start()
  await until(() => p.samples.length >= 2)
  await p.plant.close()
  await until(() => p.recorder.on('modbus/data/unit1/availability').some(({ payload }) => payload === 'offline'))
  await pause(400)
  const again = await startDevice({ port: p.plant.port, units })
  await until(() => p.recorder.on('modbus/data/unit1/availability').at(-1)!.payload === 'online')
  assert.deepEqual(
    p.events.flatMap((event) => (event.type === 'bus' ? [event.state] : [])),
    ['down', 'up'],
  )
  await p.poller.stop()
  await p.field.stop(200)
  await again.close()
})

test('a joined read that is refused three times is split where it was joined', async () => {
  const p = await openPoller(
    {
      port: 0,
      units: {
        1: {
          holding: { 0: 1, 4: 2 },
          ranges: {
            holding: [
              [0, 1],
              [4, 5],
            ],
          },
        },
      },
    },
    { unit1: {} },
    [
      { device_id: 'unit1', address: 0, count: 2 },
      { device_id: 'unit1', address: 4, count: 2 },
    ],
  )
  assert.equal(p.poller.status().groups[0]!.reads, 1)
  p.poller.start()
  await until(() => p.recorder.on('modbus/data/unit1/holding/4').length > 0)
  assert.deepEqual((p.recorder.values('modbus/data/unit1/holding/0')[0] as { values: unknown }).values, [1, 0])
  assert.equal(p.poller.status().groups[0]!.reads, 2)
  await p.close()
})

test('an address the device refuses is asked ever more rarely and costs the other targets nothing', async () => {
  const p = await openPoller({ port: 0, units: { 1: { ranges: { holding: [[0, 99]] } } } }, { unit1: {} }, [
    { device_id: 'unit1', address: 0, interval_ms: 60 },
    { device_id: 'unit1', address: 5_000, interval_ms: 60 },
  ])
  p.poller.start()
  await until(() => p.samples.filter((sample) => sample.target_id === 1).length >= 30)
  const good = p.samples.filter((sample) => sample.target_id === 1).length
  assert.ok(p.plant.requests - good <= 12, `${p.plant.requests - good} refused requests in ${good} slots`)
  await p.close()
})

test('targets and devices change live; retained topics of what was removed are cleared', async () => {
  const p = await openPoller({ port: 0, units: { 1: units[1], 2: units[1] } }, { unit1: {}, unit2: {} }, [
    { device_id: 'unit1', address: 0, options: { retain: true } },
    { device_id: 'unit2', address: 0 },
  ])
  p.poller.start()
  await until(() => p.samples.length >= 4)
  p.poller.apply([p.targets[1]!], p.records)
  assert.deepEqual(p.recorder.on('modbus/data/unit1/holding/0').at(-1), {
    ...p.recorder.on('modbus/data/unit1/holding/0').at(-1)!,
    payload: '',
    options: { qos: 1, retain: true },
  })
  const slot = p.samples.filter((sample) => sample.target_id === 2).at(-1)!.slot
  await until(() => p.samples.filter((sample) => sample.target_id === 2).at(-1)!.slot > slot + 2)
  p.field.apply([p.records[0]!])
  p.poller.apply([p.targets[1]!], [p.records[0]!])
  assert.equal(p.recorder.on('modbus/data/unit2/availability').at(-1)!.payload, '')
  assert.deepEqual(p.poller.targets(), [])
  await p.close()
})

test('what is read for a target that is removed while the record of another is being noted stays cleared', async () => {
  let note = () => {}
  let isNoting = false
  const triggers: TriggerBook = {
    recall: async () => new Map(),
    begin: () => {
      isNoting = true
      return new Promise((resolve) => {
        note = resolve
      })
    },
    settle: () => {},
  }
  const targets = [
    { device_id: 'unit1', address: 0, publish: 'trigger', options: { trigger: { address: 0 } } },
    { device_id: 'unit1', address: 1, options: { retain: true } },
  ]
  const p = await openPoller({ port: 0, units }, { unit1: {} }, targets, { triggers })
  p.poller.start()
  await until(() => isNoting)
  p.poller.apply([p.targets[0]!], p.records)
  note()
  await until(() => p.samples.length > 0)
  assert.deepEqual(p.recorder.values('modbus/data/unit1/holding/1'), [''], 'cleared, and nothing after it')
  assert.deepEqual(
    p.samples.map(({ target_id }) => target_id),
    [1],
  )
  await p.close()
})

test('retained point topics are cleared where the point or its device is gone, though the field knows neither any more', async () => {
  const points = [
    { name: 'old', address: 0 },
    { name: 'stays', address: 1 },
  ]
  const p = await openPoller(
    { port: 0, units: { 1: units[1], 2: units[1] } },
    { unit1: { points }, unit2: { points } },
    [
      { device_id: 'unit1', address: 0, count: 2, options: { retain: true } },
      { device_id: 'unit2', address: 0, count: 2, options: { retain: true } },
    ],
  )
  p.poller.start()
  const last = (topic: string) => p.recorder.on(`modbus/data/${topic}`).at(-1)?.payload
  await until(() => ['unit1', 'unit2'].every((unit) => last(`${unit}/points/old`) && last(`${unit}/points/stays`)))
  const renamed = [p.record('unit1', { points: [{ name: 'new', address: 0 }, points[1]] })]
  p.field.apply(renamed)
  p.poller.apply(p.targets, renamed)
  const cleared = p.recorder.messages.filter(({ payload }) => payload === '').map(({ topic }) => topic)
  assert.deepEqual(
    cleared.filter((topic) => !topic.endsWith('/availability')).sort(),
    ['unit1/points/old', 'unit2/holding/0', 'unit2/points/old', 'unit2/points/stays'].map(
      (one) => `modbus/data/${one}`,
    ),
  )
  await until(() => last('unit1/points/new') !== undefined)
  assert.equal(last('unit1/points/old'), '')
  assert.equal(last('unit2/points/old'), '')
  await p.close()
})

test('a slow sink holds its slot open: slots are skipped and counted, never queued', async () => {
  let open = 0
  let most = 0
  const sink = {
    async accept() {
      open += 1
      most = Math.max(most, open)
      await pause(130)
      open -= 1
    },
  }
  const p = await openPoller({ port: 0, units }, { unit1: {} }, [{ device_id: 'unit1', address: 0, interval_ms: 40 }], {
    sink,
  })
  p.poller.start()
  await until(() => p.poller.metrics().skipped_slots >= 6)
  assert.equal(most, 1)
  await p.close()
})

test('who does not lead a bus does not poll it', async () => {
  let leads = false
  const p = await openPoller({ port: 0, units }, { unit1: {} }, [{ device_id: 'unit1', address: 0 }], {
    isLeader: () => leads,
  })
  p.poller.start()
  await pause(150)
  assert.equal(p.plant.requests, 0)
  leads = true
  await until(() => p.samples.length > 0)
  await p.close()
})

test('a bus that comes back from another installation: a value that one did not publish last is news', async () => {
  let leads = true
  const target = { device_id: 'unit1', address: 0, publish: 'change', interval_ms: 60 }
  const p = await openPoller(
    { units: { 1: { holding: { 0: 10 } } } },
    { unit1: { points: [{ name: 'x', address: 0 }] } },
    [target],
    { isLeader: () => leads },
  )
  const seen = () => p.recorder.on('modbus/data/unit1/points/x').map(({ payload }) => JSON.parse(payload).value)
  p.poller.start()
  await until(() => seen().length === 1)
  const bus = p.field.polling.busOf('unit1')!
  leads = false
  p.field.release(bus)
  // Meanwhile the other one published 20, and it is 10 again.
  leads = true
  p.poller.tookOver([bus])
  await until(() => seen().length === 2)
  await pause(200)
  assert.deepEqual(seen(), [10, 10])
  p.poller.tookOver(['another bus'])
  await pause(200)
  assert.deepEqual(seen(), [10, 10], 'what comes of another bus is no news here')
  await p.close()
})

test('what was asked before another installation took the bus is published by nobody, and told once the bus is back', async () => {
  let leads = true
  const target = { device_id: 'unit1', address: 0, publish: 'change', interval_ms: 1_000, options: { retain: true } }
  const p = await openPoller(
    { units },
    { unit1: { timeout_ms: 2_000, points: [{ name: 'x', address: 0 }] } },
    [target],
    {
      isLeader: () => leads,
    },
  )
  const seen = () =>
    p.recorder.on('modbus/data/unit1/points/x').map(({ payload }) => JSON.parse(payload) as { quality: string })
  const qualities = () => seen().map(({ quality }) => quality)
  const poll = async () => {
    const { requests } = p.plant
    await until(() => p.plant.requests > requests)
  }
  p.poller.start()
  await until(() => seen().length === 1)
  p.plant.faults.set(1, { kind: 'silence' })
  await poll()
  leads = false
  p.field.release(p.field.polling.busOf('unit1')!)
  await pause(700)
  assert.deepEqual(qualities(), ['good'], 'its time-out says nothing about what the other one reads')

  // Nobody had it meanwhile: it was only not certain for a moment.
  p.plant.faults.clear()
  p.plant.set(1, 'holding', 0, 77)
  p.plant.faults.set(1, { kind: 'delay', ms: 300 })
  leads = true
  await poll()
  leads = false
  await pause(500)
  assert.equal(seen().length, 1)
  leads = true
  await until(() => seen().length === 2)
  assert.equal((seen()[1] as unknown as { value: number }).value, 77)
  await p.close()
})

test('a target that would overload its bus is refused unless forced; over 80 % warns', async () => {
  const p = await openPoller({ port: 0, units }, { unit1: { options: { delay_ms: 50 } } }, [])
  const target = (interval_ms: number) => p.target({ device_id: 'unit1', address: 0, interval_ms }, 9)
  assert.equal(p.poller.checkTarget(target(1_000)).warning, null)
  assert.match(p.poller.checkTarget(target(62)).warning!, /9\d %|8\d %/)
  assert.throws(() => p.poller.checkTarget(target(20)), { code: 'BUS_LOAD_REFUSED' })
  assert.ok(p.poller.checkTarget(target(20), { force: true }).load > 1)
  const unknown = p.target({ device_id: 'nobody', address: 0 }, 9)
  assert.throws(() => p.poller.checkTarget(unknown), { code: 'DEVICE_UNKNOWN' })
  await p.close()
})

test('a changed field is an event; a trigger makes one record for each of its values', async () => {
  const points = [
    { name: 'operation', address: 0 },
    { name: 'kind', address: 1 },
  ]
  const changes: unknown[] = []
  const p = await openPoller(
    { port: 0, units: { 1: { holding: [100, 1, 7] } } },
    { unit1: { points } },
    [
      {
        device_id: 'unit1',
        address: 0,
        count: 11,
        interval_ms: 60,
        publish: 'trigger',
        options: { trigger: { point: 'operation' }, events: [{ point: 'kind' }] },
      },
    ],
    { onChange: (change) => changes.push(change) },
  )
  p.poller.start()
  await until(() => p.samples.length === 1)
  await pause(80)
  p.plant.set(1, 'holding', 2, 8)
  await pause(60)
  assert.equal(p.samples.length, 1, 'a value that is not the trigger makes no record')
  p.plant.set(1, 'holding', 1, 2)
  p.plant.set(1, 'holding', 0, 101)
  await until(() => p.samples.length === 2)
  await until(() => changes.length === 1)
  assert.deepEqual(
    p.samples.map((sample) => sample.block.values.slice(0, 3)),
    [
      [100, 1, 7],
      [101, 2, 8],
    ],
  )
  const [change] = p.recorder.values('modbus/data/unit1/events/kind') as Record<string, unknown>[]
  assert.deepEqual([change!.field, change!.from, change!.to], ['kind', 1, 2])
  await p.close()
})

test('changes are logged, not repetitions: forty devices on a bus that goes and comes are two lines', async () => {
  const lines: string[] = []
  const note = (_: object, sentence?: string) => void lines.push(sentence ?? '')
  const logger: Logger = { ...silentLogger, info: note, warn: note, error: note, child: () => logger }
  const ids = Array.from({ length: 40 }, (_, i) => `unit${i + 1}`)
  const p = await openPoller(
    { port: await freePort(), units: Object.fromEntries(ids.map((_, i) => [i + 1, {}])) },
    // Time-outs of half a second: a busy machine must not make a device look silent.
    Object.fromEntries(ids.map((id) => [id, { timeout_ms: 1_000 }])),
    ids.map((device_id) => ({ device_id, address: 0, interval_ms: 1_000 })),
    { logger },
    { logger },
  )
  p.poller.start()
  await until(() => p.poller.metrics().total_targets_success >= 80)
  await p.plant.close()
  await until(() => p.events.some((event) => event.type === 'bus'))
  await pause(600)
  const again = await startDevice({
    port: p.plant.port,
    units: Object.fromEntries(ids.map((_, i) => [i + 1, {}])),
  })
  await until(() => p.field.devices().every(({ state }) => state === 'online'))
  assert.deepEqual(lines, ['bus is away', 'bus is back'])
  await p.poller.stop()
  await p.field.stop(200)
  await again.close()
})

test('a target the device cannot carry costs the others nothing, nor does it break the status', async () => {
  const p = await openPoller({ port: 0, units }, { unit1: { options: { max_registers: 2 } } }, [
    { device_id: 'unit1', address: 0, count: 2 },
    { device_id: 'unit1', address: 0, count: 4 },
  ])
  p.poller.start()
  await until(() => p.samples.length >= 3)
  const good = p.samples.filter(({ block }) => block.quality === 'good')
  assert.deepEqual(new Set(good.map((sample) => sample.target_id)), new Set([1]))
  assert.equal(p.samples.filter((sample) => sample.target_id === 2).length, 1, 'that it cannot be read is kept once')
  assert.equal(p.poller.status().targets, 2)
  assert.throws(() => p.poller.checkTarget(p.targets[1]!), { code: 'ADDRESS_INVALID' })
  await p.close()
})
