import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { type TestContext, test } from 'node:test'
import mqtt from 'mqtt'
import { startVirtualDevice } from '../../core/modbus/server/virtual-device.js'
import { needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { until } from '../core/support/until.js'
import { Product, runCommand } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { freePort } from '../e2e/support/services.js'

/** Everything that is retained under a prefix, as a subscriber of its own sees it. */
async function watch(t: TestContext, url: string, prefix: string) {
  const retained = new Map<string, string>()
  const client = await mqtt.connectAsync(url, { protocolVersion: 5, reconnectPeriod: 100 })
  t.after(() => client.endAsync(true))
  client.on('message', (topic, payload) => {
    const short = topic.slice(prefix.length + 1)
    if (payload.length === 0) retained.delete(short)
    else retained.set(short, payload.toString())
  })
  await client.subscribeAsync(`${prefix}/#`, { qos: 1 })
  return { client, retained, names: () => [...retained.keys()].sort() }
}

test('what was removed or renamed while the product was stopped or killed is cleared, and nothing of others', async (t) => {
  if (!needsMosquitto(t)) return
  const device = await startVirtualDevice({
    units: { 1: { holding: [1, 2] }, 2: { holding: [3, 4] }, 3: { holding: [5, 6] } },
  })
  const broker = await startMosquitto()
  const project = makeProject({ 'app/devices.ts': plantOf(device.port) })
  const products: Product[] = []
  t.after(async () => {
    for (const product of products) await product.stop()
    project.remove()
    await broker.stop()
    await device.close()
  })
  const env = {
    MQTT_BROKER: '127.0.0.1',
    MQTT_PORT: String(broker.port),
    MQTT_TOPIC_PREFIX: 'plant',
    HTTP_PORT: String(await freePort()),
  }
  const start = async () => {
    const product = await Product.start(project.root, { env, args: ['--workers', '0'] })
    products.push(product)
    return product
  }
  const { client, retained, names } = await watch(t, broker.url, 'plant')
  const topicsOf = (id: string, point: string) => [`${id}/availability`, `${id}/holding/0`, `${id}/points/${point}`]
  const published = (...topics: string[]) =>
    until(
      () => topics.flat().sort().join() === names().join(),
      () => `${topics.flat().sort()} but ${names()}`,
    )
  const first = await start()
  await published(...topicsOf('u1', 'p'), ...topicsOf('u2', 'p'), ...topicsOf('u3', 'p'))
  assert.equal(await first.stop(), 0)

  // The record is changed as somebody would by hand, while nothing runs.
  const change = async (text: string) => {
    writeFileSync(`${project.root}/change.json`, text)
    const { code, stderr } = await runCommand(project.root, ['device:import', 'change.json'], { env })
    assert.equal(code, 0, stderr)
  }
  await change(
    JSON.stringify({
      devices: [
        { ...record('u1', 1, device.port), points: [{ name: 'renamed', address: 0 }] },
        { ...record('u2', 2, device.port), is_active: false },
        { ...record('u3', 3, device.port), is_active: false },
      ],
    }),
  )
  // It is another installation's since, and says so after ours ended.
  const theirs = JSON.stringify({ value: 9, unit: null, quality: 'good', timestamp: Date.now() / 1_000 + 3 })
  await client.publishAsync('plant/u3/points/p', theirs, { qos: 1, retain: true })
  await client.publishAsync('plant/others/points/p', theirs, { qos: 1, retain: true })

  const second = await start()
  await published(...topicsOf('u1', 'renamed'), 'u3/points/p', 'others/points/p')
  assert.equal(retained.get('u3/points/p'), theirs)

  const dead = once(second.child, 'close')
  second.child.kill('SIGKILL')
  await dead
  await change(JSON.stringify({ devices: [{ ...record('u1', 1, device.port), is_active: false }] }))
  await start()
  await published('u3/points/p', 'others/points/p')
})

function record(device_id: string, slave_id: number, port: number) {
  return { device_id, host: '127.0.0.1', port, slave_id, framer: 'SOCKET', points: [{ name: 'p', address: 0 }] }
}

function plantOf(port: number): string {
  const devices = [1, 2, 3].map((unit) => record(`u${unit}`, unit, port))
  const targets = devices.map(({ device_id }) => ({
    device_id,
    address: 0,
    count: 2,
    interval_ms: 500,
    options: { retain: true },
  }))
  return `import { defineDevices } from 'routemq'\nexport default defineDevices(${JSON.stringify({ devices, targets })} as never)\n`
}
