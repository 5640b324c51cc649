import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { startVirtualDevice, type VirtualDevice } from '../../../../core/modbus/server/virtual-device.js'
import { createTransport } from '../../../../core/modbus/transport/open.js'
import type { ModbusTransport, TransportError } from '../../../../core/modbus/transport/transport.js'

const full = { timeoutMs: 10_000 }

async function open(device: VirtualDevice): Promise<ModbusTransport> {
  const transport = createTransport(device.endpoint)
  await transport.connect(full)
  return transport
}

async function exceptionOf(promise: Promise<unknown>): Promise<number> {
  const error = (await promise.then(
    () => assert.fail('expected an exception'),
    (reason: unknown) => reason,
  )) as TransportError
  assert.equal(error.failure.kind, 'exception', error.message)
  return error.failure.kind === 'exception' ? error.failure.exceptionCode : 0
}

describe('virtual device', () => {
  let device: VirtualDevice
  let transport: ModbusTransport
  before(async () => {
    device = await startVirtualDevice({
      units: {
        1: {
          holding: { 10: 42 },
          input: [7, 8, 9],
          ranges: {
            holding: [
              [10, 19],
              [20, 29],
            ],
            input: [[0, 2]],
          },
          readOnly: { holding: [[25, 29]] },
        },
        2: { holding: [5], maxRead: 10 },
      },
    })
    transport = await open(device)
  })
  after(async () => {
    await transport.close()
    await device.close()
  })

  test('addresses outside the ranges answer exception 02, ranges that touch share a request', async () => {
    assert.equal((await transport.call(1, { fc: 3, address: 15, count: 15 }, full)).values.length, 15)
    assert.equal(await exceptionOf(transport.call(1, { fc: 3, address: 9, count: 2 }, full)), 2)
    assert.equal(await exceptionOf(transport.call(1, { fc: 3, address: 29, count: 2 }, full)), 2)
    assert.equal(await exceptionOf(transport.call(1, { fc: 6, address: 30, value: 1 }, full)), 2)
    assert.equal(await exceptionOf(transport.call(1, { fc: 4, address: 3, count: 1 }, full)), 2)
  })

  test('a write that touches a read-only address changes nothing at all', async () => {
    assert.equal(await exceptionOf(transport.call(1, { fc: 16, address: 24, values: [1, 2] }, full)), 2)
    assert.equal(device.get(1, 'holding', 24), 0)
    assert.equal(await exceptionOf(transport.call(1, { fc: 22, address: 25, and: 0, or: 1 }, full)), 2)
    const exchange = { fc: 23, readAddress: 10, readCount: 1, writeAddress: 25, values: [1] } as const
    assert.equal(await exceptionOf(transport.call(1, exchange, full)), 2)
  })

  test('a small device refuses large reads with exception 03', async () => {
    assert.equal((await transport.call(2, { fc: 3, address: 0, count: 10 }, full)).values[0], 5)
    assert.equal(await exceptionOf(transport.call(2, { fc: 3, address: 0, count: 11 }, full)), 3)
  })

  test('malformed requests answer exception 03 and change nothing', async () => {
    const raw = (functionCode: number, ...data: number[]) =>
      exceptionOf(transport.call(1, { fc: 'raw', functionCode, data: Uint8Array.from(data) }, full))
    assert.equal(await raw(3, 0, 10, 0, 0), 3)
    assert.equal(await raw(3, 0, 10, 0, 126), 3)
    assert.equal(await raw(3, 0, 10), 3)
    assert.equal(await raw(5, 0, 10, 0x12, 0x34), 3)
    assert.equal(await raw(16, 0, 10, 0, 2, 2, 0, 1), 3)
    assert.equal(await raw(16, 0, 10, 0, 1, 2, 0), 3)
    assert.equal(await raw(15, 0, 10, 0, 9, 1, 0xff), 3)
    assert.equal(await raw(23, 0, 10, 0, 1, 0, 10, 0, 1, 4, 0, 1), 3)
    assert.equal(await raw(8, 0, 0, 0, 0), 1)
    assert.equal(device.get(1, 'holding', 10), 42)
  })

  test('writes of masters are logged and told, changes from inside are not', async () => {
    const told: unknown[] = []
    const stop = device.onWrite(({ at: _, ...write }) => told.push(write))
    const logged = device.log.length
    device.set(1, 'holding', 11, 1)
    await transport.call(1, { fc: 16, address: 12, values: [3, 4] }, full)
    await transport.call(1, { fc: 5, address: 7, value: true }, full)
    await transport.call(1, { fc: 22, address: 12, and: 0, or: 9 }, full)
    stop()
    await transport.call(1, { fc: 6, address: 12, value: 5 }, full)
    assert.deepEqual(told, [
      { unit: 1, type: 'holding', address: 12, values: [3, 4] },
      { unit: 1, type: 'coil', address: 7, values: [1] },
      { unit: 1, type: 'holding', address: 12, values: [9] },
    ])
    assert.equal(device.log.length, logged + 4)
    assert.deepEqual(device.log.at(-1)?.values, [5])
  })

  test('a listener that throws costs the master nothing', async () => {
    const stop = device.onWrite(() => {
      throw new Error('listener')
    })
    await transport.call(1, { fc: 6, address: 12, value: 6 }, full)
    stop()
    assert.equal(device.get(1, 'holding', 12), 6)
  })

  test('a fault with a count is over after it, and applies to its functions only', async () => {
    device.faults.set(1, { kind: 'exception', code: 4, times: 2, functions: [6] })
    assert.equal((await transport.call(1, { fc: 3, address: 10, count: 1 }, full)).values[0], 42)
    for (let round = 0; round < 2; round += 1) {
      assert.equal(await exceptionOf(transport.call(1, { fc: 6, address: 10, value: 42 }, full)), 4)
    }
    await transport.call(1, { fc: 6, address: 10, value: 42 }, full)
  })

  test('a unit that is not there says nothing', async () => {
    await assert.rejects(
      transport.call(9, { fc: 3, address: 0, count: 1 }, { timeoutMs: 50 }),
      (error: TransportError) => error.failure.kind === 'timeout',
    )
  })

  test('what is no Modbus ends the connection and nothing else', async () => {
    const socket = connect(device.port, device.host)
    socket.on('error', () => {})
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n')
    await new Promise((resolve) => socket.once('close', resolve))
    assert.equal((await transport.call(2, { fc: 3, address: 0, count: 1 }, full)).values[0], 5)
  })

  test('identification objects come in parts where one answer cannot hold them', async () => {
    const long = await startVirtualDevice({
      units: { 1: { identification: { 0: 'A'.repeat(120), 1: 'B'.repeat(120), 2: 'C'.repeat(20), 128: 'X' } } },
    })
    const client = await open(long)
    const first = await client.call(1, { fc: 43, deviceIdCode: 1, objectId: 0 }, full)
    assert.deepEqual([...first.data.subarray(3, 6)], [0xff, 2, 2])
    const rest = await client.call(1, { fc: 43, deviceIdCode: 1, objectId: 2 }, full)
    assert.deepEqual([...rest.data.subarray(3, 6)], [0, 0, 1])
    const one = await client.call(1, { fc: 43, deviceIdCode: 4, objectId: 128 }, full)
    assert.equal(one.data.subarray(-1).toString(), 'X')
    assert.equal(await exceptionOf(client.call(1, { fc: 43, deviceIdCode: 4, objectId: 77 }, full)), 2)
    await client.close()
    await long.close()
  })
})

