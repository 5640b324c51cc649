import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc16, lrc, withCrc } from '../../../../core/modbus/transport/checksum.js'

test('CRC-16 as in the examples of the specification', () => {
  assert.equal(crc16(Buffer.from('123456789')), 0x4b37)
  // 02 07 -> 41 12 (Modbus over Serial Line V1.02, 6.2.2).
  assert.deepEqual([...withCrc(Uint8Array.of(2, 7))], [2, 7, 0x41, 0x12])
  assert.equal(crc16(Uint8Array.of(9, 2, 7, 9), 1, 3), 0x1241)
})

test('LRC brings the sum of a frame to 0', () => {
  assert.equal(lrc(Uint8Array.of(0x01, 0x03, 0x00, 0x00, 0x00, 0x01)), 0xfb)
  assert.equal(lrc(Uint8Array.of()), 0)
})
