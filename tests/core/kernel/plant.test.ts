import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PlantTables } from '../../../core/kernel/plant-tables.js'
import type { DeviceRecord } from '../../../core/modbus/device-record.js'
import { silentLogger } from '../../../core/observability/logger.js'
import type { RouteMQError } from '../../../core/support/errors.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { ACTOR, memoryTables, plantOf } from './plant-kit.js'

test('changes of one device at the same time lose no field of each other', async (t) => {
  const tables = memoryTables()
  const plant = plantOf({ tables: () => tables })
  t.after(() => plant.stop())
  await plant.start()
  await plant.devices.create({ device_id: 'a', host: 'h', port: 1 }, ACTOR)
  await Promise.all([
    plant.devices.update('a', { timeout: 5 }, ACTOR),
    plant.devices.update('a', { write_enabled: false }, ACTOR),
    plant.devices.update('a', { max_retries: 1 }, ACTOR),
  ])
  const { timeout, write_enabled, max_retries } = await plant.devices.get('a')
  assert.deepEqual({ timeout, write_enabled, max_retries }, { timeout: 5, write_enabled: false, max_retries: 1 })
  assert.deepEqual(tables.patches, [{ timeout: 5 }, { write_enabled: false }, { max_retries: 1 }])
})

test('a change starts from what others stored since the last look, and stores what differs only', async (t) => {
  const tables = memoryTables()
  const clock = new FakeClock()
  const plant = plantOf({ tables: () => tables, clock })
  t.after(() => plant.stop())
  await plant.start()
  await plant.devices.create({ device_id: 'a', host: 'h', port: 1 }, ACTOR)
  tables.edit('a', { write_enabled: false })
  const changed = await plant.devices.update('a', { timeout: 5 }, ACTOR)
  assert.deepEqual([changed.write_enabled, changed.timeout], [false, 5])
  const points = [{ name: 'p', address: 1 }]
  tables.edit('a', { points })
  const added = await plant.devices.update(
    'a',
    (device) => ({ points: [...device.points, { name: 'q', address: 2 }] }),
    ACTOR,
  )
  assert.deepEqual(
    added.points.map(({ name }) => name),
    ['p', 'q'],
  )
  await plant.devices.update('a', { timeout: 5 }, ACTOR)
  assert.deepEqual(tables.patches, [{ timeout: 5 }, { points: added.points }])
})

test('fields of a polling target that are changed at the same time are all kept', async (t) => {
  const tables = memoryTables()
  const plant = plantOf({ tables: () => tables })
  t.after(() => plant.stop())
  await plant.start()
  await plant.devices.create({ device_id: 'a', host: 'h', port: 1 }, ACTOR)
  const { id } = await plant.targets.create({ device_id: 'a', address: 0 }, ACTOR)
  await Promise.all([
    plant.targets.update(id, { interval_ms: 500 }, ACTOR),
    plant.targets.update(id, { is_active: false }, ACTOR),
  ])
  const { interval_ms, is_active } = await plant.targets.get(id)
  assert.deepEqual({ interval_ms, is_active }, { interval_ms: 500, is_active: false })
  await assert.rejects(plant.targets.update(id, { device_id: 'nobody' } as object, ACTOR), { code: 'DEVICE_UNKNOWN' })
})

test('a list that was read before a change does not come into force after it', async (t) => {
  const kept = memoryTables()
  const held: (() => void)[] = []
  let isHeld = false
  const tables: PlantTables = {
    ...kept,
    devices: {
      ...kept.devices,
      list: async () => {
        const list = await kept.devices.list()
        if (isHeld) await new Promise<void>((resolve) => held.push(resolve))
        return list
      },
    },
  }
  const clock = new FakeClock()
  const inForce: string[][] = []
  const plant = plantOf({
    tables: () => tables,
    clock,
    apply: (devices) => void inForce.push(devices.map(({ device_id }) => device_id)),
  })
  t.after(() => plant.stop())
  await plant.start()
  await plant.devices.create({ device_id: 'a', host: 'h', port: 1 }, ACTOR)
  kept.edit('a', { timeout: 5 })
  isHeld = true
  await clock.advance(2_000)
  assert.equal(held.length, 1)
  isHeld = false
  const created = plant.devices.create({ device_id: 'b', host: 'h', port: 2 }, ACTOR)
  // Gives a change that does not wait for the read all the time it needs.
  await clock.advance(0)
  held[0]!()
  await created
  await clock.advance(0)
  assert.deepEqual(inForce.at(-1), ['a', 'b'])
  const first = inForce.findIndex((ids) => ids.includes('b'))
  assert.ok(inForce.slice(first).every((ids) => ids.includes('b')))
})

