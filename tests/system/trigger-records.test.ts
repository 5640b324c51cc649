import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import pg from 'pg'
import { startVirtualDevice, type VirtualDevice } from '../../core/modbus/server/virtual-device.js'
import { startMosquitto } from '../core/mqtt/kit.js'
import { until } from '../core/support/until.js'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { freePort, missingServers, POSTGRES, SERVICES_REQUIRED } from '../e2e/support/services.js'

/** Register 10 is the operation that the trigger watches, register 11 its result. */
async function machine(t: TestContext): Promise<{ device: VirtualDevice; files: Record<string, string> }> {
  const device = await startVirtualDevice({ units: { 1: { holding: { 10: 100, 11: 7 } } } })
  t.after(() => device.close())
  const plant = {
    devices: [{ device_id: 'press', host: '127.0.0.1', port: device.port, framer: 'SOCKET' }],
    targets: [
      {
        device_id: 'press',
        address: 10,
        count: 2,
        interval_ms: 100,
        publish: 'trigger',
        options: { trigger: { address: 10 } },
      },
    ],
  }
  const text = `import { defineDevices } from 'routemq'\nexport default defineDevices(${JSON.stringify(plant)} as never)\n`
  return { device, files: { 'app/devices.ts': text } }
}

/** Operations that have a record, oldest first. */
async function recordsOf(product: Product): Promise<number[]> {
  const { body } = await product.json('/api/readings?device_id=press&quality=good')
  return (body.items as { value: number[] }[]).map(({ value }) => value[0]!).reverse()
}

/** Resolves when the device was read so often that an operation without a record would have had one. */
async function isRead(device: VirtualDevice): Promise<void> {
  const { requests } = device
  await until(() => device.requests > requests + 10, 'the device is read')
}

async function records(product: Product, wanted: readonly number[]): Promise<void> {
  await until(async () => (await recordsOf(product)).length >= wanted.length, `records ${wanted}`)
  assert.deepEqual(await recordsOf(product), wanted)
}

async function kill(product: Product): Promise<void> {
  const dead = once(product.child, 'close')
  product.child.kill('SIGKILL')
  await dead
}

test('over stops and a kill every operation has one record', async (t) => {
  const { device, files } = await machine(t)
  const project = makeProject(files)
  const products: Product[] = []
  t.after(async () => {
    for (const product of products) await product.stop()
    project.remove()
  })
  const start = async () => {
    const env = { MQTT_PORT: String(await freePort()), HTTP_PORT: String(await freePort()) }
    const product = await Product.start(project.root, { env, args: ['--workers', '0'] })
    products.push(product)
    return product
  }
  const first = await start()
  await records(first, [100])
  assert.equal(await first.stop(), 0)

  const second = await start()
  await isRead(device)
  await records(second, [100])
  assert.equal(await second.stop(), 0)

  device.set(1, 'holding', 10, 101)
  const third = await start()
  await records(third, [100, 101])
  const kept = () => readFileSync(join(project.root, 'data/trigger-records.json'), 'utf8')
  await until(() => kept().includes('"value":101'), 'the last record rests')
  await kill(third)

  const fourth = await start()
  await isRead(device)
  await records(fourth, [100, 101])
  device.set(1, 'holding', 10, 100)
  await records(fourth, [100, 101, 100])
})

test('another installation that takes the bus over goes on where the killed one was', async (t) => {
  const missing = await missingServers(POSTGRES)
  if (missing.length > 0) {
    assert.ok(!SERVICES_REQUIRED, `missing: ${missing.join(', ')}`)
    return t.skip(`missing: ${missing.join(', ')}`)
  }
  const { device, files } = await machine(t)
  const services = await POSTGRES.open()
  const broker = await startMosquitto()
  const database = new pg.Client(services.env.DATABASE_URL!.replace('+asyncpg', ''))
  await database.connect()
  const products: Product[] = []
  t.after(async () => {
    await Promise.all(products.map((product) => product.stop()))
    await database.end()
    await services.remove()
    await broker.stop()
  })
  const start = async (instance: string) => {
    const { root, remove } = makeProject(files)
    t.after(remove)
    const own = { MQTT_PORT: String(broker.port), HTTP_PORT: String(await freePort()), ROUTEMQ_INSTANCE: instance }
    const product = await Product.start(root, { env: { ...services.env, ...own }, args: ['--workers', '0'] })
    products.push(product)
    return product
  }
  const first = await start('plant-a')
  await records(first, [100])
  const second = await start('plant-b')
  await until(async () => {
    const { rows } = await database.query(`select value from routemq_meta where name = 'trigger/1'`)
    return rows[0]?.value.startsWith('plant-a\n{') === true
  }, 'the record is known to others')
  await kill(first)
  await isRead(device)
  await records(second, [100])
  device.set(1, 'holding', 10, 101)
  await records(second, [100, 101])
})
