import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { withCrc } from '../../../../core/modbus/transport/checksum.js'
import type { Expected } from '../../../../core/modbus/transport/framing.js'
import { rtuFraming } from '../../../../core/modbus/transport/rtu-framing.js'

const expected = (unit: number, ...request: number[]): Expected => ({ unit, request: Uint8Array.from(request) })
const frame = (...bytes: number[]) => withCrc(Uint8Array.from(bytes))
const read = expected(1, 3, 0, 0, 0, 2)
const answer = frame(1, 3, 4, 0, 1, 0, 2)

/** Every function with its request and an answer to it. */
const ANSWERS: readonly (readonly [string, Expected, Buffer])[] = [
  ['1', expected(1, 1, 0, 0, 0, 9), frame(1, 1, 2, 0xff, 1)],
  ['3', read, answer],
  ['5', expected(1, 5, 0, 1, 0xff, 0), frame(1, 5, 0, 1, 0xff, 0)],
  ['6', expected(1, 6, 0, 1, 0, 2), frame(1, 6, 0, 1, 0, 2)],
  ['7', expected(1, 7), frame(1, 7, 0x5a)],
  ['8', expected(1, 8, 0, 0, 1, 2), frame(1, 8, 0, 0, 1, 2)],
  ['11', expected(1, 11), frame(1, 11, 0, 0, 0, 9)],
  ['16', expected(1, 16, 0, 1, 0, 1, 2, 0, 5), frame(1, 16, 0, 1, 0, 1)],
  ['17', expected(1, 17), frame(1, 17, 3, 1, 0xff, 65)],
  ['22', expected(1, 22, 0, 1, 0, 2, 0, 3), frame(1, 22, 0, 1, 0, 2, 0, 3)],
  ['23', expected(1, 23, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0, 0), frame(1, 23, 2, 0, 7)],
  ['24', expected(1, 24, 0, 0), frame(1, 24, 0, 4, 0, 1, 0, 9)],
  ['43', expected(1, 43, 14, 1, 0), frame(1, 43, 14, 1, 1, 0, 0, 2, 0, 1, 65, 1, 2, 66, 67)],
  ['an exception', read, frame(1, 0x83, 2)],
]

describe('RTU answers', () => {
  for (const [name, wanted, bytes] of ANSWERS) {
    test(`function ${name}: one byte at a time, and all at once`, () => {
      const slow = rtuFraming.decoder()
      const found = [...bytes].flatMap((_, at) => slow.push(bytes.subarray(at, at + 1), wanted))
      assert.deepEqual(
        found.map(({ unit, pdu }) => [unit, ...pdu]),
        [[...bytes.subarray(0, -2)]],
      )
      assert.equal(rtuFraming.decoder().push(bytes, wanted).length, 1)
    })
  }

  test('of a function nobody knows end with a silence: bytes that begin a longer one may have a good CRC by themselves', () => {
    const own = expected(1, 65, 1)
    const short = frame(1, 65, 0x10)
    for (const bytes of [short, frame(...short, 0x55, 0x66)]) {
      for (const size of [1, 5, bytes.length]) {
        const decoder = rtuFraming.decoder()
        for (let at = 0; at < bytes.length; at += size) {
          assert.deepEqual(decoder.push(bytes.subarray(at, at + size), own), [])
        }
        assert.equal(decoder.unsettled, true)
        assert.deepEqual([...decoder.settle(own)!.pdu], [...bytes.subarray(1, -2)])
      }
    }
    assert.deepEqual(rtuFraming.decoder().push(frame(1, 0xc1, 1), own).length, 1, 'a refusal has a length')
  })

  test('are found behind any noise, at once or after a silence', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 1, max: 40 }), (noise, piece) => {
        const decoder = rtuFraming.decoder()
        const all = Buffer.concat([noise, answer])
        const found = []
        for (let at = 0; at < all.length; at += piece) found.push(...decoder.push(all.subarray(at, at + piece), read))
        if (found.length === 0) found.push(decoder.settle(read))
        assert.deepEqual([...found.at(-1)!.pdu], [3, 4, 0, 1, 0, 2])
      }),
      { seed: 11, numRuns: 1_000 },
    )
  })

  test('an answer inside the data of another is not taken while that one may still end', () => {
    const inner = frame(1, 0x83, 2)
    const outer = frame(1, 3, inner.length + 1, ...inner, 0)
    const decoder = rtuFraming.decoder()
    assert.deepEqual(decoder.push(outer.subarray(0, 9), read), [])
    assert.equal(decoder.unsettled, true)
    const [found] = decoder.push(outer.subarray(9), read)
    assert.equal(found?.pdu[0], 3)
  })

  test('with nobody waiting, nothing is kept', () => {
    const decoder = rtuFraming.decoder()
    decoder.push(answer.subarray(0, 5), undefined)
    assert.deepEqual(decoder.push(answer.subarray(5), read), [])
    assert.equal(decoder.push(answer, read).length, 1)
  })

  test('endless noise is not kept', () => {
    const decoder = rtuFraming.decoder()
    for (let round = 0; round < 1_000; round += 1) decoder.push(Buffer.alloc(1_000, 1), read)
    decoder.reset()
    assert.equal(decoder.push(answer, read).length, 1)
  })
})
