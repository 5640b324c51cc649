import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadConfig } from '../../../core/config/load-config.js'
import type { AuditInput } from '../../../core/database/repositories/log-repositories.js'
import type { PlantChanges, RefusedChange } from '../../../core/http/services/plant.js'
import type { PlantOptions } from '../../../core/kernel/plant.js'
import { trialLoad } from '../../../core/kernel/trial-load.js'
import type { RouteMQError } from '../../../core/support/errors.js'
import { onEachDatabase, openStore, ownDatabase } from '../database/databases.js'
import { folder } from '../support/folder.js'
import { ACTOR, type MemoryTables, memoryTables, plantOf } from './plant-kit.js'

const NONE: PlantChanges = { devices: { create: [], update: [] }, targets: { create: [], update: [] } }

async function plantWith(t: { after(end: () => void): void }, options: Partial<PlantOptions> = {}) {
  const tables = memoryTables()
  const audit: AuditInput[] = []
  const plant = plantOf({ tables: () => tables, audit: async (entry) => void audit.push(entry), ...options })
  t.after(() => plant.stop())
  await plant.start()
  return { tables, audit, plant }
}

/** Two devices of one serial line. */
async function lineOfTwo(t: { after(end: () => void): void }) {
  const parts = await plantWith(t)
  for (const slave_id of [1, 2]) {
    await parts.plant.devices.create(
      { device_id: `d${slave_id}`, path: '/dev/ttyS0', slave_id, baud_rate: 9600 },
      ACTOR,
    )
  }
  parts.audit.length = 0
  return parts
}

const baudRates = async ({ devices }: MemoryTables) =>
  (await devices.list()).map(({ device_id, baud_rate }) => [device_id, baud_rate])

test('the line settings of a bus change for all of its devices together, each of them audited', async (t) => {
  const { plant, tables, audit } = await lineOfTwo(t)
  const update = ['d1', 'd2'].map((device_id) => ({ device_id, changes: { baud_rate: 19_200 } }))
  const counts = await plant.change({ ...NONE, devices: { create: [], update } }, ACTOR)
  assert.deepEqual(counts.devices, { created: 0, updated: 2, unchanged: 0 })
  assert.deepEqual(await baudRates(tables), [
    ['d1', 19_200],
    ['d2', 19_200],
  ])
  assert.deepEqual(
    audit.map(({ action, device_id, before, after }) => ({ action, device_id, before, after })),
    ['d1', 'd2'].map((device_id) => ({
      action: 'device.update',
      device_id,
      before: { baud_rate: 9_600 },
      after: { baud_rate: 19_200 },
    })),
  )
})

test('one device alone cannot change its line, and is told how; with wholeBus the line changes', async (t) => {
  const { plant, tables } = await lineOfTwo(t)
  await assert.rejects(
    plant.devices.update('d1', { baud_rate: 19_200, parity: 'even' }, ACTOR),
    (error: RouteMQError) => {
      assert.equal(error.code, 'BUS_CONFLICT')
      assert.match(
        error.message,
        /d1 wants .*ttyS0 with baud_rate 19200, parity even; it is baud_rate 9600, parity none for/,
      )
      assert.match(error.facts.advice, /whole_bus=true/)
      return true
    },
  )
  await plant.devices.remove('d2', ACTOR)
  const changed = await plant.devices.update('d1', { baud_rate: 19_200, timeout: 3 }, ACTOR, { wholeBus: true })
  assert.deepEqual([changed.baud_rate, changed.timeout], [19_200, 3])
  const [, other] = await tables.devices.list()
  // One that is switched off would be in conflict when it comes back.
  assert.deepEqual([other?.baud_rate, other?.timeout, other?.is_active], [19_200, 10, false])
  await assert.rejects(plant.devices.update('d3', {}, ACTOR, { wholeBus: true }), { code: 'DEVICE_UNKNOWN' })
})

test('a bus that moves to another address takes its devices along, with their own options', async (t) => {
  const { plant, tables } = await plantWith(t)
  const tls = { cert: 'C', key: 'K' }
  for (const slave_id of [1, 2]) {
    const options = { delay_ms: slave_id, tls }
    await plant.devices.create(
      { device_id: `d${slave_id}`, host: 'h', port: 802, transport: 'tls', slave_id, options },
      ACTOR,
    )
  }
  const moved = { host: 'other', options: { delay_ms: 1, tls: { cert: 'NEW', key: 'KEY' } } }
  await plant.devices.update('d1', moved, ACTOR, { wholeBus: true })
  const [, other] = await tables.devices.list()
  assert.deepEqual([other?.host, other?.options], ['other', { delay_ms: 2, tls: moved.options.tls }])
})

