import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { asciiFrame, asciiFraming } from '../../../../core/modbus/transport/ascii-framing.js'
import { withCrc } from '../../../../core/modbus/transport/checksum.js'
import { rtuFraming } from '../../../../core/modbus/transport/rtu-framing.js'
import type { ModbusCall, TransportError } from '../../../../core/modbus/transport/transport.js'
import { FakeClock } from '../../../../core/testing/fake-clock.js'
import { scriptedLine } from './scripted-line.js'

const QUIET_MS = 2
const COPY_MS = 20

/** A line on which the test writes the answers, and a clock that it moves. */
function open(framing: typeof rtuFraming) {
  const clock = new FakeClock()
  let sent = 0
  const connection = scriptedLine({
    framing,
    clock,
    quietMs: QUIET_MS,
    copyMs: COPY_MS,
    onSent: () => {
      sent += 1
    },
  })
  const encode = framing === rtuFraming ? withCrc : asciiFrame
  const frame = (...bytes: number[]) => encode(Uint8Array.from(bytes))
  return {
    clock,
    get sent() {
      return sent
    },
    /** What unit 1 answers to a read of one register. */
    word: (value: number, unit = 1) => frame(unit, 3, 2, value >> 8, value & 0xff),
    frame,
    hears: (...frames: Buffer[]) => connection.receive(Buffer.concat(frames)),
    /** Asks, and comes back when the request is out or held back. */
    async ask(call: ModbusCall = { fc: 3, address: 0, count: 1 }, unit = 1, timeoutMs = 1_000) {
      const outcome = { value: 'none yet' as unknown }
      connection.call(unit, call, { timeoutMs }).then(
        ({ values }) => (outcome.value = [...values]),
        (error: TransportError) => (outcome.value = error.failure.kind),
      )
      await clock.advance(0)
      await polled()
      return outcome
    },
    async pass(ms: number) {
      await clock.advance(ms)
      await polled()
    },
  }
}

