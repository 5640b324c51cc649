import assert from 'node:assert/strict'
import { test } from 'node:test'
import mqtt from 'mqtt'
import { createTransport } from '../../core/modbus/transport/open.js'
import { Product, runCommand } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { freePort } from '../e2e/support/services.js'

test('a virtual device of the application tells over MQTT what a master wrote, and keeps it over a restart', async (t) => {
  const port = await freePort()
  const project = makeProject({ 'app/virtual/plc.yaml': `port: ${port}\nunits: { 1: { holding: { 4: 1 } } }\n` })
  const options = { env: { ROUTEMQ_DEMO: 'true' } }
  let product = await Product.start(project.root, options)
  t.after(async () => {
    await product.stop()
    project.remove()
  })
  const client = await mqtt.connectAsync(product.run.broker.url)
  const topic = new Promise<string>((resolve) => client.once('message', resolve))
  await client.subscribeAsync('modbus/data/plc/#')
  const call = async (values?: readonly number[]) => {
    const master = createTransport({ kind: 'tcp', host: '127.0.0.1', port })
    await master.connect({ timeoutMs: 5_000 })
    const request =
      values === undefined ? ({ fc: 3, address: 4, count: 2 } as const) : ({ fc: 16, address: 4, values } as const)
    const answer = await master.call(1, request, { timeoutMs: 5_000 })
    await master.close()
    return answer.values
  }
  assert.deepEqual(await call(), [1, 0])
  await call([7, 8])
  assert.equal(await topic, 'modbus/data/plc/written/1/holding/4')
  await client.endAsync()
  assert.equal(await product.stop(), 0)
  product = await Product.start(project.root, options)
  assert.deepEqual(await call(), [7, 8])
})

test('a mistake in the file of a virtual device ends the start before anything is opened, and its file is named', async (t) => {
  const project = makeProject({ 'app/virtual/plc.yaml': 'port: 99999999\nunits: {}\n' })
  t.after(() => project.remove())
  const env = { MQTT_BROKER: '127.0.0.1', MQTT_PORT: String(await freePort()) }
  const { code, stdout, stderr } = await runCommand(project.root, ['run'], { env })
  assert.equal(code, 3, stderr)
  assert.match(stdout + stderr, /CONFIG_INVALID[\s\S]*virtual\/plc\.yaml[\s\S]*or the file that is named/)
  assert.doesNotMatch(stdout + stderr, /away/)
})
