import { createSocket, type Socket } from 'node:dgram'
import { lookup } from 'node:dns/promises'
import type { Link, LinkEvents } from './link.js'
import { timeLimit } from './time-limit.js'

/** Datagrams to one peer. "Connected" means that only its datagrams are taken and that its refusals are heard. */
export class UdpLink implements Link {
  readonly #host: string
  readonly #port: number
  #socket: Socket | undefined
  #events: LinkEvents | undefined

  constructor(host: string, port: number) {
    this.#host = host
    this.#port = port
  }

  async open(events: LinkEvents, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      let made: Socket | undefined
      let isOver = false
      const settle = (error?: Error) => {
        if (isOver) return
        isOver = true
        cancelLimit()
        if (error === undefined) return resolve()
        made?.on('error', () => {}).close()
        reject(error)
      }
      let cancelLimit = () => {}
      cancelLimit = timeLimit(timeoutMs, signal, settle)
      lookup(this.#host).then(({ address, family }) => {
        if (isOver) return
        made = createSocket(family === 6 ? 'udp6' : 'udp4')
        made.once('error', settle)
        made.connect(this.#port, address, () => {
          if (isOver) return
          made!.off('error', settle)
          this.#follow(made!, events)
          settle()
        })
      }, settle)
    })
  }

  #follow(socket: Socket, events: LinkEvents): void {
    this.#socket = socket
    this.#events = events
    socket.on('message', (bytes) => this.#events?.data(bytes))
    socket.on('error', (error) => this.#lost(error))
  }

  #lost(cause: Error): void {
    const events = this.#events
    void this.close()
    events?.closed(cause)
  }

  write(bytes: Buffer, written?: () => void): boolean {
    if (this.#events === undefined || this.#socket === undefined) return false
    const socket = this.#socket
    // Errors of a connected socket (ECONNREFUSED from the peer's host) come here or as an event, whichever is first.
    socket.send(bytes, (error) => (error === null ? written?.() : this.#lost(error)))
    return true
  }

  close(): Promise<void> {
    const socket = this.#socket
    this.#events = undefined
    this.#socket = undefined
    if (socket === undefined) return Promise.resolve()
    return new Promise((resolve) => socket.close(resolve))
  }
}
