import type { HeadFile } from './head-file.js'
import { readLog } from './log-reader.js'
import { listSegments, type Segment } from './segments.js'

/** What was found broken, since this spool was opened. */
export interface SpoolDamage {
  /** Bytes of an unfinished last write, cut when opening. */
  readonly tornBytes: number
  /** Damaged stretches that were skipped, each at least one record, and their bytes. */
  readonly skippedStretches: number
  readonly skippedBytes: number
  /** Records removed by `dropOldest`. */
  readonly droppedRecords: number
}

/** A log as its last writer left it. */
export interface Recovered {
  readonly segments: Segment[]
  /** Position behind the last whole record: the log goes on there. */
  readonly tail: number
  /** Whole records that are not acknowledged. */
  readonly count: number
  readonly damage: SpoolDamage
  /** Position up to which damage is counted in `damage`. */
  readonly damageSeenUpTo: number
}

/** Reads a log from its last acknowledgement to its end, counting what is there and what is damaged. */
export async function recover(dir: string, head: HeadFile): Promise<Recovered> {
  const all = await listSegments(dir)
  const last = all.at(-1)
  let tail = last === undefined ? head.position : last.base + last.size
  // The acknowledgements outlived the records (power loss without fsync): the log goes on where they stand.
  if (tail < head.position) tail = head.position
  let position = head.position
  let count = 0
  let damageSeenUpTo = 0
  const damage = { tornBytes: 0, skippedStretches: 0, skippedBytes: 0, droppedRecords: 0 }
  for (let end = tail; position < end; ) {
    const read = await readLog(all, position, end, 50_000)
    count += read.records.length
    position = read.position
    for (const { from, to } of read.damaged) {
      if (to === end && last !== undefined && from >= last.base) {
        damage.tornBytes = to - from
        tail = from
      } else {
        damage.skippedStretches += 1
        damage.skippedBytes += to - from
        damageSeenUpTo = to
      }
    }
    if (read.records.length === 0 && read.damaged.length === 0) end = position
  }
  // What lies beyond the tail needs no cutting: the next append begins a segment of its own there.
  return { segments: all.map(({ base, file }) => ({ base, file })), tail, count, damage, damageSeenUpTo }
}
