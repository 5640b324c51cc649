import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { after, describe, test } from 'node:test'
import jsmodbus from 'jsmodbus'
import { SerialPort } from 'serialport'
import { normalizeDevice } from '../../../../../core/modbus/device-schema.js'
import type { WriteItem, WriteResult } from '../../../../../core/modbus/field.js'
import { FieldService } from '../../../../../core/modbus/field-service.js'
import { failure } from '../../field-harness.js'
import { FIELD_SETTINGS } from '../../field-settings.js'
import { openSerialLine, serialUnavailable } from '../../serial-line.js'
import {
  compileLibmodbusServer,
  eventually,
  freePort,
  missing,
  probePymodbus,
  startLibmodbus,
  startPymodbus,
} from './programs.js'

const baudRate = 115_200

let compiled: Awaited<ReturnType<typeof compileLibmodbusServer>> | undefined
const noLibmodbus = await missing('libmodbus', async () => {
  compiled = await compileLibmodbusServer()
})
const noPymodbus = await missing('python3-pymodbus', probePymodbus)
const noSerial = await serialUnavailable()
after(() => compiled?.remove())

const POINTS = [
  { name: 'flow', address: 800, type: 'float32', access: 'rw', unit: 'm3/h' },
  { name: 'total', address: 804, type: 'int64', order: 'DCBA', access: 'rw' },
  { name: 'level', address: 810, type: 'int16', scale: 0.1, access: 'rw' },
]

type Fields = Readonly<Record<string, unknown>>
interface Peer {
  readonly record: Fields
  stop(): Promise<unknown>
}

/** What a gateway does with a device, against a server that somebody else wrote: holding a is 1000 + a, every 3rd coil on. */
async function useDevice({ record, stop }: Peer, traits: { noRefusals?: string } = {}) {
  const field = new FieldService({
    ...FIELD_SETTINGS,
    config: { ...FIELD_SETTINGS.config, breaker: { failures: 100, recoveryMs: 1_000 } },
  })
  try {
    const device_id = 'peer'
    const device = { device_id, slave_id: 1, timeout_ms: 2_000, max_retries: 2, points: POINTS, ...record }
    field.apply([normalizeDevice(device)])
    await field.start()
    const read = async (register_type: 'holding' | 'input' | 'coil' | 'discrete', address: number, count: number) =>
      (await field.request({ op: 'read', device_id, register_type, address, count })).values
    const write = async (...items: WriteItem[]) => {
      const { results } = await field.request({ op: 'write', device_id, items })
      return results.map(({ outcome }: WriteResult) => outcome)
    }
    // A server may need a moment to listen; nothing before it is counted.
    await eventually(() => read('holding', 0, 1))

    assert.deepEqual(await read('holding', 10, 3), [1010, 1011, 1012])
    assert.deepEqual(
      await read('holding', 100, 125),
      Array.from({ length: 125 }, (_, at) => 1_100 + at),
    )
    assert.deepEqual(await read('coil', 3, 4), [true, false, false, true])
    assert.deepEqual(await read('input', 7, 2), [2007, 2008])
    assert.deepEqual(await read('discrete', 4, 3), [false, true, false])
    const written = await write(
      { register_type: 'holding', address: 500, values: [7] },
      { register_type: 'holding', address: 600, values: [8, 9, 0xffff] },
      { register_type: 'coil', address: 900, values: [true] },
      { register_type: 'coil', address: 901, values: [true, false, true] },
      { point: 'flow', value: 12.5 },
      { point: 'total', value: '-9007199254740993' },
      { point: 'level', value: -3.7 },
    )
    assert.deepEqual(
      written,
      Array.from({ length: 7 }, () => 'ok'),
    )
    assert.deepEqual([await read('holding', 500, 1), await read('holding', 600, 3)], [[7], [8, 9, 0xffff]])
    assert.deepEqual(await read('coil', 900, 4), [true, true, false, true])
    const { points } = await field.request({ op: 'read_points', device_id, points: ['flow', 'total', 'level'] })
    assert.deepEqual(
      points.map(({ value, quality }) => [value, quality]),
      [
        [12.5, 'good'],
        ['-9007199254740993', 'good'],
        [-3.7, 'good'],
      ],
    )
    if (traits.noRefusals === undefined) {
      assert.equal((await failure(read('holding', 60_000, 1))).code, 'MODBUS_ILLEGAL_ADDRESS')
      const refused = await failure(write({ register_type: 'holding', address: 60_000, values: [1] }))
      assert.equal((refused.details.results as WriteResult[])[0]!.outcome, 'rejected')
    }
    // Twenty at once: through the queue of the bus, each gets its own.
    const many = await Promise.all(Array.from({ length: 20 }, (_, at) => read('holding', 20 + at, 2)))
    assert.deepEqual(
      many,
      Array.from({ length: 20 }, (_, at) => [1_020 + at, 1_021 + at]),
    )
  } finally {
    await field.stop(500)
    await stop()
  }
}

