import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { EXIT } from '../../../core/cli/exit-codes.js'
import { startVirtualDevice } from '../../../core/modbus/server/virtual-device.js'
import { command, folder } from './support.js'

/** A project whose one device is a virtual one on a real socket; nothing runs in it. */
async function plant(t: TestContext) {
  const device = await startVirtualDevice({ units: { 1: { holding: [7, 8, 9] } } })
  t.after(() => device.close())
  const file = `export default {
    devices: [{
      device_id: 'boiler', host: '127.0.0.1', port: ${device.port}, slave_id: 1, framer: 'SOCKET', timeout: 1,
      points: [{ name: 'limit', address: 1, scale: 0.1, unit: '°C', min: 0, max: 80 }],
    }],
    targets: [],
  }`
  return { device, root: folder(t, { 'app/devices.ts': file, 'package.json': '{"type":"module"}' }) }
}

test('while nothing runs the command opens the bus itself', async (t) => {
  const { root, device } = await plant(t)
  assert.match((await command(root, ['device:list'])).out, /^boiler +127\.0\.0\.1:\d+ +SOCKET +1 +yes +yes +1$/m)
  const read = await command(root, ['device:read', 'boiler', '0', '-n', '3', '--json'])
  assert.equal(read.code, 0, read.err)
  assert.deepEqual((JSON.parse(read.out) as { values: number[] }).values, [7, 8, 9])
  const points = await command(root, ['device:read', 'boiler'])
  assert.match(points.out, /^limit +0\.8 +°C +good +-$/m)
  const write = await command(root, ['device:write', 'boiler', 'limit', '65.5'])
  assert.deepEqual([write.code, write.out], [0, 'boiler limit = 65.5'])
  assert.equal(device.get(1, 'holding', 1), 655)
})

test('what the field side refuses ends with 5, a device that is not there with 6', async (t) => {
  const { root, device } = await plant(t)
  const high = await command(root, ['device:write', 'boiler', 'limit', '99'])
  assert.equal(high.code, EXIT.refused)
  assert.match(high.err, /VALUE_OUT_OF_RANGE/)
  assert.match((await command(root, ['device:read', 'nobody', '0'])).err, /DEVICE_UNKNOWN/)
  await device.close()
  const away = await command(root, ['device:read', 'boiler', '0'])
  assert.equal(away.code, EXIT.unavailable)
})
