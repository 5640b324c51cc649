import assert from 'node:assert/strict'
import { after, afterEach, before, describe, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import type { VirtualDevice } from '../../../../core/modbus/server/virtual-device.js'
import {
  type BusEndpoint,
  type ModbusCall,
  type ModbusTransport,
  TransportError,
  type TransportFailure,
} from '../../../../core/modbus/transport/transport.js'
import { until } from '../../support/until.js'

export interface Bench {
  readonly device: VirtualDevice
  readonly transport: ModbusTransport
  /** What the transport was made for, where tests make others like it. */
  readonly endpoint?: BusEndpoint
  close(): Promise<void>
}

export interface Traits {
  /** Why the transport cannot be tested here, printed. */
  readonly unavailable?: string | undefined
  /** Frames are datagrams: nothing that goes wrong with one spoils the next. */
  readonly datagrams?: true
  /** Why the connection cannot be dropped by the peer. */
  readonly cannotReset?: string
}

/** What the bench's device holds in units 1 and 2; each register differs between units and addresses. */
export const UNITS = {
  0: { holding: { 5: 500 } },
  1: {
    holding: Object.fromEntries(Array.from({ length: 200 }, (_, address) => [address, 1000 + address])),
    input: { 7: 707 },
    coils: { 0: 1, 3: 1, 12: 1 },
    discrete: { 2: 1 },
    ranges: { input: [[0, 99]] as const },
  },
  2: { holding: { 0: 2000, 1: 2001 } },
}

/** One suite for every transport: what the bus above may rely on. */
export function transportContract(name: string, open: () => Promise<Bench>, traits: Traits = {}): void {
  /** No answer takes as long, also where the line of the test is a process that has to wait for its turn. */
  const timeoutMs = 10_000
  const full = { timeoutMs }
  /** For calls that are meant to end without an answer. */
  const brief = { timeoutMs: 80 }
  /** Longer than anything late takes to arrive, also on a machine that stands still for a moment: lines without ids rely on it. */
  const graceMs = 500

  describe(`transport ${name}`, { concurrency: false, skip: traits.unavailable ?? false }, () => {
    let bench: Bench
    const call = (unit: number, request: ModbusCall, options: { timeoutMs: number; signal?: AbortSignal } = full) =>
      bench.transport.call(unit, request, options)
    const holding = async (unit: number, address: number, count = 1) =>
      (await call(unit, { fc: 3, address, count })).values
    const fails = async (promise: Promise<unknown>, ...kinds: TransportFailure['kind'][]) => {
      const error = await promise.then(
        (value) => assert.fail(`expected ${kinds.join(' or ')}, got ${JSON.stringify(value)}`),
        (reason: unknown) => reason,
      )
      assert.ok(error instanceof TransportError, String(error))
      assert.ok(kinds.includes(error.failure.kind), `${error.failure.kind}: ${error.message}`)
      return error
    }
    /** After a time-out: lets late bytes come in, throws them away, opens again where the connection went. */
    const settle = async (ms: number) => {
      if (!bench.transport.hasTransactionIds) await wait(ms)
      bench.transport.discardInput()
      await bench.transport.connect(full)
    }

    /** A request reached the device, which had carried out so many before. */
    const arrived = async (served: number) => {
      await until(() => bench.device.requests > served)
    }

    before(async () => {
      bench = await open()
      await bench.transport.connect(full)
    })
    afterEach(async () => {
      bench.device.faults.clear()
      await settle(0)
    })
    after(() => bench.close())

    test('reads every kind of register', async () => {
      assert.deepEqual(await holding(1, 10, 3), [1010, 1011, 1012])
      assert.deepEqual((await call(1, { fc: 4, address: 6, count: 3 })).values, [0, 707, 0])
      assert.deepEqual((await call(1, { fc: 1, address: 0, count: 5 })).values, [true, false, false, true, false])
      assert.deepEqual((await call(1, { fc: 2, address: 1, count: 2 })).values, [false, true])
    })

    test('reads the largest blocks the protocol has', async () => {
      const words = await holding(1, 0, 125)
      assert.equal(words.length, 125)
      assert.deepEqual([words[0], words[124]], [1000, 1124])
      const bits = (await call(1, { fc: 1, address: 0, count: 2000 })).values
      assert.equal(bits.length, 2000)
      assert.deepEqual(
        bits.flatMap((bit, address) => (bit ? [address] : [])),
        [0, 3, 12],
      )
    })

    test('writes with every function, and the device holds it', async () => {
      const { device } = bench
      await call(1, { fc: 6, address: 300, value: 0xbeef })
      await call(1, { fc: 16, address: 301, values: [1, 0xffff] })
      await call(1, { fc: 5, address: 20, value: true })
      await call(1, { fc: 15, address: 21, values: [true, false, true] })
      await call(1, { fc: 22, address: 300, and: 0xff00, or: 0x0012 })
      const read = [300, 301, 302].map((address) => device.get(1, 'holding', address))
      assert.deepEqual(read, [0xbe12, 1, 0xffff])
      assert.deepEqual(
        [20, 21, 22, 23].map((address) => device.get(1, 'coil', address)),
        [1, 1, 0, 1],
      )
      const exchange = { fc: 23, readAddress: 301, readCount: 2, writeAddress: 302, values: [7] } as const
      assert.deepEqual((await call(1, exchange)).values, [1, 7])
    })

    test('reports the identity of the device', async () => {
      assert.equal((await call(1, { fc: 17 })).data.subarray(3).toString(), 'RouteMQ virtual device')
      const { data } = await call(1, { fc: 43, deviceIdCode: 1, objectId: 0 })
      assert.equal(data.subarray(8, 15).toString(), 'RouteMQ')
    })

    test('sends a raw request as it is', async () => {
      const { data, values } = await call(1, { fc: 'raw', functionCode: 3, data: Uint8Array.of(0, 10, 0, 1) })
      assert.deepEqual([...data], [2, 0x03, 0xf2])
      assert.deepEqual(values, [])
    })

    test('an exception is told by its code, and the next call works', async () => {
      const error = await fails(call(1, { fc: 4, address: 99, count: 2 }), 'exception')
      assert.deepEqual(error.failure, { kind: 'exception', exceptionCode: 2 })
      const unknown = await fails(call(1, { fc: 'raw', functionCode: 65, data: Uint8Array.of(1) }), 'exception')
      assert.deepEqual(unknown.failure, { kind: 'exception', exceptionCode: 1 })
      bench.device.faults.set(1, { kind: 'exception', code: 6, times: 1 })
      const busy = await fails(call(1, { fc: 6, address: 1, value: 1 }), 'exception')
      assert.deepEqual(busy.failure, { kind: 'exception', exceptionCode: 6 })
      assert.deepEqual(await holding(1, 1), [1001])
    })

    test('what the protocol cannot carry is refused before it is sent', async () => {
      const { device } = bench
      const served = device.requests
      const bad: ModbusCall[] = [
        { fc: 3, address: 0, count: 0 },
        { fc: 3, address: 0, count: 126 },
        { fc: 4, address: 0, count: 500 },
        { fc: 3, address: 65_535, count: 2 },
        { fc: 3, address: -1, count: 1 },
        { fc: 3, address: 0.5, count: 1 },
        { fc: 1, address: 0, count: 2001 },
        { fc: 6, address: 0, value: 65_536 },
        { fc: 6, address: 0, value: -1 },
        { fc: 6, address: 0, value: Number.NaN },
        { fc: 15, address: 0, values: [] },
        { fc: 15, address: 0, values: Array(1969).fill(true) },
        { fc: 16, address: 0, values: [] },
        { fc: 16, address: 0, values: Array(124).fill(0) },
        { fc: 22, address: 0, and: 65_536, or: 0 },
        { fc: 23, readAddress: 0, readCount: 1, writeAddress: 0, values: Array(122).fill(0) },
        { fc: 'raw', functionCode: 128, data: new Uint8Array() },
        { fc: 'raw', functionCode: 3, data: new Uint8Array(253) },
      ]
      for (const request of bad) {
        const error = await fails(call(1, request), 'not_sent')
        assert.ok(error.cause instanceof RangeError)
      }
      await fails(call(256, { fc: 3, address: 0, count: 1 }), 'not_sent')
      assert.equal(device.requests, served)
    })

    test('a device that says nothing ends in a time-out, and the next call works', async () => {
      bench.device.faults.set(1, { kind: 'silence', times: 1 })
      await fails(call(1, { fc: 3, address: 0, count: 1 }, brief), 'timeout')
      await settle(graceMs)
      assert.deepEqual(await holding(1, 1), [1001])
    })

    test('an answer after the time-out never becomes the answer to a later call', async () => {
      const { device, transport } = bench
      for (let round = 0; round < 3; round += 1) {
        device.faults.set(1, { kind: 'delay', ms: 300, times: 1 })
        await fails(call(1, { fc: 3, address: 100, count: 1 }, brief), 'timeout')
        await settle(graceMs)
        assert.deepEqual(await holding(1, 20), [1020])
        if (transport.hasTransactionIds) {
          await wait(270)
          assert.deepEqual(await holding(1, 21), [1021])
        }
      }
    })

    test('an answer of another unit is not taken', async () => {
      bench.device.faults.set(1, { kind: 'wrong_unit' })
      await fails(call(1, { fc: 3, address: 0, count: 1 }, brief), 'timeout', 'protocol')
      await settle(graceMs)
      bench.device.faults.set(1, { kind: 'exception', code: 2 })
      await fails(call(1, { fc: 3, address: 0, count: 1 }), 'exception')
    })

    test('an answer of another function is not taken', async () => {
      bench.device.faults.set(1, { kind: 'wrong_function' })
      await fails(call(1, { fc: 3, address: 0, count: 1 }, brief), 'timeout', 'protocol')
      await settle(graceMs)
    })

    test('a duplicated answer serves one call', async () => {
      bench.device.faults.set(1, { kind: 'duplicate' })
      for (const address of [3, 4, 5]) assert.deepEqual(await holding(1, address), [1000 + address])
    })

    test('an answer in pieces is put together', { skip: traits.datagrams && 'datagrams arrive whole' }, async () => {
      for (const at of [1, 2, 3, 6]) {
        bench.device.faults.set(1, { kind: 'split', at, ms: 30, times: 1 })
        assert.deepEqual(await holding(1, 40, 10), [1040, 1041, 1042, 1043, 1044, 1045, 1046, 1047, 1048, 1049])
      }
    })

    test('noise in front of an answer gives the right values or none', async () => {
      bench.device.faults.set(1, { kind: 'babble' })
      for (let round = 0; round < 5; round += 1) {
        await bench.transport.connect(full)
        await call(1, { fc: 3, address: 50, count: 4 }, { timeoutMs: 150 }).then(
          ({ values }) => assert.deepEqual(values, [1050, 1051, 1052, 1053]),
          (error: TransportError) => assert.match(error.failure.kind, /^(timeout|protocol|lost)$/),
        )
      }
      bench.device.faults.clear()
      await settle(graceMs)
      assert.deepEqual(await holding(1, 50), [1050])
    })

    test('a damaged answer is never taken, whatever comes after it', async () => {
      bench.device.faults.set(1, { kind: 'bad_checksum', times: 1 })
      await fails(call(1, { fc: 3, address: 60, count: 2 }, brief), 'timeout', 'protocol')
      bench.transport.discardInput()
      await call(1, { fc: 3, address: 61, count: 2 }, brief).then(
        ({ values }) => assert.deepEqual(values, [1061, 1062]),
        (error: TransportError) => assert.match(error.failure.kind, /^(timeout|protocol|lost)$/),
      )
      await bench.transport.close()
      await bench.transport.connect(full)
      assert.deepEqual(await holding(1, 62), [1062])
    })

    test('aborted before sending: provably not sent', async () => {
      const served = bench.device.requests
      await fails(call(1, { fc: 6, address: 0, value: 1 }, { timeoutMs, signal: AbortSignal.abort() }), 'not_sent')
      assert.equal(bench.device.requests, served)
    })

    test('aborted after sending: rejects at once, and the next call works', async () => {
      const served = bench.device.requests
      bench.device.faults.set(1, { kind: 'silence', times: 1 })
      const abort = new AbortController()
      const pending = call(1, { fc: 3, address: 0, count: 1 }, { timeoutMs: 60_000, signal: abort.signal })
      pending.catch(() => {})
      await arrived(served)
      abort.abort()
      await fails(pending, 'aborted')
      await settle(graceMs)
      assert.deepEqual(await holding(1, 9), [1009])
    })

    test('units are told apart', async () => {
      assert.deepEqual([await holding(2, 0), await holding(1, 0), await holding(2, 1)], [[2000], [1000], [2001]])
    })

    test('no more calls in flight than allowed; all of them get their own answer', async () => {
      const { maxInFlight, hasTransactionIds } = bench.transport
      assert.equal(maxInFlight, hasTransactionIds ? 16 : 1)
      const calls = Array.from({ length: maxInFlight }, (_, address) => holding(1, 70 + address))
      await fails(call(1, { fc: 3, address: 0, count: 1 }), 'not_sent')
      assert.deepEqual(
        await Promise.all(calls),
        Array.from({ length: maxInFlight }, (_, address) => [1070 + address]),
      )
    })

    test('unit 0 is broadcast where frames carry no id, a unit like others where they do', async () => {
      const { device, transport } = bench
      if (transport.hasTransactionIds) {
        assert.deepEqual(await holding(0, 5), [500])
        return
      }
      await call(0, { fc: 6, address: 400, value: 4 })
      await wait(graceMs)
      assert.deepEqual([device.get(1, 'holding', 400), device.get(2, 'holding', 400)], [4, 4])
      await fails(call(0, { fc: 3, address: 0, count: 1 }), 'not_sent')
      assert.deepEqual(await holding(1, 8), [1008])
    })

    test('a connection dropped by the peer is reported once, ends what is pending and can be opened again', {
      skip: traits.cannotReset ?? false,
    }, async () => {
      const { device, transport } = bench
      const causes: Error[] = []
      transport.onLost((cause) => causes.push(cause))
      device.faults.set(1, { kind: 'reset', times: 1 })
      await fails(call(1, { fc: 6, address: 0, value: 1000 }), 'lost')
      assert.equal(transport.state, 'lost')
      assert.equal(causes.length, 1)
      await fails(call(1, { fc: 3, address: 0, count: 1 }), 'not_sent')
      await transport.connect(full)
      assert.equal(transport.state, 'open')
      assert.deepEqual(await holding(1, 0), [1000])
      assert.equal(causes.length, 1)
    })

    test('close ends what is pending as lost, twice is once, and nothing is sent after it', async () => {
      const { device, transport } = bench
      let lost = 0
      transport.onLost(() => (lost += 1))
      device.faults.set(1, { kind: 'silence', times: 1 })
      const served = device.requests
      const pending = fails(call(1, { fc: 3, address: 0, count: 1 }, { timeoutMs: 60_000 }), 'lost')
      await arrived(served)
      const started = performance.now()
      await Promise.all([transport.close(), transport.close()])
      assert.ok(performance.now() - started < 10_000, 'it does not wait for the peer')
      await pending
      assert.equal(transport.state, 'closed')
      await fails(call(1, { fc: 3, address: 0, count: 1 }), 'not_sent')
      device.faults.clear()
      await settle(graceMs)
      assert.deepEqual(await holding(1, 30), [1030])
      assert.equal(lost, 0)
    })
  })
}
