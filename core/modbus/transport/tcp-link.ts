import { readFile } from 'node:fs/promises'
import { type ConnectOpts, isIP, Socket, type SocketConstructorOpts } from 'node:net'
import { connect as connectTls, type SecureContextOptions } from 'node:tls'
import type { Link, LinkEvents } from './link.js'
import { timeLimit } from './time-limit.js'
import type { BusEndpoint } from './transport.js'

const CLOSE_LIMIT_MS = 500
/** Room for the answers of a whole pipeline (16 of 260 bytes) in one read; what is more comes with the next. */
const READ_BYTES = 4_352

type SocketEndpoint = Extract<BusEndpoint, { kind: 'tcp' | 'rtu_tcp' | 'ascii_tcp' | 'udp' | 'tls' }>

/** TCP and TLS. The socket is ours, so that its end is always seen, and always with TCP_NODELAY. */
export class TcpLink implements Link {
  readonly #endpoint: SocketEndpoint
  #socket: Socket | undefined
  #events: LinkEvents | undefined
  /** Something went out in this turn of the event loop; what comes after it waits for the turn's end. */
  #isOut = false
  #out: Buffer[] = []
  #written: (() => void)[] = []

  constructor(endpoint: SocketEndpoint) {
    this.#endpoint = endpoint
  }

  async open(events: LinkEvents, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    const { kind, host, port } = this.#endpoint
    const until = performance.now() + timeoutMs
    const socket =
      this.#endpoint.kind === 'tls'
        ? tlsSocket(this.#endpoint, await inTime(credentials(this.#endpoint), timeoutMs, signal))
        : this.#plainSocket()
    this.#socket = socket
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 30_000)
    await new Promise<void>((resolve, reject) => {
      const ready = kind === 'tls' ? 'secureConnect' : 'connect'
      const settle = (error?: Error) => {
        cancelLimit()
        socket.off(ready, opened).off('error', settle).off('close', ended)
        if (error === undefined) return resolve()
        // A socket that is torn down may still report why; without a listener that would end the process.
        socket.on('error', () => {}).destroy()
        reject(error)
      }
      const opened = () => {
        this.#follow(socket, events)
        settle()
      }
      const ended = () => settle(new Error('the peer closed the connection while it was opened'))
      socket.once(ready, opened).once('error', settle).once('close', ended)
      let cancelLimit = () => {}
      cancelLimit = timeLimit(Math.round(until - performance.now()), signal, settle)
      if (kind !== 'tls' && !socket.destroyed) socket.connect({ host, port })
    })
  }

  /**
   * Of the requests of one turn of the event loop the first leaves at once and the others in one write: the calls of a
   * pipelined bus come in bunches, and a peer that must wait for the whole bunch and this process for its answers would
   * work in turns instead of side by side.
   */
  write(bytes: Buffer, written?: () => void): boolean {
    if (this.#events === undefined || this.#socket?.writable !== true) return false
    if (this.#isOut) {
      this.#out.push(bytes)
      if (written !== undefined) this.#written.push(written)
      return true
    }
    this.#isOut = true
    process.nextTick(this.#flush)
    this.#socket.write(bytes, written === undefined ? undefined : (error) => error ?? written())
    return true
  }

  close(): Promise<void> {
    const socket = this.#socket
    this.#events = undefined
    if (socket === undefined || socket.destroyed) return Promise.resolve()
    return new Promise((resolve) => {
      const insist = setTimeout(() => socket.destroy(), CLOSE_LIMIT_MS)
      socket.once('close', () => {
        clearTimeout(insist)
        resolve()
      })
      // Whatever still comes in has no taker; unread, it would hold back the peer's FIN.
      socket.resume()
      socket.end()
    })
  }

  /** Listens from the moment of opening on: an error in the same turn of the event loop must find somebody. */
  #follow(socket: Socket, events: LinkEvents): void {
    this.#events = events
    let cause: Error | undefined
    if (this.#endpoint.kind === 'tls') socket.on('data', (bytes: Buffer) => this.#events?.data(bytes))
    socket.on('error', (error) => {
      cause = error
    })
    // A peer that sent FIN answers nothing any more, so the end of its side is the end of the connection.
    socket.on('end', () => this.#lost(new Error('the peer closed the connection')))
    socket.on('close', () => this.#lost(cause ?? new Error('the connection was closed')))
  }

  readonly #flush = () => {
    this.#isOut = false
    if (this.#out.length === 0) return
    const [out, written] = [this.#out, this.#written]
    this.#out = []
    if (written.length > 0) this.#written = []
    if (this.#events === undefined || this.#socket?.writable !== true) return
    this.#socket.write(
      out.length === 1 ? out[0]! : Buffer.concat(out),
      written.length === 0 ? undefined : (error) => error ?? written.forEach((done) => void done()),
    )
  }

  #lost(cause: Error): void {
    const events = this.#events
    if (events === undefined) return
    this.#events = undefined
    this.#socket?.destroy()
    events.closed(cause)
  }

  /** Reads into a buffer of its own: a new one of 64 KiB for each answer is what a socket does by itself. */
  #plainSocket(): Socket {
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
    const callback = (count: number) => {
      this.#events?.data(buffer.subarray(0, count))
      return true
    }
    const options: SocketConstructorOpts & ConnectOpts = { onread: { buffer, callback } }
    return new Socket(options)
  }
}

type TlsEndpoint = Extract<BusEndpoint, { kind: 'tls' }>
type Credentials = Pick<SecureContextOptions, 'ca' | 'cert' | 'key'>

function tlsSocket({ host, port, servername }: TlsEndpoint, known: Credentials): Socket {
  const name = servername ?? (isIP(host) === 0 ? host : undefined)
  return connectTls({
    host,
    port,
    minVersion: 'TLSv1.2',
    ...known,
    ...(name === undefined ? {} : { servername: name }),
  })
}

async function credentials(endpoint: TlsEndpoint): Promise<Credentials> {
  const [ca, cert, key] = await Promise.all([endpoint.ca, endpoint.cert, endpoint.key].map(pem))
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  }
}

/** What `work` brings: a file may lie where nobody answers, which is no reason to wait for longer. */
function inTime<T>(work: Promise<T>, timeoutMs: number, signal: AbortSignal | undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = timeLimit(timeoutMs, signal, reject)
    work.then(resolve, reject).finally(cancel)
  })
}

/** PEM text as it is, anything else as the path of a file that holds it. */
async function pem(source: string | undefined): Promise<string | undefined> {
  return source === undefined || source.includes('-----BEGIN') ? source : textOf(source)
}

/** Reads that have not ended: one that never does takes a thread of the process, and not one for each attempt. */
const reading = new Map<string, Promise<string>>()

function textOf(path: string): Promise<string> {
  const known = reading.get(path)
  if (known !== undefined) return known
  const text = readFile(path, 'utf8').finally(() => reading.delete(path))
  reading.set(path, text)
  return text
}
