import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { startMosquitto } from '../core/mqtt/kit.js'
import { until } from '../core/support/until.js'
import { Door } from '../e2e/support/late-server.js'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { freePort, missingServers, POSTGRES, SERVICES_REQUIRED } from '../e2e/support/services.js'
import { Witness } from '../e2e/support/witness.js'

/** 15 s, as documented, where three processes and three servers have a processor each; this only guards against more. */
const MOVE_WITHIN_MS = 30_000

test('two installations on one PostgreSQL: every bus has one owner, through an outage and a death', async (t) => {
  const missing = await missingServers(POSTGRES)
  if (missing.length > 0) {
    assert.ok(!SERVICES_REQUIRED, `missing: ${missing.join(', ')}`)
    console.log(`SKIPPED: ${t.name}; missing: ${missing.join(', ')} (${missing.length})`)
    return t.skip(`missing: ${missing.join(', ')}`)
  }
  const services = await POSTGRES.open()
  // Its own: on the shared one other products would answer the same commands.
  const broker = await startMosquitto()
  const door = await Door.shut(5432)
  await door.open()
  const witnesses = [await Witness.open(), await Witness.open()]
  const products: Product[] = []
  t.after(async () => {
    await Promise.all(products.map((product) => product.stop()))
    for (const witness of witnesses) await witness.close()
    await door.close()
    await services.remove()
    await broker.stop()
  })
  const start = async (instance: string) => {
    const { root, remove } = makeProject({ 'app/devices.ts': plantOf(witnesses) })
    t.after(remove)
    const env = {
      ...services.env,
      MQTT_PORT: String(broker.port),
      DATABASE_URL: services.env.DATABASE_URL!.replace(':5432', `:${door.port}`),
      HTTP_PORT: String(await freePort()),
      ROUTEMQ_INSTANCE: instance,
    }
    const product = await Product.start(root, { env, args: ['--workers', '0'] })
    products.push(product)
    return product
  }
  const isPolled = async (what: string) => {
    for (const witness of witnesses) {
      const before = witness.device.requests
      await until(async () => witness.device.requests > before + 1, what)
    }
  }

  const first = await start('plant-a')
  await isPolled('the first installation polls')
  const second = await start('plant-b')
  await until(async () => (await standbyOf(second)).length === 2, 'the second says that it stands by')
  for (const line of await standbyOf(second)) assert.match(line, /^127\.0\.0\.1:\d+: installation plant-a owns it$/)
  const refused = await second.json('/api/devices/d0/registers?address=0')
  assert.equal(refused.status, 503, JSON.stringify(refused.body))
  assert.equal(refused.body.code, 'BUS_STANDBY')
  assert.match(JSON.stringify(refused.body), /"owner":"plant-a"/)
  const buses = (await (await second.fetch('/api/devices/gateways')).json()) as { state: string; owner: string }[]
  assert.deepEqual(
    buses.map(({ state, owner }) => [state, owner]),
    [
      ['standby', 'plant-a'],
      ['standby', 'plant-a'],
    ],
  )
  assert.equal((await first.json('/api/devices/d1/registers?address=0')).status, 200)

  await door.close()
  const awayUntil = performance.now() + 12_000 // longer than a lease lasts, and than a challenger must watch
  while (performance.now() < awayUntil) await pause(500)
  await isPolled('the owner goes on while the database is away')
  assert.equal((await first.json('/api/devices/d0/registers?address=0')).status, 200)
  assert.equal((await second.json('/api/devices/d0/registers?address=0')).body.code, 'BUS_STANDBY')
  await door.open()
  await until(async () => (await second.json('/health')).status === 200, 'the database is back')
  await isPolled('and after it')
  assert.deepEqual(
    witnesses.map(({ connections }) => connections),
    [1, 1],
    'the first connection is still the only one there ever was',
  )

  const killedAt = performance.now()
  const dead = once(first.child, 'close')
  first.child.kill('SIGKILL')
  await dead
  await until(async () => witnesses.every(({ inside }) => inside === 1), 'both buses moved')
  const movedAfterMs = performance.now() - killedAt
  console.log(`buses moved ${(movedAfterMs / 1000).toFixed(1)} s after their owner was killed`)
  assert.ok(movedAfterMs < MOVE_WITHIN_MS, `${movedAfterMs} ms`)
  await isPolled('the second polls')
  const read = await second.json('/api/devices/d0/registers?address=0')
  assert.deepEqual(read.body.values, [7], JSON.stringify(read.body))

  const again = await start('plant-a')
  await until(async () => (await standbyOf(again)).length === 2, 'the first, back, stands by')
  assert.equal(await second.stop(), 0, second.text)
  await isPolled('a clean stop hands the buses over')
  assert.equal((await again.json('/api/devices/d0/registers?address=0')).status, 200)
  assert.deepEqual(
    witnesses.map(({ most }) => most),
    [1, 1],
    'never two at a time',
  )
})

function plantOf(witnesses: readonly Witness[]): string {
  const devices = witnesses.map(({ port }, index) => ({
    device_id: `d${index}`,
    host: '127.0.0.1',
    port,
    framer: 'SOCKET',
    timeout: 10,
    max_retries: 0,
  }))
  const targets = devices.map(({ device_id }) => ({ device_id, address: 0, count: 1, interval_ms: 200 }))
  return `import { defineDevices } from 'routemq'\nexport default defineDevices(${JSON.stringify({ devices, targets })} as never)\n`
}

async function standbyOf(product: Product): Promise<string[]> {
  const { body } = await product.json('/health')
  return ((body.details as { standby?: string[] }).standby ?? []).slice()
}