test('nothing is changed where one change is refused, and each that is refused is named', async (t) => {
  const { plant, tables, audit } = await lineOfTwo(t)
  const before = [await tables.devices.list(), await tables.targets.list()]
  const changes: PlantChanges = {
    devices: {
      create: [
        { device_id: 'fine', host: 'h', port: 1 },
        { device_id: 'd2', host: 'h', port: 1 },
      ],
      update: [
        { device_id: 'd1', changes: { baud_rate: 19_200 } },
        { device_id: 'nobody', changes: {} },
      ],
    },
    targets: {
      create: [
        { device_id: 'fine', address: 0 },
        { device_id: 'gone', address: 0 },
      ],
      update: [{ id: 77, changes: {} }],
    },
  }
  await assert.rejects(plant.change(changes, ACTOR), (error: RouteMQError) => {
    const refused = error.details?.refused as readonly RefusedChange[]
    assert.deepEqual(
      refused.map(({ change, code }) => [change, code]),
      [
        ['devices.create.1', 'DEVICE_EXISTS'],
        ['devices.update.1', 'DEVICE_UNKNOWN'],
        ['devices.update.0', 'BUS_CONFLICT'],
        ['targets.create.1', 'DEVICE_UNKNOWN'],
        ['targets.update.0', 'TARGET_UNKNOWN'],
      ],
    )
    assert.equal(error.code, 'DEVICE_EXISTS')
    assert.match(error.message, /and 4 more changes are refused\); nothing was changed$/)
    return true
  })
  assert.deepEqual([await tables.devices.list(), await tables.targets.list()], before)
  assert.deepEqual(audit, [])
})

test('changes after which all is as it was are counted, not stored and not audited; a dry run stores nothing either', async (t) => {
  const { plant, tables, audit } = await lineOfTwo(t)
  const [first] = await tables.devices.list()
  const same = { device_id: 'd1', changes: { baud_rate: 9_600, options: {}, points: [] } }
  const counts = await plant.change({ ...NONE, devices: { create: [], update: [same] } }, ACTOR)
  assert.deepEqual(counts.devices, { created: 0, updated: 0, unchanged: 1 })
  const create = [{ device_id: 'd1', address: 0 }]
  const tried = await plant.change({ ...NONE, targets: { create, update: [] } }, ACTOR, { dryRun: true })
  assert.equal(tried.targets.created, 1)
  assert.equal((await tables.devices.list())[0], first)
  assert.deepEqual([tables.patches, await tables.targets.list(), audit], [[], [], []])
})

test('the load of the buses is that with all changes made; what does not fit is named, unless it is forced', async (t) => {
  const root = folder(t)
  const { config } = loadConfig({ root, env: {}, keepInstance: false })
  const relocate: PlantOptions['relocate'] = (device) =>
    device.options.virtual === true ? { ...device, is_active: false } : device
  const { plant, tables } = await plantWith(t, { relocate, checkLoads: trialLoad({ config, relocate }) })
  const create = [
    { device_id: 'slow', path: '/dev/ttyS0', baud_rate: 1_200 },
    { device_id: 'demo', host: '127.0.0.1', port: 5020, options: { virtual: true } },
  ]
  const targets = [
    { device_id: 'demo', address: 0 },
    ...[0, 1, 2, 3, 4].map((at) => ({ device_id: 'slow', address: at * 1_000, count: 10, interval_ms: 1_000 })),
  ]
  const changes: PlantChanges = { devices: { create, update: [] }, targets: { create: targets, update: [] } }
  for (const dryRun of [true, false]) {
    await assert.rejects(plant.change(changes, ACTOR, { dryRun }), (error: RouteMQError) => {
      const refused = error.details?.refused as readonly RefusedChange[]
      assert.equal(error.code, 'BUS_LOAD_REFUSED')
      assert.equal(refused.length, 1)
      assert.match(refused[0]!.change, /^targets\.create\.[2-5]$/)
      return true
    })
    assert.deepEqual(await tables.devices.list(), [])
  }
  const fast = { ...changes, devices: { create: [{ ...create[0]!, baud_rate: 115_200 }, create[1]!], update: [] } }
  assert.equal((await plant.change(fast, ACTOR, { dryRun: true })).targets.created, 6)
  assert.equal((await plant.change(changes, ACTOR, { force: true })).targets.created, 6)
})

test('the mark of a hidden key is taken for a key of no new device', async (t) => {
  const { plant } = await plantWith(t)
  const device = {
    device_id: 't',
    host: 'h',
    port: 802,
    transport: 'tls',
    options: { tls: { cert: 'C', key: '[redacted]' } },
  } as const
  const refusal = { code: 'DEVICE_INVALID', message: /options\.tls\.key: is \[redacted\], which stands for/ }
  await assert.rejects(plant.devices.create(device, ACTOR), refusal)
  await assert.rejects(plant.change({ ...NONE, devices: { create: [device], update: [] } }, ACTOR), refusal)
})

onEachDatabase((kind) => {
  test(`${kind}: changes that break off half way leave nothing behind`, async (t) => {
    const own = await ownDatabase(kind)
    t.after(() => own.drop())
    const store = await openStore(own.config)
    const plant = plantOf({
      tables: () => ({
        devices: store.devices,
        targets: store.targets,
        revision: store.revision,
        transaction: (work) =>
          store.transaction(async (within) => {
            await work(within)
            throw new Error('the database goes away')
          }),
      }),
    })
    try {
      await plant.start()
      const create = [{ device_id: 'a', host: 'h', port: 1 }]
      const targets = { create: [{ device_id: 'a', address: 0 }], update: [] }
      await assert.rejects(plant.change({ devices: { create, update: [] }, targets }, ACTOR), /goes away/)
      assert.deepEqual([await store.devices.list(), await store.targets.list()], [[], []])
    } finally {
      plant.stop()
      await store.close()
    }
  })
})
