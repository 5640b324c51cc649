import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { startVirtualPlant, type VirtualPlant } from '../../../core/kernel/virtual-plant.js'
import type { VirtualDevice } from '../../../core/modbus/server/virtual-device.js'
import { createTransport } from '../../../core/modbus/transport/open.js'
import type { ModbusCall } from '../../../core/modbus/transport/transport.js'
import { type Logger, silentLogger } from '../../../core/observability/logger.js'
import { type Clock, systemClock } from '../../../core/support/clock.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'

const PLC = 'units:\n  1:\n    holding: { 0: 10, 1: 11 }\n    coils: { 0: true }\n'

function plantOf(t: TestContext, files: Readonly<Record<string, string>>) {
  const root = mkdtempSync(join(tmpdir(), 'routemq-virtual-'))
  t.after(() => rmSync(root, { recursive: true, force: true }))
  const folder = join(root, 'virtual')
  mkdirSync(folder)
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const published: { topic: string; payload: Record<string, unknown>; retain: unknown }[] = []
  const errors: string[] = []
  const warnings: Record<string, unknown>[] = []
  const logger: Logger = {
    ...silentLogger,
    child: () => logger,
    error: (_, sentence) => errors.push(sentence ?? ''),
    warn: (facts) => void warnings.push(facts as Record<string, unknown>),
  }
  const open: VirtualPlant[] = []
  // A test that fails before it closes what it opened must not keep the process alive.
  t.after(() => Promise.all(open.map((plant) => plant.close())))
  const start = async (more: { dataDir?: string; publish?: () => Promise<void>; clock?: Clock } = {}) => {
    const plant = await startVirtualPlant({
      folder,
      dataDir: join(root, 'data'),
      topicPrefix: 'modbus/data',
      publish: async (topic, payload, { retain }) => {
        const { timestamp, ...rest } = JSON.parse(payload) as Record<string, unknown>
        assert.ok(Math.abs(Number(timestamp) - Date.now() / 1_000) < 60)
        published.push({ topic, payload: rest, retain })
      },
      logger,
      clock: systemClock,
      ...more,
    })
    open.push(plant)
    return plant
  }
  return { root, start, published, errors, warnings }
}

async function masterOf(device: VirtualDevice, ...calls: ModbusCall[]) {
  const master = createTransport(device.endpoint)
  await master.connect({ timeoutMs: 5_000 })
  for (const call of calls) await master.call(1, call, { timeoutMs: 5_000 })
  await master.close()
}

test('what a master writes is published once, with what is in the device, and not retained', async (t) => {
  const { start, published } = plantOf(t, {
    'plc.yaml': PLC,
    'meters.json': '{"devices":[{"name":"m7","units":{"1":{}}},{"units":{"1":{}}}]}',
  })
  const plant = await start()
  assert.deepEqual([...plant.devices.keys()], ['m7', 'meters-2', 'plc'])
  await masterOf(
    plant.devices.get('plc')!,
    { fc: 16, address: 0, values: [5, 6] },
    { fc: 5, address: 3, value: true },
    { fc: 22, address: 1, and: 0xfff0, or: 1 },
    { fc: 3, address: 0, count: 1 },
  )
  await masterOf(plant.devices.get('m7')!, { fc: 6, address: 9, value: 1 })
  plant.devices.get('plc')!.set(1, 'holding', 0, 99)
  const base = { device_id: 'plc', unit: 1 }
  assert.deepEqual(published, [
    {
      topic: 'modbus/data/plc/written/1/holding/0',
      payload: { ...base, register_type: 'holding', address: 0, values: [5, 6] },
      retain: undefined,
    },
    {
      topic: 'modbus/data/plc/written/1/coil/3',
      payload: { ...base, register_type: 'coil', address: 3, values: [true] },
      retain: undefined,
    },
    {
      topic: 'modbus/data/plc/written/1/holding/1',
      payload: { ...base, register_type: 'holding', address: 1, values: [1] },
      retain: undefined,
    },
    {
      topic: 'modbus/data/m7/written/1/holding/9',
      payload: { device_id: 'm7', unit: 1, register_type: 'holding', address: 9, values: [1] },
      retain: undefined,
    },
  ])
  await plant.close()
})

