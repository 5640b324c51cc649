/**
 * Bytes of the RTU request frame that begins at `at`, unit and CRC included, by its function code. 0: the function is
 * not known, undefined: too little is there to tell.
 */
export function requestLength(bytes: Buffer, at: number): number | undefined {
  switch (bytes[at + 1]) {
    case undefined:
      return undefined
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
    case 8:
      return 8
    case 7:
    case 11:
    case 12:
    case 17:
      return 4
    case 15:
    case 16:
      return announced(bytes, at + 6, 9)
    case 20:
    case 21:
      return announced(bytes, at + 2, 5)
    case 22:
      return 10
    case 23:
      return announced(bytes, at + 10, 13)
    case 24:
      return 6
    case 43:
      return 7
    default:
      return 0
  }
}

function announced(bytes: Buffer, at: number, rest: number): number | undefined {
  const count = bytes[at]
  return count === undefined ? undefined : count + rest
}