const onPort = (port: number, more: Fields = {}): Fields => ({ host: '127.0.0.1', port, framer: 'SOCKET', ...more })

/** A line with our master on one end; `serve` puts the peer on the other. */
async function onLine(
  framer: 'RTU' | 'ASCII',
  serve: (path: string) => Promise<() => Promise<unknown>>,
): Promise<Peer> {
  const line = await openSerialLine(2, baudRate)
  const stop = await serve(line.paths[1]!)
  return {
    record: { transport: 'serial', framer, path: line.paths[0]!, baud_rate: baudRate, parity: 'none' },
    stop: async () => {
      await stop()
      await line.close()
    },
  }
}

describe('the field service against libmodbus', { skip: noLibmodbus ?? false }, () => {
  test('TCP', async () => {
    const program = await startLibmodbus(compiled!.binary, 'tcp')
    await useDevice({ record: onPort(program.port), stop: () => program.stop() })
  })

  test('serial RTU', { skip: noSerial ?? false }, async () => {
    const peer = await onLine('RTU', async (path) => {
      const program = await startLibmodbus(compiled!.binary, 'rtu', path, String(baudRate), '1')
      return () => program.stop()
    })
    await useDevice(peer)
  })
})

describe('the field service against pymodbus', { skip: noPymodbus ?? false }, () => {
  for (const [name, server, framer, record] of [
    ['TCP', 'tcp', 'socket', {}],
    ['TCP, two connections with four requests each', 'tcp', 'socket', { options: { in_flight: 4, connections: 2 } }],
    ['UDP', 'udp', 'socket', { transport: 'udp' }],
    ['RTU over TCP', 'tcp', 'rtu', { framer: 'RTU' }],
    ['ASCII over TCP', 'tcp', 'ascii', { framer: 'ASCII' }],
  ] as const) {
    test(name, async () => {
      const port = await freePort()
      const program = startPymodbus(server, framer, String(port))
      await useDevice({ record: onPort(port, record), stop: () => program.stop() })
    })
  }

  for (const framer of ['RTU', 'ASCII'] as const) {
    test(`serial ${framer}`, { skip: noSerial ?? false }, async () => {
      const peer = await onLine(framer, async (path) => {
        const program = startPymodbus('serial', framer.toLowerCase(), path, String(baudRate))
        return () => program.stop()
      })
      await useDevice(peer)
    })
  }
})

describe('the field service against jsmodbus', () => {
  const traits = { noRefusals: 'its server answers addresses beyond its memory with nothing it holds' }
  const memory = () => {
    const words = (first: number) => {
      const buffer = Buffer.alloc(2_000)
      for (let address = 0; address < 1_000; address += 1) buffer.writeUInt16BE(first + address, address * 2)
      return buffer
    }
    const bits = (every: number) => {
      const buffer = Buffer.alloc(250)
      for (let address = 0; address < 2_000; address += every) buffer[address >> 3]! |= 1 << (address & 7)
      return buffer
    }
    return { holding: words(1_000), input: words(2_000), coils: bits(3), discrete: bits(5) }
  }

  test('TCP', async () => {
    const listener = createServer()
    new jsmodbus.server.TCP(listener, memory())
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
    const { port } = listener.address() as { port: number }
    await useDevice({ record: onPort(port), stop: () => new Promise((resolve) => listener.close(resolve)) }, traits)
  })

  test('serial RTU', { skip: noSerial ?? false }, async () => {
    const peer = await onLine('RTU', async (path) => {
      const port = new SerialPort({ path, baudRate })
      await new Promise((resolve) => port.once('open', resolve))
      new jsmodbus.server.RTU(port, memory())
      return () => new Promise((resolve) => port.close(resolve))
    })
    await useDevice(peer, traits)
  })
})
