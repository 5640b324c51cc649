import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AuditInput } from '../../../core/database/repositories/log-repositories.js'
import type { PlantTables } from '../../../core/kernel/plant-tables.js'
import { ACTOR, memoryTables, plantOf } from './plant-kit.js'

test('the private key of a device is in no audit entry, and that it changed is', async (t) => {
  const tables = memoryTables()
  const entries: AuditInput[] = []
  const plant = plantOf({ tables: () => tables, audit: async (entry) => void entries.push(entry) })
  t.after(() => plant.stop())
  await plant.start()
  const tls = { ca: 'ca', cert: 'cert', key: 'first-secret' }
  await plant.devices.create({ device_id: 't', host: 'h', port: 1, transport: 'tls', options: { tls } }, ACTOR)
  await plant.devices.update('t', { options: { tls: { ...tls, key: 'second-secret' } } }, ACTOR)
  assert.equal((await plant.devices.get('t')).options.tls !== undefined, true)
  assert.deepEqual(
    entries.map(({ action }) => action),
    ['device.create', 'device.update'],
  )
  assert.ok(!JSON.stringify(entries).includes('secret'))
  const shown = { options: { tls: { ...tls, key: '[redacted]' } } }
  assert.deepEqual([entries[1]!.before, entries[1]!.after], [shown, shown])
})

test('of a long list of points the audit has those that were changed, and a new device whole', async (t) => {
  const tables = memoryTables()
  const entries: AuditInput[] = []
  const plant = plantOf({ tables: () => tables, audit: async (entry) => void entries.push(entry) })
  t.after(() => plant.stop())
  await plant.start()
  const points = Array.from({ length: 150 }, (_, n) => ({ name: `p${n}`, address: 500 + n, min: 0, max: 100 }))
  await plant.devices.create({ device_id: 'big', host: 'h', port: 1, points }, ACTOR)
  const changed = points.map((point) => (point.name === 'p140' ? { ...point, max: 99_999 } : point))
  await plant.devices.update('big', { points: changed }, ACTOR)
  await plant.devices.update('big', { points: [...changed.slice(1), { name: 'new', address: 900 }] }, ACTOR)
  await plant.devices.update('big', { points: changed.slice(140, 142) }, ACTOR)
  await plant.devices.update('big', { points: changed.slice(140, 142).reverse() }, ACTOR)
  const facts = entries.map(({ before, after }) =>
    [before, after].map((side) => (side as { points: unknown[] } | undefined)?.points),
  )
  const found = (side: unknown[] | undefined) =>
    side?.map((point) => (typeof point === 'string' ? point : [(point as Point).name, (point as Point).max ?? null]))
  assert.equal(found(facts[0]![1])?.length, 150)
  assert.deepEqual(facts[1]!.map(found), [[['p140', 100]], [['p140', 99_999]]])
  assert.deepEqual(facts[2]!.map(found), [[['p0', 100]], [['new', null]]])
  assert.deepEqual([found(facts[3]![0])?.length, found(facts[3]![1])], [148, []])
  assert.deepEqual(facts[4]!.map(found), [
    ['p140', 'p141'],
    ['p141', 'p140'],
  ])
})

interface Point {
  readonly name: string
  readonly max?: number
}

test('a reload that cannot read the database says so, and what was known stays in force', async (t) => {
  const kept = memoryTables()
  let tables: PlantTables | undefined = kept
  const plant = plantOf({ tables: () => tables })
  t.after(() => plant.stop())
  await plant.start()
  await plant.devices.create({ device_id: 'a', host: 'h', port: 1 }, ACTOR)
  assert.deepEqual(await plant.devices.reload(ACTOR), ['a'])
  tables = { ...kept, revision: { current: () => Promise.reject(new Error('the connection was lost')) } }
  await assert.rejects(Promise.resolve(plant.devices.reload(ACTOR)), { code: 'DATABASE_UNAVAILABLE' })
  tables = undefined
  await assert.rejects(Promise.resolve(plant.devices.reload(ACTOR)), { code: 'DATABASE_UNAVAILABLE' })
  assert.deepEqual(
    (await plant.devices.list()).map(({ device_id }) => device_id),
    ['a'],
  )
})
