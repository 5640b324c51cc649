import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'

/**
 * A Modbus TCP device whose registers all hold the number of the read that they are in, 0 to 65535 and round again: what
 * was read can be counted in what was kept, without believing anything the product says. Knows function 3 only.
 */
export class CountingDevice {
  readonly port: number
  /** Reads answered. */
  reads = 0
  /** When each read was answered, milliseconds of the wall clock. */
  readonly answeredAt: number[] = []

  private constructor(port: number) {
    this.port = port
  }

  static async start(t: TestContext): Promise<CountingDevice> {
    const sockets = new Set<Socket>()
    const server = createServer((socket) => {
      sockets.add(socket)
      socket.setNoDelay(true)
      socket.on('close', () => sockets.delete(socket))
      socket.on('error', () => socket.destroy()) // its master was killed
      let rest = Buffer.alloc(0)
      socket.on('data', (data) => {
        rest = Buffer.concat([rest, data])
        while (rest.length >= 12) {
          socket.write(device.#answer(rest.subarray(0, 12)))
          rest = rest.subarray(12)
        }
      })
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const device = new CountingDevice((server.address() as AddressInfo).port)
    t.after(() => {
      server.close()
      for (const socket of sockets) socket.destroy()
    })
    return device
  }

  /** MBAP header, unit, function 3, byte count, registers (Modbus Messaging on TCP/IP, 3.1.3). */
  #answer(request: Buffer): Buffer {
    const count = request.readUInt16BE(10)
    const answer = Buffer.alloc(9 + count * 2)
    request.copy(answer, 0, 0, 8)
    answer.writeUInt16BE(3 + count * 2, 4)
    answer[8] = count * 2
    for (let register = 0; register < count; register++) answer.writeUInt16BE(this.reads % 65_536, 9 + register * 2)
    this.reads += 1
    this.answeredAt.push(Date.now())
    return answer
  }
}