test('a change is refused where what is stored cannot be read before it', async (t) => {
  const kept = memoryTables()
  let tables: PlantTables = kept
  const plant = plantOf({ tables: () => tables })
  t.after(() => plant.stop())
  await plant.start()
  await plant.devices.create({ device_id: 'a', host: 'h', port: 1 }, ACTOR)
  tables = { ...kept, revision: { current: () => Promise.reject(new Error('the connection was lost')) } }
  await assert.rejects(plant.devices.update('a', { timeout: 5 }, ACTOR), { code: 'DATABASE_UNAVAILABLE' })
  assert.deepEqual(kept.patches, [])
})

test('a target that watches a point it does not read is refused, and the field is named', async (t) => {
  const tables = memoryTables()
  const plant = plantOf({ tables: () => tables })
  t.after(() => plant.stop())
  await plant.start()
  const points = [
    { name: 'inside', address: 1 },
    { name: 'half', address: 1, type: 'uint32' as const },
    { name: 'outside', address: 9 },
    { name: 'other', address: 0, register_type: 'input' as const },
    { name: 'written', address: 0, access: 'w' as const },
  ]
  await plant.devices.create({ device_id: 'a', host: 'h', port: 1, points }, ACTOR)
  const target = { device_id: 'a', address: 0, count: 2, publish: 'trigger' as const }
  const { id } = await plant.targets.create({ ...target, options: { trigger: { point: 'inside' } } }, ACTOR)
  const wrong = ['half', 'outside', 'other', 'written', 'nothing']
  const options = { trigger: { point: 'nothing' }, events: [{ point: 'inside' }, ...wrong.map((point) => ({ point }))] }
  const refusal = (error: RouteMQError) => {
    assert.equal(error.code, 'TARGET_INVALID')
    assert.deepEqual(
      (error.details!.fields as { field: string }[]).map(({ field }) => field),
      ['options.trigger', ...wrong.map((_, index) => `options.events.${index + 1}`)],
    )
    return true
  }
  await assert.rejects(plant.targets.create({ ...target, options }, ACTOR), refusal)
  await assert.rejects(plant.targets.update(id, { options }, ACTOR), refusal)
  // One that is not active watches nothing; it cannot come into force like this.
  const resting = await plant.targets.create({ ...target, options, is_active: false }, ACTOR)
  await assert.rejects(plant.targets.activate(resting.id, ACTOR), refusal)
  assert.deepEqual(
    (await plant.targets.list()).map(({ id, is_active }) => [id, is_active]),
    [
      [id, true],
      [resting.id, false],
    ],
  )
})

test('a point that goes while a target watches it is said once, and again after it was there', async (t) => {
  const tables = memoryTables()
  const said: string[] = []
  const logger = { ...silentLogger, warn: (_facts: object, sentence: string) => void said.push(sentence) }
  const plant = plantOf({ tables: () => tables, logger: logger as typeof silentLogger })
  t.after(() => plant.stop())
  await plant.start()
  const points = [{ name: 'p', address: 0 }]
  await plant.devices.create({ device_id: 'a', host: 'h', port: 1, points }, ACTOR)
  const options = { trigger: { point: 'p' } }
  await plant.targets.create({ device_id: 'a', address: 0, publish: 'trigger', options }, ACTOR)
  assert.deepEqual(said, [])
  await plant.devices.update('a', { points: [] }, ACTOR)
  await plant.devices.update('a', { timeout: 5 }, ACTOR)
  const sentence =
    'polling target 1 watches what it does not read, so that never fires: options.trigger: device a has no point "p"'
  assert.deepEqual(said, [sentence])
  await plant.devices.update('a', { points }, ACTOR)
  await plant.devices.update('a', { points: [] }, ACTOR)
  assert.deepEqual(said, [sentence, sentence])
})

test('a virtual device that is sent back as it is shown keeps what is stored of it', async (t) => {
  const tables = memoryTables()
  const relocate = (device: DeviceRecord) =>
    device.options.virtual === true ? { ...device, port: 34_567, is_active: false } : device
  const plant = plantOf({ tables: () => tables, relocate })
  t.after(() => plant.stop())
  await plant.start()
  await plant.devices.create({ device_id: 'v', host: 'h', port: 5_020, options: { virtual: true } }, ACTOR)
  const { created_at: _, updated_at: __, ...shown } = await plant.devices.get('v')
  assert.deepEqual([shown.port, shown.is_active], [34_567, false])
  const update = [{ device_id: 'v', changes: { ...shown } }]
  const none = await plant.change({ devices: { create: [], update }, targets: { create: [], update: [] } }, ACTOR)
  assert.equal(none.devices.unchanged, 1)
  await plant.devices.update('v', { ...shown, timeout: 5 }, ACTOR)
  const [kept] = await tables.devices.list()
  assert.deepEqual([kept?.port, kept?.is_active, kept?.timeout], [5_020, true, 5])
  await plant.devices.update('v', { port: 5_021 }, ACTOR)
  await plant.devices.remove('v', ACTOR)
  const [changed] = await tables.devices.list()
  assert.deepEqual([changed?.port, changed?.is_active], [5_021, false])
})
