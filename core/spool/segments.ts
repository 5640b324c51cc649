import { open, readdir, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'

/** One file of the log; `base` is the position of its first byte. Its records end where the next segment begins. */
export interface Segment {
  readonly base: number
  readonly file: string
}

export function segmentAt(dir: string, base: number): Segment {
  return { base, file: join(dir, `${String(base).padStart(16, '0')}.seg`) }
}

export async function listSegments(dir: string): Promise<(Segment & { readonly size: number })[]> {
  const bases = (await readdir(dir)).flatMap((name) => {
    const found = /^(\d{16})\.seg$/.exec(name)
    return found === null ? [] : [Number(found[1])]
  })
  const segments = bases.sort((a, b) => a - b).map((base) => segmentAt(dir, base))
  return Promise.all(segments.map(async (segment) => ({ ...segment, size: (await stat(segment.file)).size })))
}

/** Bytes of a segment from `offset` on, at most `length`, fewer at the end of the file. */
export async function readSegment(segment: Segment, offset: number, length: number): Promise<Buffer> {
  const handle = await open(segment.file, 'r')
  try {
    const out = Buffer.allocUnsafe(length)
    let have = 0
    while (have < length) {
      const { bytesRead } = await handle.read(out, have, length - have, offset + have)
      if (bytesRead === 0) break
      have += bytesRead
    }
    return out.subarray(0, have)
  } finally {
    await handle.close()
  }
}

export async function removeSegment(segment: Segment): Promise<void> {
  await unlink(segment.file).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
  })
}

/** Makes the names in a folder durable: a new file is not safe before its folder is. */
export async function syncFolder(dir: string): Promise<void> {
  const handle = await open(dir, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
