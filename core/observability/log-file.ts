import { basename, dirname } from 'node:path'
import { createStream, type RotatingFileStream } from 'rotating-file-stream'
import type { LogFileConfig } from '../config/config.js'
import { type Clock, systemClock } from '../support/clock.js'

/** Lines that wait while a file is set aside or the disk is slow; beyond it they go to the fallback. */
const MAX_WAITING_BYTES = 16 * 1_048_576
/** One write: small enough that a file is set aside close to its size. */
const CHUNK_BYTES = 64 * 1_024
const RETRY_MS = 5_000
const OWNER_AND_GROUP = 0o640

export interface LogFileOptions extends LogFileConfig {
  /** Takes the lines that the file cannot: the disk is full, the folder is read-only. */
  readonly fallback: (line: string) => void
  /** Told when the file can no longer be written. */
  readonly onTrouble: (error: Error) => void
  /** The line that the file begins with when it can be written again; `lines` went to the fallback meanwhile. */
  readonly recovered: (lines: number) => string
  readonly clock?: Clock
}

/**
 * A log file that is set aside and compressed at its size (`routemq.log`, `routemq.log.1.gz`, ...). It never throws and
 * never makes the writer wait: a disk that is full costs the file its lines, not the product its work.
 */
export class LogFile {
  readonly #options: LogFileOptions
  readonly #clock: Clock
  #waiting: string[] = []
  #waitingBytes = 0
  #stream: RotatingFileStream | undefined
  #isWriting = false
  /** The lines of the last write that did not fail. */
  #before: readonly string[] = []
  /** Lines given to the fallback since the file failed; undefined while it works. */
  #diverted: number | undefined
  #retry: (() => void) | undefined
  #onIdle: (() => void) | undefined

  constructor(options: LogFileOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
  }

  write(line: string): void {
    const isFailed = this.#diverted !== undefined && !this.#isWriting
    if (isFailed || this.#waitingBytes + line.length > MAX_WAITING_BYTES) {
      this.#divert([line])
      return
    }
    this.#waiting.push(line)
    this.#waitingBytes += line.length
    this.#pump()
  }

  /** Writes what waits, within `limitMs`. */
  async close(limitMs = 2_000): Promise<void> {
    this.#retry?.()
    const written = this.#isWriting ? new Promise<void>((resolve) => (this.#onIdle = resolve)) : Promise.resolve()
    const late = new Promise<void>((resolve) => this.#clock.after(limitMs, resolve, { unref: true }))
    await Promise.race([written, late])
    this.#retry?.()
    const stream = this.#stream
    this.#stream = undefined
    if (stream !== undefined) await Promise.race([new Promise<void>((resolve) => stream.end(() => resolve())), late])
  }

  #pump(): void {
    if (this.#isWriting) return
    const lines = this.#takeChunk()
    if (lines.length === 0) {
      this.#onIdle?.()
      return
    }
    this.#isWriting = true
    this.#stream ??= this.#open()
    this.#stream.write(lines.join(''), (error) => {
      this.#isWriting = false
      if (error === null || error === undefined) {
        this.#before = lines
        this.#pump()
        // A disk that fills up takes the front of a write without a word (a short write); the next one fails.
      } else this.#fail(error, [...this.#before, ...lines])
    })
  }

  #takeChunk(): string[] {
    let bytes = 0
    let count = 0
    for (; count < this.#waiting.length && bytes < CHUNK_BYTES; count++) bytes += this.#waiting[count]!.length
    this.#waitingBytes -= bytes
    return this.#waiting.splice(0, count)
  }

  #open(): RotatingFileStream {
    const { path, maxBytes, keep } = this.#options
    const stream = createStream(basename(path), {
      path: dirname(path),
      size: `${maxBytes}B`,
      rotate: keep,
      compress: 'gzip',
      mode: OWNER_AND_GROUP,
    })
    // What could not be opened at all fails the write that waits for it; this only keeps the error from ending the process.
    stream.on('error', () => {})
    return stream
  }

  #fail(error: Error, lines: readonly string[]): void {
    this.#stream?.destroy()
    this.#stream = undefined
    const isNews = this.#diverted === undefined
    this.#diverted ??= 0
    if (isNews) this.#options.onTrouble(error)
    this.#divert([...lines, ...this.#waiting.splice(0)])
    this.#waitingBytes = 0
    this.#before = []
    this.#retry = this.#clock.after(RETRY_MS, () => this.#tryAgain(), { unref: true })
    this.#onIdle?.()
  }

  /** The file is opened anew and has to take something before it is trusted; lines that come meanwhile wait for that. */
  #tryAgain(): void {
    this.#retry = undefined
    this.#isWriting = true
    this.#stream = this.#open()
    this.#stream.write(this.#options.recovered(this.#diverted ?? 0), (error) => {
      this.#isWriting = false
      if (error !== null && error !== undefined) {
        this.#fail(error, [])
        return
      }
      this.#diverted = undefined
      this.#pump()
    })
  }

  #divert(lines: readonly string[]): void {
    if (this.#diverted !== undefined) this.#diverted += lines.length
    for (const line of lines) this.#options.fallback(line)
  }
}
