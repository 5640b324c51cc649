/** Longest PDU (V1.1b3, section 4.1). */
export const MAX_PDU = 253

/** More bytes are needed before the length is known. */
export const UNKNOWN_YET = 0
/** The function says nothing about its length: only a checksum over everything received can tell. */
export const UNKNOWN_EVER = -1

/**
 * Bytes of the answer PDU to `request`, from as much of the answer as is there (`bytes[start, end)` begins with the
 * function code). RTU frames carry no length, so this is what ends them.
 */
export function answerLength(request: Uint8Array, bytes: Uint8Array, start: number, end: number): number {
  const fc = bytes[start]
  if (fc === undefined || start >= end) return UNKNOWN_YET
  if (fc >= 0x80) return 2
  switch (fc) {
    case 1:
    case 2:
    case 3:
    case 4:
    case 12:
    case 17:
    case 20:
    case 21:
    case 23:
      return start + 1 < end ? 2 + bytes[start + 1]! : UNKNOWN_YET
    case 5:
    case 6:
    case 11:
    case 15:
    case 16:
      return 5
    case 7:
      return 2
    case 8:
      return request.length
    case 22:
      return 7
    case 24:
      return start + 2 < end ? 3 + ((bytes[start + 1]! << 8) | bytes[start + 2]!) : UNKNOWN_YET
    case 43:
      return identificationLength(bytes, start, end)
    default:
      return UNKNOWN_EVER
  }
}

/** 43/14: a list of objects, each with its own length (V1.1b3, 6.21). */
function identificationLength(bytes: Uint8Array, start: number, end: number): number {
  if (start + 1 >= end) return UNKNOWN_YET
  if (bytes[start + 1] !== 0x0e) return UNKNOWN_EVER
  if (start + 6 >= end) return UNKNOWN_YET
  let at = start + 7
  for (let left = bytes[start + 6]!; left > 0; left -= 1) {
    if (at + 1 >= end) return UNKNOWN_YET
    at += 2 + bytes[at + 1]!
  }
  return at - start
}
