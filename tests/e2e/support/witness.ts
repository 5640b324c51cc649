import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { startVirtualDevice, type VirtualDevice } from '../../../core/modbus/server/virtual-device.js'

/** A virtual device behind a door that counts who is inside: the independent witness of who has a bus open. */
export class Witness {
  readonly device: VirtualDevice
  readonly port: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #inside = new Set<Socket>()
  /** Connections since the start, and the most at one time. */
  connections = 0
  most = 0

  private constructor(device: VirtualDevice, server: Server) {
    this.device = device
    this.#server = server
    this.port = (server.address() as AddressInfo).port
    server.on('connection', (client) => this.#admit(client))
  }

  static async open(): Promise<Witness> {
    const device = await startVirtualDevice({ units: { 1: { holding: { 0: 7 } } } })
    const server = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    return new Witness(device, server)
  }

  get inside(): number {
    return this.#inside.size
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    for (const socket of this.#sockets) socket.destroy()
    await closed
    await this.device.close()
  }

  #admit(client: Socket): void {
    const far = connect(this.device.port, this.device.host)
    this.#inside.add(client)
    this.connections += 1
    this.most = Math.max(this.most, this.#inside.size)
    // `end` of the client is the owner gone, whatever is still to be sent back.
    client.on('end', () => this.#inside.delete(client))
    for (const socket of [client, far]) {
      this.#sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        this.#sockets.delete(socket)
        this.#inside.delete(client)
        client.destroy()
        far.destroy()
      })
    }
    client.pipe(far)
    far.pipe(client)
  }
}
