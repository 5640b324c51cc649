import { connect, createServer, type Server, type Socket } from 'node:net'
import { freePort } from '../../core/support/free-port.js'

/** A door to a real server that is shut until the test opens it, and may be shut again: the server away, and back. */
export class Door {
  readonly port: number
  readonly #target: number
  #server: Server | undefined
  readonly #sockets = new Set<Socket>()

  constructor(port: number, target: number) {
    this.port = port
    this.#target = target
  }

  /** Reserves a port that nothing listens on. */
  static async shut(target: number): Promise<Door> {
    return new Door(await freePort(), target)
  }

  async open(): Promise<void> {
    const server = createServer((client) => {
      const far = connect(this.#target, '127.0.0.1')
      for (const socket of [client, far]) {
        this.#sockets.add(socket)
        socket.on('error', () => {})
        socket.on('close', () => {
          this.#sockets.delete(socket)
          client.destroy()
          far.destroy()
        })
      }
      client.pipe(far)
      far.pipe(client)
    })
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject).listen(this.port, '127.0.0.1', resolve)
    })
  }

  async close(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    if (server === undefined) return
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of this.#sockets) socket.destroy()
    await closed
  }
}
