import { type FileHandle, open } from 'node:fs/promises'
import { crc32 } from 'node:zlib'

const SLOT_BYTES = 32
const USED_BYTES = 20

/**
 * How far a spool is acknowledged. Two slots are written in turn, so that a torn write leaves the other one; the file
 * has its full size from the start, so that a full disk does not stop acknowledgements.
 */
export class HeadFile {
  readonly #handle: FileHandle
  #turn: number
  #position: number

  private constructor(handle: FileHandle, turn: number, position: number) {
    this.#handle = handle
    this.#turn = turn
    this.#position = position
  }

  static async open(file: string): Promise<HeadFile> {
    const handle = await open(file, 'a+', 0o600).then(async (made) => {
      await made.close() // 'a+' creates; 'r+' is what allows writing in place
      return open(file, 'r+')
    })
    const bytes = Buffer.alloc(2 * SLOT_BYTES)
    try {
      const { bytesRead } = await handle.read(bytes, 0, bytes.length, 0)
      if (bytesRead < bytes.length) {
        await handle.write(bytes, 0, bytes.length, 0)
        await handle.sync()
      }
    } catch (error) {
      await handle.close() // Opening is tried again and again where the disk is full.
      throw error
    }
    const slots = [0, 1].map((slot) => readSlot(bytes.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES)))
    const newest = slots.filter((slot) => slot !== undefined).sort((a, b) => b.turn - a.turn)[0]
    return new HeadFile(handle, newest?.turn ?? 0, newest?.position ?? 0)
  }

  get position(): number {
    return this.#position
  }

  /** Not synced: a crash of the machine may bring the last acknowledgements back, never lose an unacknowledged record. */
  async write(position: number): Promise<void> {
    const turn = this.#turn + 1
    const slot = Buffer.alloc(USED_BYTES)
    slot.writeBigUInt64BE(BigInt(turn), 0)
    slot.writeBigUInt64BE(BigInt(position), 8)
    slot.writeUInt32BE(crc32(slot.subarray(0, 16)), 16)
    await this.#handle.write(slot, 0, USED_BYTES, (turn % 2) * SLOT_BYTES)
    this.#turn = turn
    this.#position = position
  }

  close(): Promise<void> {
    return this.#handle.close()
  }
}

function readSlot(bytes: Buffer): { turn: number; position: number } | undefined {
  const turn = Number(bytes.readBigUInt64BE(0))
  if (turn === 0 || crc32(bytes.subarray(0, 16)) !== bytes.readUInt32BE(16)) return undefined
  return { turn, position: Number(bytes.readBigUInt64BE(8)) }
}
