import assert from 'node:assert/strict'
import { createServer, Socket } from 'node:net'
import { after, describe, test } from 'node:test'
import jsmodbus from 'jsmodbus'
import { SerialPort } from 'serialport'
import { startVirtualDevice } from '../../../../../core/modbus/server/virtual-device.js'
import { createTransport } from '../../../../../core/modbus/transport/open.js'
import type { BusEndpoint, ModbusTransport } from '../../../../../core/modbus/transport/transport.js'
import { openSerialLine, serialUnavailable } from '../../serial-line.js'
import { talkToPeer } from './peer-contract.js'
import {
  compileLibmodbusServer,
  eventually,
  freePort,
  mbpoll,
  missing,
  type Program,
  probeMbpoll,
  probePymodbus,
  startLibmodbus,
  startPymodbus,
} from './programs.js'

const full = { timeoutMs: 2_000 }
const baudRate = 115_200
const serial = { kind: 'serial_rtu', baudRate, parity: 'none', dataBits: 8, stopBits: 1 } as const

let compiled: Awaited<ReturnType<typeof compileLibmodbusServer>> | undefined
const noLibmodbus = await missing('libmodbus', async () => {
  compiled = await compileLibmodbusServer()
})
const noPymodbus = await missing('python3-pymodbus', probePymodbus)
const noMbpoll = await missing('mbpoll', probeMbpoll)
const noSerial = await serialUnavailable()
after(() => compiled?.remove())

async function withTransport(endpoint: BusEndpoint, run: (transport: ModbusTransport) => Promise<void>): Promise<void> {
  const transport = createTransport(endpoint)
  try {
    await eventually(async () => {
      await transport.connect(full)
      await transport.call(1, { fc: 3, address: 0, count: 1 }, { timeoutMs: 300 })
    })
    await run(transport)
  } finally {
    await transport.close()
  }
}

async function withLine(run: (master: string, slave: string) => Promise<void>): Promise<void> {
  const line = await openSerialLine(2, baudRate)
  try {
    await run(line.paths[0]!, line.paths[1]!)
  } finally {
    await line.close()
  }
}

async function against(program: Program, run: () => Promise<void>): Promise<void> {
  try {
    await run()
  } finally {
    await program.stop()
  }
}

describe('our client against libmodbus', { skip: noLibmodbus ?? false }, () => {
  test('TCP', async () => {
    const program = await startLibmodbus(compiled!.binary, 'tcp')
    await against(program, () => withTransport({ kind: 'tcp', host: '127.0.0.1', port: program.port }, talkToPeer))
  })

  test('TCP, units 0 and 255 are units like others', async () => {
    const program = await startLibmodbus(compiled!.binary, 'tcp')
    await against(program, () =>
      withTransport({ kind: 'tcp', host: '127.0.0.1', port: program.port }, async (transport) => {
        for (const unit of [0, 255]) {
          assert.deepEqual((await transport.call(unit, { fc: 3, address: 5, count: 1 }, full)).values, [1005])
        }
      }),
    )
  })

  test('serial RTU', { skip: noSerial ?? false }, () =>
    withLine(async (master, slave) => {
      const program = await startLibmodbus(compiled!.binary, 'rtu', slave, String(baudRate), '1')
      await against(program, () => withTransport({ ...serial, path: master }, talkToPeer))
    }),
  )
})

describe('our client against pymodbus', { skip: noPymodbus ?? false }, () => {
  const kinds = [
    ['tcp', 'socket', 'tcp'],
    ['udp', 'socket', 'udp'],
    ['tcp', 'rtu', 'rtu_tcp'],
    ['tcp', 'ascii', 'ascii_tcp'],
  ] as const
  for (const [server, framer, kind] of kinds) {
    test(kind, async () => {
      const port = await freePort()
      await against(startPymodbus(server, framer, String(port)), () =>
        withTransport({ kind, host: '127.0.0.1', port }, talkToPeer),
      )
    })
  }

  for (const [framer, kind] of [
    ['rtu', 'serial_rtu'],
    ['ascii', 'serial_ascii'],
  ] as const) {
    test(kind, { skip: noSerial ?? false }, () =>
      withLine((master, slave) =>
        against(startPymodbus('serial', framer, slave, String(baudRate)), () =>
          withTransport({ ...serial, kind, path: master }, talkToPeer),
        ),
      ),
    )
  }
})