test('a taken port is an error, or moves where it may', async () => {
  const first = await startVirtualDevice({ units: { 1: {} } })
  await assert.rejects(startVirtualDevice({ port: first.port, units: { 1: {} } }), { code: 'PORT_IN_USE' })
  const moved = await startVirtualDevice({ port: first.port, mayMove: true, units: { 1: {} } })
  assert.notEqual(moved.port, first.port)
  await Promise.all([first.close(), first.close(), moved.close()])
})

test('the log keeps the newest writes', async () => {
  const device = await startVirtualDevice({ units: { 1: {} }, logLimit: 10 })
  const transport = await open(device)
  for (let value = 0; value < 35; value += 1) await transport.call(1, { fc: 6, address: 0, value }, full)
  assert.deepEqual(
    device.log.map(({ values }) => values[0]),
    [25, 26, 27, 28, 29, 30, 31, 32, 33, 34],
  )
  await transport.close()
  await device.close()
})

test('closing a device ends delayed answers and open connections', async () => {
  const device = await startVirtualDevice({ units: { 1: {} } })
  const transport = await open(device)
  device.faults.set('*', { kind: 'delay', ms: 60_000 })
  const pending = transport.call(1, { fc: 3, address: 0, count: 1 }, { timeoutMs: 30_000 })
  pending.catch(() => {})
  await wait(20)
  await device.close()
  await assert.rejects(pending, (error: TransportError) => error.failure.kind === 'lost')
  await transport.close()
})

test('500 devices in one process answer 15,000 samples a second with room to spare', async () => {
  const devices = await Promise.all(
    Array.from({ length: 500 }, (_, index) =>
      startVirtualDevice({ units: { 1: { holding: Array.from({ length: 30 }, (_, at) => index + at) } } }),
    ),
  )
  const transports = await Promise.all(devices.map(open))
  const patient = { timeoutMs: 30_000 }
  const started = process.cpuUsage()
  for (let round = 0; round < 3; round += 1) {
    const answers = await Promise.all(transports.map((t) => t.call(1, { fc: 3, address: 0, count: 30 }, patient)))
    answers.forEach(({ values }, index) => {
      assert.equal(values[29], index + 29)
    })
  }
  // Three seconds' worth of the load, in processor time: how long it has to wait for a processor says nothing of it.
  const { user, system } = process.cpuUsage(started)
  assert.ok(user + system < 3_000_000, `${user + system} µs`)
  await Promise.all(transports.map((transport) => transport.close()))
  await Promise.all(devices.map((device) => device.close()))
})
