import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { asciiServerFraming } from '../../../../core/modbus/server/ascii-server-framing.js'
import { mbapDatagramServerFraming, mbapServerFraming } from '../../../../core/modbus/server/mbap-server-framing.js'
import { serve } from '../../../../core/modbus/server/requests.js'
import { rtuServerFraming } from '../../../../core/modbus/server/rtu-server-framing.js'
import { Unit } from '../../../../core/modbus/server/unit.js'
import { asciiFrame } from '../../../../core/modbus/transport/ascii-framing.js'

const anyUnit = () =>
  new Unit(
    { ranges: { holding: [[0, 300]], coil: [[0, 3_000]] } },
    () => 0,
    () => 0.5,
  )
const hint = fc.constantFrom(1, 2, 3, 4, 5, 6, 15, 16, 17, 22, 23, 43)
const request = fc.tuple(hint, fc.uint8Array({ maxLength: 252 })).map(([code, data]) => Buffer.from([code, ...data]))

describe('whatever a master sends', () => {
  test('is answered by its function or its exception, within the size of a PDU', () => {
    fc.assert(
      fc.property(fc.oneof(request, fc.uint8Array({ minLength: 1, maxLength: 253 }).map(Buffer.from)), (pdu) => {
        const { answer } = serve(anyUnit(), 1, Buffer.from(pdu))
        assert.ok(answer.length >= 2 && answer.length <= 253, `${answer.length} bytes`)
        assert.equal(answer[0]! & 0x7f, pdu[0]! & 0x7f)
        if (answer[0]! >= 0x80) assert.ok(answer[1]! >= 1 && answer[1]! <= 3)
      }),
      { numRuns: 2_000 },
    )
  })

  test('changes nothing unless it is answered without an exception', () => {
    fc.assert(
      fc.property(request, (pdu) => {
        const unit = anyUnit()
        const { answer, written } = serve(unit, 1, pdu)
        if (answer[0]! < 0x80) return
        assert.equal(written, undefined)
        assert.deepEqual([...unit.entries('holding'), ...unit.entries('coil')], [])
      }),
      { numRuns: 2_000 },
    )
  })

  test('no bytes break a framer, in whatever pieces they come', () => {
    const framings = [mbapServerFraming, mbapDatagramServerFraming, rtuServerFraming, asciiServerFraming]
    fc.assert(
      fc.property(
        fc.constantFrom(...framings),
        fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 6 }),
        (f, all) => {
          const decoder = f.decoder()
          try {
            for (const bytes of all) {
              for (const { pdu } of decoder.push(Buffer.from(bytes))) assert.ok(pdu.length >= 1 && pdu.length <= 253)
            }
            decoder.settle()
          } catch (error) {
            assert.match((error as Error).message, /not a Modbus TCP frame/)
          }
        },
      ),
      { numRuns: 1_000 },
    )
  })
})

describe('ASCII frames', () => {
  const frame = asciiFrame(Uint8Array.of(1, 6, 0, 10, 0, 42))
  const heard = (bytes: Buffer) => asciiServerFraming.decoder().push(bytes).length

  test('count with a good LRC only, in upper and lower case', () => {
    assert.equal(frame.toString(), ':0106000A002AC5\r\n')
    assert.equal(heard(frame), 1)
    assert.equal(heard(Buffer.from(frame.toString().toLowerCase())), 1)
    assert.equal(heard(Buffer.from(':0106000A002AC6\r\n')), 0)
    assert.equal(heard(Buffer.from(':0106000A002BC5\r\n')), 0)
    assert.equal(heard(Buffer.from(':0106000A002AC\r\n')), 0)
    assert.equal(heard(Buffer.from('0106000A002AC5\r\n')), 0)
  })

  test('a colon begins anew, whatever came before', () => {
    assert.equal(heard(Buffer.concat([Buffer.from(':0106zz'), frame, Buffer.from('noise'), frame])), 2)
    assert.equal(heard(Buffer.concat([Buffer.from(`:${'0'.repeat(2_000)}`), frame])), 1)
  })
})
