import type { ByteOrder } from '../point.js'

/**
 * The bytes of a value, most significant first, out of registers in `order`: CDAB turns the words around, BADC the
 * bytes inside each word, DCBA both. Longer values and texts follow the same rule.
 */
export function bytesOf(words: readonly number[], order: ByteOrder): Buffer {
  const bytes = Buffer.allocUnsafe(words.length * 2)
  const wordsTurned = order === 'CDAB' || order === 'DCBA'
  const bytesTurned = order === 'BADC' || order === 'DCBA'
  for (let at = 0; at < words.length; at += 1) {
    const word = words[wordsTurned ? words.length - 1 - at : at]!
    if (bytesTurned) bytes.writeUInt16LE(word, at * 2)
    else bytes.writeUInt16BE(word, at * 2)
  }
  return bytes
}

/** The reverse of {@link bytesOf}. */
export function wordsOf(bytes: Buffer, order: ByteOrder): number[] {
  const words: number[] = []
  for (let at = 0; at < bytes.length; at += 2) {
    words.push(order === 'BADC' || order === 'DCBA' ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at))
  }
  return order === 'CDAB' || order === 'DCBA' ? words.reverse() : words
}
