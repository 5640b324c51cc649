import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { startTestApp, type TestApp } from 'routemq/testing'

let app: TestApp

before(async () => {
  app = await startTestApp({ root: new URL('../..', import.meta.url) })
})

after(() => app.stop())

test('a write command moves the register', async () => {
  const written = await app.command('devices/office-eng/write', { address: 10, value: 42 })
  assert.equal((written as { status: string }).status, 'ok')
  const read = await app.command('devices/office-eng/read', { address: 10 })
  assert.deepEqual((read as { values: number[] }).values, [42])
})

test('a point is written by name and read with its unit', async () => {
  await app.command('devices/office-eng/write', { point: 'setpoint', value: 21.5 })
  const read = await app.command('devices/office-eng/read', { point: 'setpoint' })
  const [setpoint] = (read as { points: { value: number; unit: string }[] }).points
  assert.deepEqual([setpoint?.value, setpoint?.unit], [21.5, '°C'])
})

test('a value outside the limits of its point is refused', async () => {
  await assert.rejects(app.command('devices/office-eng/write', { point: 'setpoint', value: 99 }), {
    code: 'VALUE_OUT_OF_RANGE',
  })
})

test('a command for a device nobody knows is refused', async () => {
  await assert.rejects(app.command('devices/nobody/control', { command: 'start' }), { code: 'DEVICE_UNKNOWN' })
})
