import assert from 'node:assert/strict'
import { test } from 'node:test'
import { normalizeDevice } from '../../core/modbus/device-schema.js'
import { FieldService } from '../../core/modbus/field-service.js'
import { startVirtualDevice } from '../../core/modbus/server/virtual-device.js'
import { FIELD_SETTINGS } from '../core/modbus/field-settings.js'
import { openSerialLine, serialUnavailable } from '../core/modbus/serial-line.js'
import { FULL, figures, percentile, size } from './support/size.js'

const noSerial = await serialUnavailable()
const BAUD = 9_600

test('three units and the field service on one line of 9600 baud: right values, wire time as the planner predicts', {
  skip: noSerial ?? false,
}, async (t) => {
  const line = await openSerialLine(4, BAUD)
  const settings = { kind: 'serial_rtu', baudRate: BAUD, parity: 'even', dataBits: 8, stopBits: 1 } as const
  const units = [1, 2, 3]
  const devices = await Promise.all(
    units.map((unit) => {
      const holding = Array.from({ length: 200 }, (_, address) => unit * 1_000 + address)
      return startVirtualDevice({ line: { ...settings, path: line.paths[unit]! }, units: { [unit]: { holding } } })
    }),
  )
  const field = new FieldService(FIELD_SETTINGS)
  t.after(async () => {
    await field.stop(500)
    for (const device of devices) await device.close()
    await line.close()
  })
  field.apply(
    units.map((unit) =>
      normalizeDevice({
        device_id: `unit${unit}`,
        transport: 'serial',
        path: line.paths[0]!,
        baud_rate: BAUD,
        parity: 'even',
        slave_id: unit,
        timeout_ms: 5_000,
        max_retries: 0,
      }),
    ),
  )
  const read = async (unit: number, address: number, count: number): Promise<number> => {
    const start = performance.now()
    const device_id = `unit${unit}`
    const { values } = await field.request({ op: 'read', device_id, register_type: 'holding', address, count })
    assert.deepEqual(
      values,
      Array.from({ length: count }, (_, at) => unit * 1_000 + address + at),
    )
    return performance.now() - start
  }
  // What the bus learns from, then what it foretells.
  for (let n = 0; n < 20; n += 1) await read((n % 3) + 1, n, 5 + n)
  const ratios: number[] = []
  for (const count of [1, 10, 40, 80, 120]) {
    for (let n = 0; n < size(3, 20); n += 1) {
      const unit = (n % 3) + 1
      const block = { device_id: `unit${unit}`, register_type: 'holding', address: n, count } as const
      const predicted = field.polling.wireTime(block.device_id, [block])
      ratios.push((await read(unit, n, count)) / predicted)
    }
  }
  figures('measured over predicted wire time, 9600 baud', {
    median: percentile(ratios, 0.5),
    lowest: Math.min(...ratios),
    highest: Math.max(...ratios),
  })
  const median = percentile(ratios, 0.5)
  if (!FULL) return
  assert.ok(median >= 0.9 && median <= 1.1, `measured ${median} of what was predicted`)
})
