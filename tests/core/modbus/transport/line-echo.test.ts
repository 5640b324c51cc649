import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { asciiFrame, asciiFraming } from '../../../../core/modbus/transport/ascii-framing.js'
import { withCrc } from '../../../../core/modbus/transport/checksum.js'
import { type EchoState, LineEcho } from '../../../../core/modbus/transport/line-echo.js'
import { rtuFraming } from '../../../../core/modbus/transport/rtu-framing.js'
import type { ModbusCall, TransportError } from '../../../../core/modbus/transport/transport.js'
import { FakeClock } from '../../../../core/testing/fake-clock.js'
import { scriptedLine } from './scripted-line.js'

const read: ModbusCall = { fc: 3, address: 0, count: 1 }
const write: ModbusCall = { fc: 6, address: 5, value: 7 }
const NONE: Buffer = Buffer.alloc(0)

for (const [name, framing, encode] of [
  ['RTU', rtuFraming, withCrc],
  ['ASCII', asciiFraming, asciiFrame],
] as const) {
  /** A line whose every byte the test says, and a clock that it moves. `hears` are the lumps that come after a request. */
  const open = ({ isSet = false }: { isSet?: boolean } = {}) => {
    const clock = new FakeClock()
    const states: EchoState[] = []
    const echo = new LineEcho((state) => states.push(state))
    echo.set(isSet)
    let sent = NONE
    const connection = scriptedLine({
      framing,
      clock,
      quietMs: 2,
      copyMs: 20,
      echo,
      onSent: (frame) => {
        sent = frame
      },
    })
    const answer = (...bytes: number[]) => encode(Uint8Array.from(bytes))
    const ask = async (call: ModbusCall, hears: (echo: Buffer) => readonly Buffer[]) => {
      // Any copy of an answer before is over.
      await clock.advance(1_000)
      await turn()
      const outcome = { value: 'none yet' as unknown }
      connection.call(1, call, { timeoutMs: 500 }).then(
        ({ values, data }) => (outcome.value = call.fc === 'raw' ? data.toString('hex') : [...values]),
        (error: TransportError) => (outcome.value = error.failure.kind),
      )
      await clock.advance(0)
      await turn()
      for (const bytes of hears(sent)) connection.receive(bytes)
      await clock.advance(100)
      await turn()
      await clock.advance(500)
      await turn()
      return outcome.value
    }
    return { echo, states, answer, ask, word: (value: number) => answer(1, 3, 2, value >> 8, value & 0xff) }
  }

  describe(`${name}, a line that gives back what is sent`, () => {
    test('a read shows it, and from then on a write is confirmed by its unit only', async () => {
      const { ask, word, states } = open()
      assert.deepEqual(await ask(read, (echo) => [echo, word(42)]), [42])
      assert.deepEqual(states, ['present'])
      assert.equal(await ask(write, (echo) => [echo]), 'timeout', 'the unit is dead')
      assert.deepEqual(await ask(write, (echo) => [Buffer.concat([echo, echo])]), [], 'the unit answers')
      assert.deepEqual(await ask(read, (echo) => [echo, word(43)]), [43])
      assert.deepEqual(states, ['present'])
    })

    test('a read that nobody answers shows it too', async () => {
      const { ask, states } = open()
      assert.match(String(await ask(read, (echo) => [echo])), /^(timeout|protocol)$/)
      assert.deepEqual(states, ['present'])
    })

    test('also where something late lies before it', async () => {
      const { ask, answer, word, states } = open()
      const late = answer(1, 6, 0, 5, 0, 7)
      assert.deepEqual(await ask(read, (echo) => [late.subarray(0, 3), late.subarray(3), echo, word(42)]), [42])
      assert.deepEqual(states, ['present'])
    })

    test('in whatever lumps it comes', async () => {
      const { ask, word } = open({ isSet: true })
      for (let size = 1; size < 12; size += 1) {
        const lumps = (bytes: Buffer) =>
          Array.from({ length: Math.ceil(bytes.length / size) }, (_, n) => bytes.subarray(n * size, (n + 1) * size))
        assert.deepEqual(await ask(read, (echo) => lumps(Buffer.concat([echo, word(size)]))), [size])
        assert.deepEqual(await ask(write, (echo) => lumps(Buffer.concat([echo, echo]))), [])
        assert.equal(await ask(write, lumps), 'timeout')
      }
    })

    test('where people said so, before the first read: also for functions of a device, whose length nobody knows', async () => {
      const { ask, answer } = open({ isSet: true })
      const own: ModbusCall = { fc: 'raw', functionCode: 65, data: Uint8Array.of(1, 2) }
      assert.equal(await ask(own, (echo) => [echo]), 'timeout')
      assert.equal(await ask(own, (echo) => [echo, answer(1, 65, 9)]), '09')
      assert.equal(await ask(write, (echo) => [echo]), 'timeout')
    })

    test('noise before it does not make it a confirmation', async () => {
      const { ask } = open({ isSet: true })
      const noise = Buffer.of(0xff, 0x00)
      assert.equal(await ask(write, (echo) => [Buffer.concat([noise, echo])]), 'timeout')
      assert.deepEqual(await ask(write, (echo) => [noise, Buffer.concat([echo, echo])]), [])
    })

    test('a write alone shows nothing: its answer is its request', async () => {
      const { ask, echo } = open()
      assert.deepEqual(await ask(write, (frame) => [frame]), [])
      assert.equal(echo.state, 'unknown')
    })
  })

  describe(`${name}, a line that does not`, () => {
    test('is known by an answer that comes alone, be it a refusal, and by silence', async () => {
      const facts = [
        [(word: Buffer) => [word], [[5]]],
        [(_: Buffer, refusal: Buffer) => [refusal], ['exception']],
        [() => [], ['timeout']],
      ] as const
      for (const [hears, [outcome]] of facts) {
        const { ask, word, answer, states } = open()
        assert.deepEqual(await ask(read, () => hears(word(5), answer(1, 0x83, 2))), outcome)
        assert.deepEqual(states, ['absent'])
        assert.deepEqual(await ask(write, (echo) => [echo]), [])
      }
    })

    test('silence is no proof against what was seen, an answer alone is', async () => {
      const { ask, word, states } = open()
      await ask(read, (echo) => [echo, word(1)])
      await ask(read, () => [])
      assert.deepEqual(states, ['present'])
      assert.deepEqual(await ask(read, () => [word(2)]), [2])
      assert.deepEqual(states, ['present', 'absent'])
      assert.deepEqual(await ask(write, (echo) => [echo]), [])
    })

    test('a read of bits whose answer equals its request proves nothing, and is answered again and again', async () => {
      for (const isSet of [false, true]) {
        const { ask, states } = open({ isSet })
        const hears = (frame: Buffer) => (isSet ? [frame, frame] : [frame])
        const bits = async () => ((await ask({ fc: 1, address: 0x300, count: 24 }, hears)) as boolean[]).length
        assert.deepEqual([await bits(), await bits(), states], [24, 24, []])
        assert.deepEqual(await ask(write, hears), [], 'and writes are confirmed')
      }
    })

    test('an answer behind noise proves nothing: the noise may have been the echo', async () => {
      const { ask, word, states } = open()
      assert.deepEqual(await ask(read, () => [Buffer.of(0xff, 0x00, 0x13), word(3)]), [3])
      assert.deepEqual(states, [])
    })

    test('a wrong setting never confirms what was not: reads go on, single writes end unanswered', async () => {
      const { ask, word, echo } = open({ isSet: true })
      assert.deepEqual(await ask(read, () => [word(4)]), [4])
      assert.equal(echo.state, 'present')
      assert.equal(await ask(write, (frame) => [frame]), 'timeout')
    })
  })
}

/** Two turns of the event loop, as the line waits for before it believes in silence. */
async function turn(): Promise<void> {
  for (let n = 0; n < 4; n += 1) await new Promise((resolve) => setImmediate(resolve))
}
