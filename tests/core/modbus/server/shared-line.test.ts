import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { startVirtualDevice, type VirtualDevice } from '../../../../core/modbus/server/virtual-device.js'
import { withCrc } from '../../../../core/modbus/transport/checksum.js'
import { createTransport } from '../../../../core/modbus/transport/open.js'
import type { ModbusTransport, TransportError } from '../../../../core/modbus/transport/transport.js'
import { until } from '../../support/until.js'
import { openSerialLine, type SerialLine, serialUnavailable } from '../serial-line.js'

const unavailable = await serialUnavailable()
const baudRate = 38_400
const settings = { kind: 'serial_rtu', baudRate, parity: 'even', dataBits: 8, stopBits: 1 } as const
const full = { timeoutMs: 5_000 }

describe('three units and a master on one paced line', { skip: unavailable ?? false }, () => {
  let line: SerialLine
  let devices: VirtualDevice[]
  let master: ModbusTransport

  before(async () => {
    line = await openSerialLine(4, baudRate)
    devices = []
    for (const unit of [1, 2, 3]) {
      const holding = Array.from({ length: 50 }, (_, address) => unit * 1_000 + address)
      devices.push(
        await startVirtualDevice({ line: { ...settings, path: line.paths[unit]! }, units: { [unit]: { holding } } }),
      )
    }
    master = createTransport({ ...settings, path: line.paths[0]! })
    await master.connect(full)
  })
  after(async () => {
    await master.close()
    for (const device of devices) await device.close()
    await line.close()
  })

  test('each answers for itself, again and again, while it hears the others', async () => {
    for (let round = 0; round < 12; round += 1) {
      const unit = (round % 3) + 1
      const { values } = await master.call(unit, { fc: 3, address: round, count: 10 }, full)
      assert.deepEqual(
        values,
        Array.from({ length: 10 }, (_, at) => unit * 1_000 + round + at),
      )
      await master.call(unit, { fc: 16, address: 40, values: [round, unit] }, full)
    }
    assert.deepEqual(
      devices.map((device) => device.log.length),
      [4, 4, 4],
    )
  })

  test('a broadcast reaches all of them and is answered by none', async () => {
    await master.call(0, { fc: 6, address: 45, value: 99 }, full)
    // Each hears it in its own time; one that does not is waited for in vain.
    await until(() => devices.every((device, index) => device.get(index + 1, 'holding', 45) === 99))
    assert.equal((await master.call(2, { fc: 3, address: 45, count: 1 }, full)).values[0], 99)
  })

  test('a frame with a bad CRC writes nothing, and the line works on', async () => {
    const requests = devices.map((device) => device.requests)
    line.inject(Buffer.concat([Uint8Array.of(1, 6, 0, 5, 0xbe, 0xef), Uint8Array.of(0xde, 0xad)]))
    line.inject(Buffer.concat([Uint8Array.of(2, 16, 0, 5, 0, 1, 2, 0xbe, 0xef), Uint8Array.of(0xde, 0xad)]))
    await wait(300)
    assert.equal((await master.call(1, { fc: 3, address: 5, count: 1 }, full)).values[0], 1_005)
    assert.equal((await master.call(2, { fc: 3, address: 5, count: 1 }, full)).values[0], 2_005)
    // Nothing but these two reads was a request to anybody: the line keeps the order of what it carries.
    assert.deepEqual(
      devices.map((device) => device.requests),
      requests.map((before, index) => before + (index < 2 ? 1 : 0)),
    )
  })

  test('foreign traffic and noise do not deafen anybody', async () => {
    for (let round = 0; round < 5; round += 1) {
      line.inject(withCrc(Uint8Array.of(77, 3, 0, 0, 0, 2)))
      line.inject(withCrc(Uint8Array.of(77, 3, 4, 1, 2, 3, 4)))
      line.inject(Uint8Array.of(0xff, 0x00, 0x55, 0x13, round))
      await wait(300)
      const unit = (round % 3) + 1
      assert.equal((await master.call(unit, { fc: 3, address: 7, count: 1 }, full)).values[0], unit * 1_000 + 7)
    }
  })

  test('a silent unit costs its time-out and nobody else anything', async () => {
    devices[1]!.faults.set(2, { kind: 'deaf', times: 1 })
    await assert.rejects(
      master.call(2, { fc: 3, address: 0, count: 1 }, { timeoutMs: 80 }),
      (error: TransportError) => error.failure.kind === 'timeout',
    )
    assert.equal((await master.call(3, { fc: 3, address: 0, count: 1 }, full)).values[0], 3_000)
    assert.equal((await master.call(2, { fc: 3, address: 0, count: 1 }, full)).values[0], 2_000)
  })

  test('bytes take the time the baud rate gives them', async () => {
    const started = performance.now()
    await master.call(1, { fc: 3, address: 0, count: 50 }, full)
    // 8 bytes out and 105 back, 11 bits each.
    assert.ok(performance.now() - started >= (113 * 11_000) / baudRate - 5)
  })

  test('a line that is already open belongs to its owner', async () => {
    const second = createTransport({ ...settings, path: line.paths[0]! })
    await assert.rejects(second.connect(full), (error: TransportError) => error.failure.kind === 'not_sent')
    assert.equal(second.state, 'closed')
  })
})
