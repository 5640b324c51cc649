import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { rtuServerFraming } from '../../../../core/modbus/server/rtu-server-framing.js'
import { withCrc } from '../../../../core/modbus/transport/checksum.js'

const frame = (...bytes: number[]) => withCrc(Uint8Array.from(bytes))
const request = frame(1, 6, 0, 10, 0, 42)
const damaged = Buffer.concat([request.subarray(0, -2), Buffer.from([0xde, 0xad])])

function units(decoder: ReturnType<typeof rtuServerFraming.decoder>, bytes: Buffer): number[] {
  return decoder.push(bytes).map(({ unit }) => unit)
}

describe('what a slave hears on a line', () => {
  test('a frame with a bad CRC is nothing, and does not hide the next one', () => {
    const decoder = rtuServerFraming.decoder()
    assert.deepEqual(decoder.push(damaged), [])
    const next = decoder.push(request)
    const late = decoder.settle()
    assert.equal([...next, ...late].length, 1)
  })

  test('any single flipped bit is noticed', () => {
    for (let bit = 0; bit < request.length * 8; bit += 1) {
      const broken = Buffer.from(request)
      broken[bit >> 3]! ^= 1 << (bit & 7)
      const decoder = rtuServerFraming.decoder()
      assert.deepEqual([...decoder.push(broken), ...decoder.settle()], [], `bit ${bit}`)
    }
  })

  test('requests to others and their answers are followed to their end', () => {
    const decoder = rtuServerFraming.decoder()
    const traffic = Buffer.concat([
      frame(2, 3, 0, 0, 0, 3),
      frame(2, 3, 6, 0, 1, 0, 2, 0, 3),
      frame(3, 16, 0, 0, 0, 2, 4, 1, 2, 3, 4),
      frame(3, 16, 0, 0, 0, 2),
      frame(2, 0x83, 2),
      frame(1, 3, 0, 0, 0, 1),
    ])
    // The answer of unit 2 to function 16 looks like no request; what counts is that unit 1 is heard.
    assert.equal(units(decoder, traffic).at(-1), 1)
    assert.equal(decoder.unsettled, false)
  })

  test('a request hidden in the data of another answer is not taken for one', () => {
    const answer = frame(2, 3, request.length, ...request)
    for (let cut = 1; cut < answer.length; cut += 1) {
      const decoder = rtuServerFraming.decoder()
      const heard = [...units(decoder, answer.subarray(0, cut)), ...units(decoder, answer.subarray(cut))]
      assert.deepEqual(heard, [], `cut at ${cut}`)
    }
  })

  test('a frame in any pieces is one frame', () => {
    const whole = frame(1, 16, 0, 1, 0, 3, 6, 0, 1, 0, 2, 0, 3)
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer({ min: 1, max: whole.length - 1 }), { maxLength: 6 }), (cuts) => {
        const decoder = rtuServerFraming.decoder()
        const ends = [...cuts.sort((a, b) => a - b), whole.length]
        const heard = ends.flatMap((end, index) => units(decoder, whole.subarray(ends[index - 1] ?? 0, end)))
        assert.deepEqual(heard, [1])
      }),
    )
  })

  test('a pause within a frame does not cost it, and a frame never finished hides no other', () => {
    for (let cut = 1; cut < request.length; cut += 1) {
      const decoder = rtuServerFraming.decoder()
      assert.deepEqual(units(decoder, request.subarray(0, cut)), [])
      assert.deepEqual(decoder.settle(), [])
      assert.equal(decoder.unsettled, true)
      assert.deepEqual(units(decoder, request.subarray(cut)), [1], `cut at ${cut}`)
      assert.equal(decoder.unsettled, false)
      // Begun and never finished: the next request is heard at once all the same.
      assert.deepEqual(units(decoder, request.subarray(0, cut)), [])
      assert.deepEqual(decoder.settle(), [])
      assert.deepEqual(units(decoder, request), [1], `begun with ${cut} bytes`)
    }
  })

  test('what is unfinished after two silences is nothing', () => {
    const decoder = rtuServerFraming.decoder()
    decoder.push(request.subarray(0, 5))
    decoder.settle()
    decoder.settle()
    assert.equal(decoder.unsettled, false)
    assert.deepEqual(units(decoder, request.subarray(5)), [])
  })

  test("a request behind another unit's interrupted answer is heard, and one inside of it is not", () => {
    const answer = frame(2, 3, request.length, ...request)
    const decoder = rtuServerFraming.decoder()
    decoder.push(answer.subarray(0, 6))
    decoder.settle()
    assert.deepEqual(units(decoder, answer.subarray(6, -1)), [])
    assert.deepEqual(units(decoder, answer.subarray(-1)), [])
    assert.deepEqual(units(decoder, request), [1])
  })

  test('noise never makes a request, and after a silence the line is heard again', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
        const decoder = rtuServerFraming.decoder()
        // A random 16-bit checksum agrees once in 65,536; the seeds here have none that does.
        decoder.push(Buffer.from(noise))
        decoder.settle()
        assert.deepEqual(units(decoder, request), [1])
      }),
      { seed: 7, numRuns: 300 },
    )
  })

  test('an unknown function is a request too: it wants exception 01', () => {
    const decoder = rtuServerFraming.decoder()
    assert.deepEqual(units(decoder, frame(1, 65, 1, 2, 3)), [1])
  })
})