test('a broker that does not take it costs the master nothing, and the log a line now and then', async (t) => {
  const { start, warnings } = plantOf(t, { 'plc.yaml': PLC })
  const clock = new FakeClock()
  const plant = await start({ publish: () => Promise.reject(new Error('away')), clock })
  const writes = Array.from({ length: 20 }, (_, value): ModbusCall => ({ fc: 6, address: 1, value }))
  await masterOf(plant.devices.get('plc')!, ...writes)
  assert.equal(plant.devices.get('plc')!.get(1, 'holding', 1), 19)
  await clock.advance(10_000)
  await masterOf(plant.devices.get('plc')!, { fc: 6, address: 1, value: 8 })
  assert.deepEqual(
    warnings.map(({ lost, topic }) => [lost, topic]),
    [
      [1, 'modbus/data/plc/written/1/holding/1'],
      [20, 'modbus/data/plc/written/1/holding/1'],
    ],
  )
  await plant.close()
})

test('what was written is there after a restart, zeros too, and of each device its own', async (t) => {
  const { start, errors } = plantOf(t, { 'a.yaml': PLC, 'b.yaml': PLC, 'c.yaml': `persist: false\n${PLC}` })
  const first = await start()
  for (const [name, value] of [
    ['a', 0],
    ['b', 42],
    ['c', 43],
  ] as const) {
    await masterOf(first.devices.get(name)!, { fc: 6, address: 0, value }, { fc: 5, address: 0, value: false })
  }
  await first.close()
  const second = await start()
  const held = [...second.devices.values()].map((device) => [
    device.get(1, 'holding', 0),
    device.get(1, 'holding', 1),
    device.get(1, 'coil', 0),
  ])
  assert.deepEqual(held, [
    [0, 11, 0],
    [42, 11, 0],
    [10, 11, 1],
  ])
  assert.deepEqual(errors, [])
  await second.close()
})

test('where SQLite fails the registers live in memory, which is said once for each device', async (t) => {
  const { root, start, errors } = plantOf(t, { 'plc.yaml': PLC })
  writeFileSync(join(root, 'blocked'), 'a file where a folder is wanted')
  const plant = await start({ dataDir: join(root, 'blocked') })
  const device = plant.devices.get('plc')!
  await masterOf(device, { fc: 6, address: 0, value: 7 })
  assert.equal(device.get(1, 'holding', 0), 7)
  await plant.close()
  assert.deepEqual(errors, [
    'stored registers could not be read; starting with the initial values',
    'registers could not be stored; they live in memory',
  ])
})

test('a file with mistakes, a name that is no topic level and a port that is taken end the start, named', async (t) => {
  const codeOf = (files: Readonly<Record<string, string>>) =>
    plantOf(t, files)
      .start()
      .then(
        () => 'started',
        ({ code, message }: { code: string; message: string }) => `${code} ${message}`,
      )
  assert.match(await codeOf({ 'plc.yaml': 'units: { 1: { holdng: [1] } }\n' }), /^CONFIG_INVALID .*plc\.yaml.*holdng/)
  assert.match(await codeOf({ 'a+b.yaml': PLC }), /^CONFIG_INVALID .*"a\+b" is no topic level/)
  assert.match(await codeOf({ 'a.yaml': PLC, 'b.yaml': `name: a\n${PLC}` }), /^CONFIG_INVALID .*two devices named a/)
  const { start } = plantOf(t, { 'plc.yaml': PLC })
  const taken = await start()
  const { port } = taken.devices.get('plc')!
  assert.match(
    await codeOf({ 'one.yaml': PLC, 'two.yaml': `port: ${port}\n${PLC}` }),
    /^PORT_IN_USE port .* wanted by the virtual device two, is taken/,
  )
  await taken.close()
})