describe('mbpoll as master of our server', { skip: noMbpoll ?? false }, () => {
  const units = {
    1: { holding: { 10: 42, 11: 43 }, input: { 3: 7 }, coils: { 5: 1 }, ranges: { input: [[0, 9]] as const } },
  }

  async function talk(options: readonly string[], target: string, get: (address: number) => number): Promise<void> {
    const poll = (...args: string[]) => mbpoll(...options, '-o', '5', '-a', '1', '-0', '-1', ...args)
    const read = await poll('-t', '4', '-r', '10', '-c', '2', target)
    assert.match(read, /\[10\]:\s+42\s+\[11\]:\s+43/)
    assert.match(await poll('-t', '3', '-r', '3', target), /\[3\]:\s+7/)
    assert.match(await poll('-t', '0', '-r', '5', target), /\[5\]:\s+1/)
    await poll('-t', '4', '-r', '20', target, '7', '8')
    await poll('-t', '4', '-r', '22', target, '9')
    assert.deepEqual([20, 21, 22].map(get), [7, 8, 9])
    await assert.rejects(poll('-t', '3', '-r', '9', '-c', '2', target))
  }

  test('TCP', async () => {
    const device = await startVirtualDevice({ units })
    await talk(['-m', 'tcp', '-p', String(device.port)], '127.0.0.1', (address) => device.get(1, 'holding', address))
    await device.close()
  })

  test('serial RTU', { skip: noSerial ?? false }, () =>
    withLine(async (master, slave) => {
      const device = await startVirtualDevice({ line: { ...serial, path: slave }, units })
      const options = ['-m', 'rtu', '-b', String(baudRate), '-P', 'none']
      await talk(options, master, (address) => device.get(1, 'holding', address))
      await device.close()
    }),
  )
})

describe('jsmodbus', () => {
  test('its client against our server, TCP', async () => {
    const device = await startVirtualDevice({ units: { 1: { holding: [10, 11, 12], coils: [1, 0, 1] } } })
    const socket = new Socket()
    const client = new jsmodbus.client.TCP(socket, 1)
    await new Promise<void>((resolve) => socket.connect({ host: device.host, port: device.port }, resolve))
    await talkAsJsmodbus(client)
    assert.deepEqual([device.get(1, 'holding', 5), device.get(1, 'coil', 9)], [55, 1])
    await new Promise((resolve) => socket.once('close', resolve).end())
    await device.close()
  })

  test('its client against our server, serial RTU', { skip: noSerial ?? false }, () =>
    withLine(async (master, slave) => {
      const device = await startVirtualDevice({
        line: { ...serial, path: slave },
        units: { 1: { holding: [10, 11, 12], coils: [1, 0, 1] } },
      })
      const port = new SerialPort({ path: master, baudRate })
      await new Promise((resolve) => port.once('open', resolve))
      await talkAsJsmodbus(new jsmodbus.client.RTU(port, 1))
      assert.deepEqual([device.get(1, 'holding', 5), device.get(1, 'coil', 9)], [55, 1])
      await new Promise((resolve) => port.close(resolve))
      await device.close()
    }),
  )

  test('our client against its server, TCP', async () => {
    const listener = createServer()
    const holding = Buffer.alloc(2_000)
    for (let address = 0; address < 1_000; address += 1) holding.writeUInt16BE(1000 + address, address * 2)
    new jsmodbus.server.TCP(listener, { holding, input: holding, coils: Buffer.alloc(250, 0b01010101) })
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
    const { port } = listener.address() as { port: number }
    await withTransport({ kind: 'tcp', host: '127.0.0.1', port }, async (transport) => {
      const read = (fc: 3 | 4, address: number, count: number) => transport.call(1, { fc, address, count }, full)
      assert.deepEqual((await read(3, 5, 3)).values, [1005, 1006, 1007])
      assert.equal((await read(4, 0, 125)).values.at(-1), 1124)
      const coils = await transport.call(1, { fc: 1, address: 0, count: 3 }, full)
      assert.deepEqual(coils.values, [true, false, true])
      await transport.call(1, { fc: 6, address: 50, value: 77 }, full)
      await transport.call(1, { fc: 16, address: 51, values: [78, 79] }, full)
      assert.deepEqual((await read(3, 50, 3)).values, [77, 78, 79])
    })
    await new Promise((resolve) => listener.close(resolve))
  })
})

interface JsmodbusClient {
  readHoldingRegisters(start: number, count: number): Promise<{ response: { body: { valuesAsArray: unknown } } }>
  readCoils(start: number, count: number): Promise<{ response: { body: { valuesAsArray: unknown } } }>
  writeSingleRegister(address: number, value: number): Promise<unknown>
  writeSingleCoil(address: number, value: boolean): Promise<unknown>
}

async function talkAsJsmodbus(client: JsmodbusClient): Promise<void> {
  const registers = await client.readHoldingRegisters(0, 3)
  assert.deepEqual([...(registers.response.body.valuesAsArray as number[])], [10, 11, 12])
  const coils = await client.readCoils(0, 3)
  assert.deepEqual([...(coils.response.body.valuesAsArray as number[])].slice(0, 3), [1, 0, 1])
  await client.writeSingleRegister(5, 55)
  await client.writeSingleCoil(9, true)
}
