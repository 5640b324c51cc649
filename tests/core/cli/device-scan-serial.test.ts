import assert from 'node:assert/strict'
import { test } from 'node:test'
import { EXIT } from '../../../core/cli/exit-codes.js'
import { startVirtualDevice } from '../../../core/modbus/server/virtual-device.js'
import { openSerialLine, serialUnavailable } from '../modbus/serial-line.js'
import { folder } from '../support/folder.js'
import { command } from './support.js'

const unavailable = await serialUnavailable()

test('device:scan finds the units of a serial line of which no device is known yet', {
  skip: unavailable,
}, async (t) => {
  const line = await openSerialLine(2, 38_400)
  t.after(() => line.close())
  const settings = { baudRate: 38_400, parity: 'even', dataBits: 8, stopBits: 1 } as const
  const device = await startVirtualDevice({
    line: { kind: 'serial_rtu', path: line.paths[1]!, ...settings },
    units: { 2: { holding: [7] } },
  })
  t.after(() => device.close())
  const root = folder(t, { 'package.json': '{"type":"module"}' })
  const how = ['--baud', '38400', '--parity', 'even', '--timeout', '1000', '--json']
  const scan = await command(root, ['device:scan', line.paths[0]!, '-u', '2-3', ...how])
  assert.deepEqual(JSON.parse(scan.out || scan.err), [{ unit: 2, answer: '7' }])
})

test('settings of a serial line go with its path', async (t) => {
  const root = folder(t, { 'package.json': '{"type":"module"}' })
  for (const [args, code, message] of [
    [['127.0.0.1:1', '--baud', '9600'], EXIT.usage, /go with a serial line/],
    [['/dev/none', '--parity', 'mark'], EXIT.refused, /parity: Invalid option/],
    [['/dev/none'], EXIT.unavailable, /\/dev\/none cannot be opened/],
    [['none'], EXIT.refused, /no device none, and it is no host:port and no serial line/],
  ] as const) {
    const said = await command(root, ['device:scan', ...args])
    assert.deepEqual([said.code, message.test(said.err)], [code, true], said.err)
  }
})
