import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadConfig } from '../../../core/config/load-config.js'
import { FieldService } from '../../../core/modbus/field-service.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Poller } from '../../../core/poller/poller.js'
import { folder } from '../support/folder.js'
import { ACTOR, memoryTables, plantOf } from './plant-kit.js'

test('a bus that its polling overloads is told once, also where its line was made slower', async (t) => {
  const { config } = loadConfig({ root: folder(t), env: {}, keepInstance: false })
  // Neither is started: nothing is opened.
  const field = new FieldService({ config: config.modbus, cacheTtlMs: 0, logger: silentLogger })
  const poller = new Poller({
    field: field.polling,
    publisher: { publish: async () => {}, publishValues: () => {} },
    config: config.poller,
    topicPrefix: 'x',
    logger: silentLogger,
  })
  const said: string[] = []
  const logger = { ...silentLogger, warn: (_facts: object, sentence: string) => void said.push(sentence) }
  const tables = memoryTables()
  const plant = plantOf({
    tables: () => tables,
    apply: (devices, targets) => {
      field.apply(devices)
      poller.apply(targets, devices)
    },
    loads: () => poller.status().buses,
    logger: logger as typeof silentLogger,
  })
  t.after(() => plant.stop())
  await plant.start()
  const line = (device_id: string, baud_rate: number) => ({ device_id, changes: { baud_rate } })
  const change = (...update: ReturnType<typeof line>[]) =>
    plant.change({ devices: { create: [], update }, targets: { create: [], update: [] } }, ACTOR)
  for (const device_id of ['a', 'b']) {
    await plant.devices.create({ device_id, path: `/dev/tty-${device_id}`, baud_rate: 115_200 }, ACTOR)
    await plant.targets.create({ device_id, address: 0, count: 100, interval_ms: 1_000 }, ACTOR)
  }
  assert.deepEqual(said, [])
  const slower = await change(line('a', 1_200))
  assert.equal(slower.warnings.length, 1)
  assert.match(slower.warnings[0]!, /^Polling takes 1\d\d % of the time of bus \/dev\/tty-a/)
  assert.deepEqual((await change(line('b', 57_600))).warnings, [], 'of another bus')
  await plant.devices.update('a', { timeout: 5 }, ACTOR)
  assert.deepEqual(said, slower.warnings)
  await change(line('a', 115_200))
  await plant.devices.update('a', { baud_rate: 1_200 }, ACTOR)
  assert.equal(said.length, 2, 'it was in order between')
})

test('a target of a device that is not active may be made and changed: it reads nothing', async (t) => {
  const tables = memoryTables()
  const asked: string[] = []
  const plant = plantOf({ tables: () => tables, checkLoad: ({ device_id }) => void asked.push(device_id) })
  t.after(() => plant.stop())
  await plant.start()
  await plant.devices.create({ device_id: 'off', host: 'h', port: 1, is_active: false }, ACTOR)
  await plant.devices.create({ device_id: 'on', host: 'h', port: 1 }, ACTOR)
  for (const device_id of ['off', 'on']) {
    const { id } = await plant.targets.create({ device_id, address: 0 }, ACTOR)
    assert.equal((await plant.targets.update(id, { interval_ms: 500 }, ACTOR)).interval_ms, 500)
  }
  assert.deepEqual(asked, ['on', 'on'])
})
