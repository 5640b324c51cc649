import assert from 'node:assert/strict'
import type { ModbusTransport, TransportError } from '../../../../../core/modbus/transport/transport.js'

const full = { timeoutMs: 2_000 }

/** What every independent server must say to our client: holding a = 1000 + a, input 2000 + a, every 3rd coil on. */
export async function talkToPeer(transport: ModbusTransport, skip: readonly number[] = []): Promise<void> {
  const words = async (fc: 3 | 4, address: number, count: number) =>
    (await transport.call(1, { fc, address, count }, full)).values
  const sequence = (first: number, count: number) => Array.from({ length: count }, (_, index) => first + index)

  assert.deepEqual(await words(3, 0, 1), [1000])
  assert.deepEqual(await words(3, 100, 125), sequence(1100, 125))
  assert.deepEqual(await words(4, 7, 3), sequence(2007, 3))
  const coils = await transport.call(1, { fc: 1, address: 3, count: 11 }, full)
  assert.deepEqual(
    coils.values,
    sequence(3, 11).map((address) => address % 3 === 0),
  )
  const inputs = await transport.call(1, { fc: 2, address: 0, count: 2_000 }, full)
  assert.deepEqual(
    inputs.values,
    sequence(0, 2_000).map((address) => address % 5 === 0),
  )

  await transport.call(1, { fc: 6, address: 500, value: 0xabcd }, full)
  await transport.call(1, { fc: 16, address: 501, values: sequence(7, 123) }, full)
  assert.deepEqual(await words(3, 500, 124), [0xabcd, ...sequence(7, 123)])
  await transport.call(1, { fc: 5, address: 1_000, value: true }, full)
  await transport.call(1, { fc: 15, address: 1_001, values: [true, false, true] }, full)
  const written = await transport.call(1, { fc: 1, address: 1_000, count: 4 }, full)
  assert.deepEqual(written.values, [true, true, false, true])
  if (!skip.includes(22)) {
    await transport.call(1, { fc: 6, address: 700, value: 0x1234 }, full)
    await transport.call(1, { fc: 22, address: 700, and: 0xff00, or: 0x0056 }, full)
    assert.deepEqual(await words(3, 700, 1), [0x1256])
  }
  if (!skip.includes(23)) {
    const exchange = { fc: 23, readAddress: 700, readCount: 2, writeAddress: 701, values: [0x77] } as const
    assert.equal((await transport.call(1, exchange, full)).values[1], 0x77)
  }
  await assert.rejects(words(3, 60_000, 1), (error: TransportError) => {
    assert.deepEqual(error.failure, { kind: 'exception', exceptionCode: 2 })
    return true
  })
  assert.deepEqual(await words(3, 1, 2), [1001, 1002])
}
