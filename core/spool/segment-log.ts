import { type FileHandle, open } from 'node:fs/promises'
import type { Logger } from '../observability/logger.js'
import { encodeFrames } from './frame.js'
import { removeSegment, type Segment, segmentAt, syncFolder } from './segments.js'

export interface SegmentLogOptions {
  readonly dir: string
  /** A segment that is longer takes nothing more. */
  readonly segmentBytes: number
  readonly fsync: boolean
  /** Position of the first record that is still needed. */
  readonly head: () => number
  readonly logger: Logger | undefined
}

/** The files of a spool, one behind the other: written at the end, removed from the start. One write at a time. */
export class SegmentLog {
  readonly #options: SegmentLogOptions
  #segments: Segment[]
  #tail: number
  #writer: { readonly segment: Segment; readonly handle: FileHandle } | undefined

  constructor(options: SegmentLogOptions, found: { readonly segments: Segment[]; readonly tail: number }) {
    this.#options = options
    this.#segments = found.segments
    this.#tail = found.tail
  }

  /** Position behind the last record. */
  get tail(): number {
    return this.#tail
  }

  /** As they are now: a reader keeps them while others come and go. */
  get segments(): Segment[] {
    return [...this.#segments]
  }

  /** Resolves when the records are durable; where it rejects, none of them are there. */
  async write(records: readonly Buffer[]): Promise<void> {
    const { dir, fsync, logger } = this.#options
    const { segment, handle } = await this.#segmentForWriting()
    const bytes = encodeFrames(records, this.#tail)
    const offset = this.#tail - segment.base
    try {
      for (let done = 0; done < bytes.length; ) {
        done += (await handle.write(bytes, done, bytes.length - done, offset + done)).bytesWritten
      }
      if (fsync) await handle.datasync()
    } catch (error) {
      // After a failed sync the system may call the pages clean: never write on in this file. Whatever of it lies
      // beyond the tail is cut if possible, and otherwise ignored because the next segment begins at the tail.
      this.#writer = undefined
      await handle.truncate(offset).catch((cause: unknown) => {
        logger?.debug({ dir, cause: String(cause) }, 'The end of a failed write could not be cut')
      })
      await handle.close()
      throw error
    }
    this.#tail += bytes.length
  }

  /** Segments that nobody needs go; the last one stays, it may be written. */
  async removeOld(): Promise<void> {
    const kept = this.#segments.findIndex((_, index) => {
      const next = this.#segments[index + 1]
      return next === undefined || next.base > this.#options.head()
    })
    if (kept < 1) return
    for (const segment of this.#segments.splice(0, kept)) await removeSegment(segment)
  }

  async close(): Promise<void> {
    await this.#writer?.handle.close()
  }

  async #segmentForWriting(): Promise<{ segment: Segment; handle: FileHandle }> {
    const { dir, segmentBytes, fsync, head } = this.#options
    const current = this.#writer
    if (current !== undefined) {
      const size = this.#tail - current.segment.base
      const drained = this.#tail === head() && size >= segmentBytes / 4
      if (size < segmentBytes && !drained) return current
      this.#writer = undefined
      await current.handle.close()
    }
    const segment = segmentAt(dir, this.#tail)
    const handle = await open(segment.file, 'w', 0o600)
    try {
      if (fsync) await syncFolder(dir)
    } catch (error) {
      await handle.close()
      throw error
    }
    this.#segments = [...this.#segments.filter(({ base }) => base !== segment.base), segment]
    this.#writer = { segment, handle }
    await this.removeOld()
    return this.#writer
  }
}
