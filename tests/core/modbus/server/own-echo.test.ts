import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { OwnEcho } from '../../../../core/modbus/server/own-echo.js'
import { startVirtualDevice } from '../../../../core/modbus/server/virtual-device.js'
import { asciiFrame } from '../../../../core/modbus/transport/ascii-framing.js'
import { withCrc } from '../../../../core/modbus/transport/checksum.js'
import { createTransport } from '../../../../core/modbus/transport/open.js'
import { FakeClock } from '../../../../core/testing/fake-clock.js'
import { openSerialLine, serialUnavailable } from '../serial-line.js'

for (const [name, encode] of [
  ['RTU', withCrc],
  ['ASCII', asciiFrame],
] as const) {
  const write = encode(Uint8Array.of(1, 6, 0, 5, 0, 7))
  const answer = encode(Uint8Array.of(1, 3, 2, 0, 9))
  const next = encode(Uint8Array.of(1, 3, 0, 0, 0, 1))
  const open = () => {
    const clock = new FakeClock()
    const echo = new OwnEcho(clock, 1)
    const hears = (...lumps: Buffer[]) => Buffer.concat(lumps.map((lump) => Buffer.from(echo.pass(lump))))
    return { clock, echo, hears }
  }

  describe(`${name}, what a slave hears of itself`, () => {
    test('an answer that comes back is no request, in whatever lumps; what follows it is', () => {
      const { echo, hears } = open()
      for (const frame of [answer, write]) {
        for (let at = 1; at < frame.length; at += 1) {
          echo.sent(frame)
          const rest = Buffer.concat([frame.subarray(at), next])
          assert.deepEqual(hears(frame.subarray(0, at), rest), next, `cut at ${at}`)
        }
      }
    })

    test('before the line is known a copy that comes at once is an echo, one that comes later a request', async () => {
      const { echo, hears, clock } = open()
      echo.sent(write)
      assert.equal(hears(write).length, 0)
      echo.sent(write)
      await clock.advance(write.length + 51)
      assert.deepEqual(hears(write), write)
    })

    test('on a line that gives nothing back a write may be repeated at once', () => {
      const { echo, hears } = open()
      echo.sent(answer)
      assert.deepEqual(hears(next.subarray(0, 2), next.subarray(2)), next)
      echo.sent(write)
      assert.deepEqual(hears(write), write)
    })
  })
}

test('a function of its own that throws, or answers too much, is a failure of the device; the connection goes on', async () => {
  const functions = {
    65: () => {
      throw new Error('no')
    },
    66: () => Buffer.alloc(253),
    67: () => Buffer.alloc(252),
  }
  const device = await startVirtualDevice({ units: { 1: { holding: [7], functions } } })
  const master = createTransport(device.endpoint)
  await master.connect({ timeoutMs: 1_000 })
  try {
    const call = (functionCode: number) =>
      master.call(1, { fc: 'raw', functionCode, data: new Uint8Array() }, { timeoutMs: 1_000 })
    for (const functionCode of [65, 66]) {
      await assert.rejects(call(functionCode), { failure: { kind: 'exception', exceptionCode: 4 } })
    }
    assert.equal((await call(67)).data.length, 252)
    assert.equal(device.requests, 3)
  } finally {
    await master.close()
    await device.close()
  }
})

const unavailable = await serialUnavailable()

test('a slave whose adapter hears what it sends carries each write out once', {
  skip: unavailable ?? false,
}, async () => {
  const baudRate = 38_400
  const settings = { kind: 'serial_rtu', baudRate, parity: 'even', dataBits: 8, stopBits: 1 } as const
  const line = await openSerialLine(2, baudRate, 1)
  const device = await startVirtualDevice({
    line: { ...settings, path: line.paths[1]! },
    units: { 1: { holding: [3] } },
  })
  const master = createTransport({ ...settings, path: line.paths[0]! })
  try {
    await master.connect({ timeoutMs: 2_000 })
    const limit = { timeoutMs: 5_000 }
    // Shows the line to the slave: from here on no time decides, whatever else the machine does.
    await master.call(1, { fc: 3, address: 0, count: 1 }, limit)
    for (let value = 0; value < 5; value += 1) {
      await master.call(1, { fc: 6, address: 5, value }, limit)
      await master.call(1, { fc: 22, address: 6, and: 0, or: value }, limit)
      assert.deepEqual((await master.call(1, { fc: 3, address: 5, count: 2 }, limit)).values, [value, value])
    }
    assert.equal(device.requests, 16)
    assert.equal(device.log.length, 10)
  } finally {
    await master.close()
    await device.close()
    await line.close()
  }
})