/** Several turns of the real event loop: the connection waits for them. */
async function polled(): Promise<void> {
  for (let turn = 0; turn < 6; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}

for (const [name, framing] of [
  ['RTU', rtuFraming],
  ['ASCII', asciiFraming],
] as const) {
  describe(`${name}: an answer that comes twice`, () => {
    test('after the next request went out, it does not become its answer', async () => {
      const line = open(framing)
      const first = await line.ask()
      line.hears(line.word(1003))
      await line.pass(QUIET_MS)
      assert.deepEqual(first.value, [1003])
      const second = await line.ask()
      assert.equal(line.sent, 2)
      line.hears(line.word(1003))
      await line.pass(5)
      assert.equal(second.value, 'none yet')
      line.hears(line.word(1004))
      await line.pass(QUIET_MS)
      assert.deepEqual(second.value, [1004])
    })

    test('with the next answer in one piece, it is passed over', async () => {
      const line = open(framing)
      await line.ask()
      line.hears(line.word(1))
      await line.pass(QUIET_MS)
      const second = await line.ask()
      line.hears(line.word(1), line.word(2))
      await line.pass(0)
      assert.deepEqual(second.value, [2])
    })

    test('again and again, each request gets its own, and nobody waits for the clock', async () => {
      const line = open(framing)
      await line.ask()
      line.hears(line.word(0))
      for (let round = 1; round < 6; round += 1) {
        await line.pass(QUIET_MS)
        const outcome = await line.ask()
        assert.equal(line.sent, round + 1)
        // The same value twice in a row is a right answer too.
        line.hears(line.word((round - 1) >> 1), line.word(round >> 1))
        await line.pass(0)
        assert.deepEqual(outcome.value, [round >> 1])
      }
    })

    test('while no request is open, it holds the next one back until nothing more comes', async () => {
      const line = open(framing)
      await line.ask()
      line.hears(line.word(7), line.word(7))
      await line.pass(QUIET_MS + 1)
      const second = await line.ask()
      assert.equal(line.sent, 1)
      await line.pass(20)
      assert.equal(line.sent, 2)
      line.hears(line.word(8))
      await line.pass(0)
      assert.deepEqual(second.value, [8])
    })

    test('once seen, copies are expected later than before', async () => {
      const line = open(framing)
      await line.ask()
      line.hears(line.word(7), line.word(7))
      await line.pass(COPY_MS + 1)
      const second = await line.ask()
      line.hears(line.word(8))
      await line.pass(COPY_MS + 1)
      assert.deepEqual(second.value, [8])
      const third = await line.ask()
      line.hears(line.word(8))
      await line.pass(COPY_MS + 1)
      assert.equal(third.value, 'none yet')
      line.hears(line.word(9))
      await line.pass(0)
      assert.deepEqual(third.value, [9])
    })
  })

  describe(`${name}: an answer that equals the one before`, () => {
    test('is taken when a copy could no longer come, and at once where none can be under way', async () => {
      const line = open(framing)
      await line.ask()
      line.hears(line.word(5))
      await line.pass(QUIET_MS)
      const second = await line.ask()
      line.hears(line.word(5))
      await line.pass(COPY_MS - QUIET_MS - 1)
      assert.equal(second.value, 'none yet')
      await line.pass(1)
      assert.deepEqual(second.value, [5])
      await line.pass(COPY_MS)
      const third = await line.ask()
      line.hears(line.word(5))
      await line.pass(0)
      assert.deepEqual(third.value, [5])
    })

    test('does not wait behind a call of another shape', async () => {
      const line = open(framing)
      await line.ask()
      line.hears(line.word(5))
      await line.pass(QUIET_MS)
      const other = await line.ask(undefined, 2)
      line.hears(line.word(5, 2))
      await line.pass(QUIET_MS)
      assert.deepEqual(other.value, [5])
      const again = await line.ask()
      line.hears(line.word(5))
      await line.pass(0)
      assert.deepEqual(again.value, [5])
    })

    test('at the deadline is a failure, not a value', async () => {
      const line = open(framing)
      await line.ask()
      line.hears(line.word(5))
      await line.pass(QUIET_MS)
      const second = await line.ask(undefined, 1, 10)
      line.hears(line.word(5))
      await line.pass(10)
      assert.equal(second.value, 'protocol')
    })

    test('is taken before the deadline of a read with little time, where only late copies are waited for; not for a write', async () => {
      const line = open(framing)
      await line.ask()
      line.hears(line.word(5), line.word(5))
      await line.pass(COPY_MS + 1)
      const read = await line.ask(undefined, 1, 60)
      line.hears(line.word(5))
      await line.pass(50)
      assert.equal(read.value, 'none yet')
      await line.pass(5)
      assert.deepEqual(read.value, [5])
      const write: ModbusCall = { fc: 6, address: 1, value: 2 }
      await line.pass(COPY_MS)
      await line.ask(write, 1, 60)
      line.hears(line.frame(1, 6, 0, 1, 0, 2))
      await line.pass(COPY_MS + 1)
      const again = await line.ask(write, 1, 60)
      line.hears(line.frame(1, 6, 0, 1, 0, 2))
      await line.pass(61)
      assert.equal(again.value, 'protocol')
    })

    test('holds for exceptions and for confirmations of a write', async () => {
      const line = open(framing)
      await line.ask()
      line.hears(line.frame(1, 0x83, 2))
      await line.pass(QUIET_MS)
      const read = await line.ask()
      line.hears(line.frame(1, 0x83, 2))
      await line.pass(5)
      assert.equal(read.value, 'none yet')
      line.hears(line.word(3))
      await line.pass(QUIET_MS)
      assert.deepEqual(read.value, [3])
      const write: ModbusCall = { fc: 6, address: 1, value: 2 }
      await line.ask(write)
      line.hears(line.frame(1, 6, 0, 1, 0, 2))
      await line.pass(QUIET_MS)
      const again = await line.ask(write)
      line.hears(line.frame(1, 6, 0, 1, 0, 2))
      await line.pass(5)
      assert.equal(again.value, 'none yet')
      line.hears(line.frame(1, 0x86, 4))
      await line.pass(0)
      assert.equal(again.value, 'exception')
    })
  })

  test(`${name}: bytes that came in before the request goes out hold it back, however late they are read`, async () => {
    const line = open(framing)
    await line.ask()
    line.hears(line.word(1))
    await line.pass(500)
    const outcome = line.ask()
    // Read in the turn of the event loop in which the request would have gone.
    line.hears(line.word(1))
    const second = await outcome
    assert.equal(line.sent, 1)
    await line.pass(20)
    assert.equal(line.sent, 2)
    line.hears(line.word(2))
    await line.pass(0)
    assert.deepEqual(second.value, [2])
  })
}
