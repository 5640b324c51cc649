import { setTimeout as pause } from 'node:timers/promises'
import type { SerialPort } from 'serialport'
import type { Link, LinkEvents } from './link.js'
import { openSerialPort, type SerialEndpoint } from './serial-port.js'
import { timeLimit } from './time-limit.js'

const CLOSE_LIMIT_MS = 500

/** A serial line as a master uses it. */
export class SerialLink implements Link {
  readonly #endpoint: SerialEndpoint
  #port: SerialPort | undefined
  #events: LinkEvents | undefined

  constructor(endpoint: SerialEndpoint) {
    this.#endpoint = endpoint
  }

  async open(events: LinkEvents, timeoutMs: number, signal?: AbortSignal): Promise<void> {
    let isOver = false
    let cancelLimit = () => {}
    const limit = new Promise<never>((_, reject) => {
      cancelLimit = timeLimit(timeoutMs, signal, (error) => {
        isOver = true
        reject(error)
      })
    })
    let closing: Promise<void> | undefined
    const opening = openSerialPort(this.#endpoint, (port) => {
      if (!isOver) this.#follow(port, events)
      // Opened after all, but nobody waits any more.
      else closing = closed(port)
    })
    try {
      await Promise.race([opening, limit]).finally(cancelLimit)
    } catch (error) {
      // Whoever wants the line next cannot have it before it is let go.
      const released = opening.then(
        () => closing,
        () => {},
      )
      await Promise.race([released, pause(CLOSE_LIMIT_MS, undefined, { ref: false })])
      throw error
    }
  }

  #follow(port: SerialPort, events: LinkEvents): void {
    this.#port = port
    this.#events = events
    let cause: Error | undefined
    port.on('data', (bytes: Buffer) => this.#events?.data(bytes))
    port.on('error', (error: Error) => {
      cause = error
      this.#lost(error)
    })
    port.on('close', (error: Error | null) => {
      this.#lost(error ?? cause ?? new Error(`${this.#endpoint.path} was closed`))
    })
  }

  write(bytes: Buffer, written?: () => void): boolean {
    const port = this.#port
    if (this.#events === undefined || port === undefined || !port.isOpen) return false
    port.write(bytes)
    if (written !== undefined) port.drain((error) => error ?? written())
    return true
  }

  close(): Promise<void> {
    const port = this.#port
    this.#events = undefined
    return port === undefined || !port.isOpen ? Promise.resolve() : closed(port)
  }

  #lost(cause: Error): void {
    const events = this.#events
    if (events === undefined) return
    void this.close()
    events.closed(cause)
  }
}

/** Closes a port; resolves when that is done, or has taken too long. */
function closed(port: SerialPort): Promise<void> {
  return new Promise((resolve) => {
    const insist = setTimeout(resolve, CLOSE_LIMIT_MS)
    port.close(() => {
      clearTimeout(insist)
      resolve()
    })
  })
}
