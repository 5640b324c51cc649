import { createSocket, type SocketOptions } from 'node:dgram'
import { lookup } from 'node:dns'
import { connect, isIPv6, type Socket } from 'node:net'
import { Backoff } from '../support/backoff.js'
import { type Clock, systemClock } from '../support/clock.js'

/** Takes whole messages; never throws and never makes the caller wait. */
export interface MessageSender {
  send(message: string): void
  /** Sends what waits, within `limitMs`. */
  close(limitMs?: number): Promise<void>
  /** Messages that could not be sent so far. */
  readonly lost: number
}

/** Datagrams over this are cut: receivers need take no more than 2048 bytes, most take this (RFC 5426, 3.2). */
const MAX_DATAGRAM_BYTES = 8_192
/** What waits for a server over TCP; beyond it the oldest go. */
const MAX_WAITING_BYTES = 1_048_576

/** Datagrams that wait for the system or for the address of the server; beyond it new ones are lost. */
const MAX_OPEN_DATAGRAMS = 1_000
/** An address is asked for again after so long: it may move. */
const ADDRESS_KEPT_MS = 60_000

export function openSender(url: string, clock: Clock = systemClock): MessageSender {
  const { protocol, hostname, port } = new URL(url)
  const host = hostname.replace(/^\[|\]$/g, '')
  return protocol === 'udp:'
    ? new UdpSender(host, Number(port || 514), clock)
    : new TcpSender(host, Number(port || 601), clock)
}

/** RFC 5426: one message a datagram, and nobody says whether it arrived. */
class UdpSender implements MessageSender {
  readonly #socket
  readonly #host: string
  readonly #port: number
  #open = 0
  #closed = false
  #onIdle: (() => void) | undefined
  lost = 0

  constructor(host: string, port: number, clock: Clock) {
    this.#host = host
    this.#port = port
    this.#socket = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4', lookup: rememberingLookup(host, clock) })
    this.#socket.on('error', () => {})
    this.#socket.unref()
  }

  send(message: string): void {
    if (this.#closed) return
    if (this.#open >= MAX_OPEN_DATAGRAMS) {
      this.lost += 1
      return
    }
    const bytes = Buffer.from(message)
    this.#open += 1
    this.#socket.send(bytes.subarray(0, MAX_DATAGRAM_BYTES), this.#port, this.#host, (error) => {
      if (error !== null) this.lost += 1
      this.#open -= 1
      if (this.#open === 0) this.#onIdle?.()
    })
  }

  async close(limitMs = 1_000): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    if (this.#open > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
        setTimeout(resolve, limitMs).unref()
      })
    }
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()))
  }
}

type Lookup = NonNullable<SocketOptions['lookup']>

/** Datagrams would each ask for the address anew: they share one answer, and one question while it is open. */
export function rememberingLookup(host: string, clock: Clock, ask: Lookup = lookup): Lookup {
  let known: { readonly answer: Parameters<Parameters<Lookup>[2]>; readonly until: number } | undefined
  let waiting: Parameters<Lookup>[2][] = []
  return (name, options, done) => {
    // The socket asks for the address it listens on too.
    if (name !== host) return ask(name, options, done)
    if (known !== undefined && clock.now() < known.until) return process.nextTick(done, ...known.answer)
    waiting.push(done)
    if (waiting.length > 1) return
    ask(name, options, (...answer) => {
      known = answer[0] === null ? { answer, until: clock.now() + ADDRESS_KEPT_MS } : undefined
      const all = waiting
      waiting = []
      for (const each of all) each(...answer)
    })
  }
}

/** RFC 6587 with octet counting; reconnects by itself. */
class TcpSender implements MessageSender {
  readonly #host: string
  readonly #port: number
  readonly #clock: Clock
  readonly #backoff = new Backoff({ first: 500, max: 30_000 })
  #socket: Socket | undefined
  #isUp = false
  #waiting: Buffer[] = []
  #waitingBytes = 0
  #retry: (() => void) | undefined
  #closed = false
  lost = 0

  constructor(host: string, port: number, clock: Clock) {
    this.#host = host
    this.#port = port
    this.#clock = clock
    this.#connect()
  }

  send(message: string): void {
    if (this.#closed) return
    const body = Buffer.from(message)
    const frame = Buffer.concat([Buffer.from(`${body.length} `), body])
    // A server that reads slower than we write is as good as away: what it does not take waits here, within the bound.
    if (this.#isUp && this.#waiting.length === 0 && this.#socket!.writableLength < MAX_WAITING_BYTES) {
      this.#socket!.write(frame)
      return
    }
    this.#waiting.push(frame)
    this.#waitingBytes += frame.length
    while (this.#waitingBytes > MAX_WAITING_BYTES) {
      this.#waitingBytes -= this.#waiting.shift()!.length
      this.lost += 1
    }
  }

  async close(limitMs = 1_000): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#retry?.()
    const socket = this.#socket
    if (socket === undefined || !this.#isUp) {
      socket?.destroy()
      return
    }
    await new Promise<void>((resolve) => {
      socket.end(() => resolve())
      setTimeout(resolve, limitMs).unref()
    })
    socket.destroy()
  }

  #connect(): void {
    const socket = connect(this.#port, this.#host)
    this.#socket = socket
    socket.setKeepAlive(true, 30_000)
    socket.unref()
    socket.on('error', () => {})
    socket.once('connect', () => {
      this.#isUp = true
      this.#backoff.reset()
      this.#flush(socket)
    })
    socket.on('drain', () => this.#flush(socket))
    // A server that says goodbye gets no more: what would be written now is lost.
    socket.once('end', () => socket.destroy())
    socket.resume()
    socket.once('close', () => {
      this.#isUp = false
      if (this.#closed) return
      this.#retry = this.#clock.after(this.#backoff.next(), () => this.#connect(), { unref: true })
    })
  }

  #flush(socket: Socket): void {
    if (this.#waiting.length === 0) return
    socket.write(Buffer.concat(this.#waiting))
    this.#waiting = []
    this.#waitingBytes = 0
  }
}
