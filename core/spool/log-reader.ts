import { frameAt, nextFrame } from './frame.js'
import { readSegment, type Segment } from './segments.js'

export interface LogRecord {
  /** Position just after the record: what to acknowledge. */
  readonly position: number
  readonly data: Buffer
}

export interface Read {
  readonly records: readonly LogRecord[]
  /** Where reading stopped; the end of the log where it stopped for want of records. */
  readonly position: number
  /** Stretches of bytes that are no record any more (bit rot), as positions. */
  readonly damaged: readonly { readonly from: number; readonly to: number }[]
}

const CHUNK_BYTES = 256 * 1024

/**
 * Reads at most `limit` records and about `maxBytes` from `from` on, skipping what is damaged. `tail` is the end of the
 * log; nothing beyond it is looked at.
 */
export async function readLog(
  segments: readonly Segment[],
  from: number,
  tail: number,
  limit: number,
  maxBytes = 8 * 1024 * 1024,
): Promise<Read> {
  const records: LogRecord[] = []
  const damaged: { from: number; to: number }[] = []
  let position = from
  let bytes = 0
  for (const [index, segment] of segments.entries()) {
    const end = Math.min(tail, segments[index + 1]?.base ?? tail)
    if (position >= end) continue
    // A hole before a segment (its predecessor was lost) is skipped like any other damage.
    if (position < segment.base) {
      damaged.push({ from: position, to: segment.base })
      position = segment.base
    }
    let want = CHUNK_BYTES
    while (position < end) {
      const length = Math.min(want, end - position)
      const chunk = await readSegment(segment, position - segment.base, length)
      let at = 0
      let found = frameAt(chunk, at, position)
      while (found.kind === 'frame') {
        if (records.length >= limit || bytes >= maxBytes) return { records, position: position + at, damaged }
        at += found.size
        bytes += found.data.length
        records.push({ position: position + at, data: found.data })
        found = frameAt(chunk, at, position)
      }
      position += at
      if (position >= end) break
      if (found.kind === 'short' && chunk.length === length && position + found.need <= end) {
        want = Math.max(CHUNK_BYTES, found.need) // the frame reaches beyond this chunk: read on from its start
        continue
      }
      const rest = await readSegment(segment, position - segment.base, end - position)
      const next = nextFrame(rest, 1, position)
      const to = next === -1 ? end : position + next
      damaged.push({ from: position, to })
      position = to
    }
  }
  return { records, position, damaged }
}
