import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { fileStore } from '../../../../core/modbus/server/register-store.js'
import { startVirtualDevice } from '../../../../core/modbus/server/virtual-device.js'
import { createTransport } from '../../../../core/modbus/transport/open.js'
import { type Logger, silentLogger } from '../../../../core/observability/logger.js'

const full = { timeoutMs: 1_000 }
const units = { 1: { holding: { 0: 10, 1: 11 }, coils: { 0: 1 } }, 2: { holding: { 0: 20 } } }
let folder: string
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'routemq-registers-'))
})
after(() => rm(folder, { recursive: true }))

function recorder(): { logger: Logger; errors: string[] } {
  const errors: string[] = []
  return { errors, logger: { ...silentLogger, error: (_, sentence) => errors.push(sentence ?? '') } }
}

test('what masters and the application wrote is there after a restart, zeros too', async () => {
  const store = fileStore(join(folder, 'new', 'registers.json'))
  const first = await startVirtualDevice({ units, store })
  const transport = createTransport(first.endpoint)
  await transport.connect(full)
  await transport.call(1, { fc: 6, address: 0, value: 0 }, full)
  await transport.call(1, { fc: 15, address: 0, values: [false, true] }, full)
  first.set(2, 'holding', 9, 99)
  await transport.close()
  await first.close()

  const second = await startVirtualDevice({ units, store })
  assert.deepEqual(
    [0, 1].map((address) => second.get(1, 'holding', address)),
    [0, 11],
  )
  assert.deepEqual(
    [0, 1].map((address) => second.get(1, 'coil', address)),
    [0, 1],
  )
  assert.deepEqual([second.get(2, 'holding', 0), second.get(2, 'holding', 9)], [20, 99])
  await second.close()
})

test('a value that moved until a master wrote it stands still after a restart, others go on moving', async () => {
  const ramp = { kind: 'ramp', from: 100, to: 200, periodMs: 1_000 } as const
  const moving = { 1: { moving: { holding: { 0: ramp, 8: { ...ramp, as: { type: 'uint32' as const } } } } } }
  const store = fileStore(join(folder, 'moving.json'))
  const first = await startVirtualDevice({ units: moving, store })
  first.set(1, 'holding', 0, 7)
  await first.close()
  const second = await startVirtualDevice({ units: moving, store })
  assert.equal(second.get(1, 'holding', 0), 7)
  assert.ok(second.get(1, 'holding', 9) >= 100)
  second.set(1, 'holding', 0, 0)
  await second.close()
  const third = await startVirtualDevice({ units: moving, store })
  assert.equal(third.get(1, 'holding', 0), 0)
  await third.close()
})

test('changes are stored while the device runs, many of them at once', async () => {
  const path = join(folder, 'running.json')
  let saves = 0
  let saved = () => {}
  const isSaved = new Promise<void>((resolve) => {
    saved = resolve
  })
  const file = fileStore(path)
  const device = await startVirtualDevice({
    units,
    store: {
      load: () => file.load(),
      save: async (registers) => {
        saves += 1
        await file.save(registers)
        saved()
      },
    },
  })
  for (let value = 0; value < 100; value += 1) device.set(1, 'holding', 5, value)
  await isSaved
  assert.equal(JSON.parse(await readFile(path, 'utf8'))['1'].holding['5'], 99)
  assert.equal(saves, 1)
  await device.close()
  assert.equal(saves, 1)
})

test('a store that fails is reported once, and the registers live in memory', async () => {
  const { logger, errors } = recorder()
  const store = { load: () => Promise.reject(new Error('no')), save: () => Promise.reject(new Error('full')) }
  const device = await startVirtualDevice({ units, store, logger })
  for (let round = 0; round < 3; round += 1) {
    device.set(1, 'holding', 0, 100 + round)
    await wait(250)
  }
  assert.equal(device.get(1, 'holding', 0), 102)
  await device.close()
  assert.equal(errors.length, 2)
})

test('a damaged file is reported and the initial values are used', async () => {
  const path = join(folder, 'damaged.json')
  await writeFile(path, '{"1": {"hold')
  const { logger, errors } = recorder()
  const device = await startVirtualDevice({ units, store: fileStore(path), logger })
  assert.equal(device.get(1, 'holding', 1), 11)
  assert.equal(errors.length, 1)
  await device.close()
})
