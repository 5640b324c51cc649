import assert from 'node:assert/strict'
import { createServer, type Server, type Socket } from 'node:net'
import { describe, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { startVirtualDevice } from '../../../../core/modbus/server/virtual-device.js'
import { withCrc } from '../../../../core/modbus/transport/checksum.js'
import { createTransport } from '../../../../core/modbus/transport/open.js'
import type { BusEndpoint, ModbusCall, ModbusTransport } from '../../../../core/modbus/transport/transport.js'
import { TransportError } from '../../../../core/modbus/transport/transport.js'
import { freePort } from '../../support/free-port.js'

const full = { timeoutMs: 10_000 }
const read: ModbusCall = { fc: 3, address: 0, count: 1 }

interface Script {
  readonly server: Server
  readonly sockets: Set<Socket>
  readonly transport: ModbusTransport
  close(): Promise<void>
}

/** A peer that answers what the test says, byte for byte. */
async function scripted(
  kind: 'tcp' | 'rtu_tcp',
  answer: (request: Buffer, socket: Socket) => Buffer | undefined,
  options: { allowHalfOpen?: boolean } = {},
): Promise<Script> {
  const sockets = new Set<Socket>()
  const server = createServer(options, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', (request) => {
      const bytes = answer(request, socket)
      if (bytes !== undefined) socket.write(bytes)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const endpoint: BusEndpoint = { kind, host: '127.0.0.1', port }
  const transport = createTransport(endpoint)
  await transport.connect(full)
  return {
    server,
    sockets,
    transport,
    async close() {
      await transport.close()
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** MBAP around a PDU, with the request's transaction and unit unless told otherwise. */
function mbap(request: Buffer, pdu: readonly number[], overrides: { unit?: number; protocol?: number } = {}): Buffer {
  const frame = Buffer.alloc(7 + pdu.length)
  request.copy(frame, 0, 0, 2)
  frame.writeUInt16BE(overrides.protocol ?? 0, 2)
  frame.writeUInt16BE(pdu.length + 1, 4)
  frame[6] = overrides.unit ?? request[6]!
  frame.set(pdu, 7)
  return frame
}

async function failure(promise: Promise<unknown>): Promise<TransportError['failure']['kind']> {
  const error = await promise.then(
    (value) => assert.fail(`expected a failure, got ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof TransportError, String(error))
  return error.failure.kind
}

describe('answers that modbus-serial takes and we do not', () => {
  const cases: readonly (readonly [string, ModbusCall, (request: Buffer) => Buffer])[] = [
    ['an exception of another unit', read, (request) => mbap(request, [0x83, 2], { unit: 9 })],
    ['values of another unit', read, (request) => mbap(request, [3, 2, 0, 1], { unit: 9 })],
    ['fewer registers than asked for', { ...read, count: 2 }, (request) => mbap(request, [3, 2, 0, 1])],
    ['more registers than asked for', read, (request) => mbap(request, [3, 4, 0, 1, 0, 2])],
    ['a byte count that lies', { ...read, count: 2 }, (request) => mbap(request, [3, 4, 0, 1])],
    ['another function', read, (request) => mbap(request, [4, 2, 0, 1])],
    ['another value in the echo', { fc: 6, address: 1, value: 2 }, (request) => mbap(request, [6, 0, 1, 0, 3])],
    ['another address in the echo', { fc: 16, address: 1, values: [2] }, (request) => mbap(request, [16, 0, 2, 0, 1])],
    [
      'another quantity in the echo',
      { fc: 15, address: 1, values: [true, true] },
      (request) => mbap(request, [15, 0, 1, 0, 1]),
    ],
    ['another state in the echo', { fc: 5, address: 1, value: true }, (request) => mbap(request, [5, 0, 1, 0, 0])],
  ]
  for (const [name, call, answer] of cases) {
    test(name, async () => {
      const peer = await scripted('tcp', answer)
      assert.equal(await failure(peer.transport.call(1, call, full)), 'protocol')
      assert.equal(peer.transport.state, 'open')
      await peer.close()
    })
  }

  test('a protocol id other than 0 ends the connection: the stream can no longer be trusted', async () => {
    const peer = await scripted('tcp', (request) => mbap(request, [3, 2, 0, 1], { protocol: 1 }))
    let lost = 0
    peer.transport.onLost(() => (lost += 1))
    assert.equal(await failure(peer.transport.call(1, read, full)), 'protocol')
    assert.equal(peer.transport.state, 'lost')
    assert.equal(lost, 1)
    await peer.close()
  })

  test('the same over RTU: the line is listened to until the deadline, then it is a protocol failure', async () => {
    const peer = await scripted('rtu_tcp', () => withCrc(Uint8Array.of(1, 3, 4, 0, 1, 0, 2)))
    assert.equal(await failure(peer.transport.call(1, read, { timeoutMs: 300 })), 'protocol')
    await peer.close()
  })

  test('over RTU the right answer behind a wrong one is taken', async () => {
    const peer = await scripted('rtu_tcp', () =>
      Buffer.concat([withCrc(Uint8Array.of(1, 3, 4, 0, 1, 0, 2)), withCrc(Uint8Array.of(1, 3, 2, 0, 7))]),
    )
    assert.deepEqual((await peer.transport.call(1, read, full)).values, [7])
    await peer.close()
  })

  test('over RTU an answer behind bytes that look like a longer one is taken after a silence', async () => {
    // 01 03 F0 might begin an answer of 240 bytes that never comes.
    const peer = await scripted('rtu_tcp', () =>
      Buffer.concat([Uint8Array.of(1, 3, 0xf0), withCrc(Uint8Array.of(1, 3, 2, 0, 7))]),
    )
    assert.deepEqual((await peer.transport.call(1, read, full)).values, [7])
    await peer.close()
  })
})

describe('identification', () => {
  test('a stream in parts is asked for part by part, by the caller', async () => {
    let requests = 0
    const peer = await scripted('tcp', (request) => {
      requests += 1
      return mbap(request, [43, 0x0e, 1, 1, 0xff, 1, 1, 0, 1, 65])
    })
    const { data } = await peer.transport.call(1, { fc: 43, deviceIdCode: 1, objectId: 0 }, full)
    assert.deepEqual([...data], [0x0e, 1, 1, 0xff, 1, 1, 0, 1, 65])
    await wait(20)
    assert.equal(requests, 1)
    await peer.close()
  })
})

describe('many calls', () => {
  test('every id has its turn and comes again: 70,000 calls at 16 in flight get their own values', async () => {
    const units = Object.fromEntries(
      [1, 2, 3].map((unit) => [unit, { holding: Array.from({ length: 200 }, (_, at) => unit * 1_000 + at) }]),
    )
    const device = await startVirtualDevice({ units })
    const transport = createTransport(device.endpoint)
    await transport.connect(full)
    let next = 0
    let wrong = 0
    const worker = async () => {
      while (next < 70_000) {
        const [unit, address] = [(next % 3) + 1, next++ % 200]
        const { values } = await transport.call(unit, { fc: 3, address, count: 1 }, { timeoutMs: 10_000 })
        if (values[0] !== unit * 1_000 + address) wrong += 1
      }
    }
    await Promise.all(Array.from({ length: 16 }, worker))
    assert.equal(wrong, 0)
    await transport.close()
    await device.close()
  })
})

describe('connections', () => {
  test('a refused connection rejects as not sent, and another attempt may follow', async () => {
    const device = await startVirtualDevice({ port: await freePort(), units: { 1: {} } })
    const transport = createTransport(device.endpoint)
    await device.close()
    assert.equal(await failure(transport.connect(full)), 'not_sent')
    assert.equal(transport.state, 'closed')
    assert.equal(await failure(transport.call(1, read, full)), 'not_sent')
    const back = await startVirtualDevice({ port: device.port, units: { 1: { holding: [7] } } })
    await transport.connect(full)
    assert.deepEqual((await transport.call(1, read, full)).values, [7])
    await transport.close()
    await back.close()
  })

  test('connecting ends in time where the other side says nothing', async () => {
    const server = createServer((socket) => socket.on('error', () => {}).resume())
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    const transport = createTransport({ kind: 'tls', host: '127.0.0.1', port })
    assert.equal(await failure(transport.connect({ timeoutMs: 80 })), 'not_sent')
    const abort = new AbortController()
    const pending = failure(transport.connect({ timeoutMs: 60_000, signal: abort.signal }))
    setTimeout(() => abort.abort(), 20)
    assert.equal(await pending, 'not_sent')
    const closing = failure(transport.connect({ timeoutMs: 60_000 }))
    await wait(20)
    await transport.close()
    assert.equal(await closing, 'not_sent')
    assert.equal(transport.state, 'closed')
    await new Promise((resolve) => server.close(resolve))
  })

  test('connecting twice at once is connecting once, and reconnecting leaves no socket behind', async () => {
    const peer = await scripted('tcp', (request) => mbap(request, [3, 2, 0, 1]))
    for (let round = 0; round < 5; round += 1) {
      await peer.transport.close()
      await Promise.all([peer.transport.connect(full), peer.transport.connect(full), peer.transport.connect(full)])
      assert.deepEqual((await peer.transport.call(1, read, full)).values, [1])
    }
    // The server hears of each close in its own time.
    const limit = performance.now() + 10_000
    while (peer.sockets.size > 1 && performance.now() < limit) await wait(5)
    assert.equal(peer.sockets.size, 1)
    await peer.close()
  })

  test('a peer that never closes its side does not hold up close', async () => {
    const peer = await scripted('tcp', () => undefined, { allowHalfOpen: true })
    const started = performance.now()
    await peer.transport.close()
    assert.ok(performance.now() - started < 10_000)
    await peer.close()
  })

  test('a peer that closes its side is gone: reported, pending calls lost', async () => {
    const peer = await scripted('tcp', (_, socket) => {
      socket.end()
      return undefined
    })
    const lost = new Promise<Error>((resolve) => peer.transport.onLost(resolve))
    assert.equal(await failure(peer.transport.call(1, { fc: 6, address: 0, value: 1 }, full)), 'lost')
    assert.match((await lost).message, /closed/)
    assert.equal(peer.transport.state, 'lost')
    await peer.close()
  })

  test('an idle connection that goes away is noticed without a call', async () => {
    const peer = await scripted('tcp', () => undefined)
    const lost = new Promise<Error>((resolve) => peer.transport.onLost(resolve))
    for (const socket of peer.sockets) socket.resetAndDestroy()
    await lost
    assert.equal(await failure(peer.transport.call(1, read, full)), 'not_sent')
    await peer.close()
  })

  test('a serial line that is not there rejects as not sent', async () => {
    const settings = { baudRate: 9_600, parity: 'none', dataBits: 8, stopBits: 1 } as const
    const transport = createTransport({ kind: 'serial_rtu', path: '/dev/routemq-none', ...settings })
    assert.equal(await failure(transport.connect(full)), 'not_sent')
    await transport.close()
  })

  test('a UDP peer that is not there is noticed by its refusal', async () => {
    const device = await startVirtualDevice({ kind: 'udp', units: { 1: {} } })
    const transport = createTransport(device.endpoint)
    await device.close()
    await transport.connect(full)
    assert.equal(await failure(transport.call(1, read, full)), 'lost')
    assert.equal(transport.state, 'lost')
    await transport.close()
  })
})
