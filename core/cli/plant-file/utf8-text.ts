import { isUtf8 } from 'node:buffer'
import type { LineMistake } from './plant-file.js'

/** The text of a file; a mistake where it is in another encoding, whose signs of units would come in as others. */
export function utf8Text(bytes: Buffer): string | LineMistake {
  if (isUtf8(bytes)) return bytes.toString('utf8')
  for (let line = 1, from = 0; ; line += 1) {
    const end = bytes.indexOf('\n', from)
    if (end !== -1 && isUtf8(bytes.subarray(from, end))) from = end + 1
    else return { line, message: 'is not UTF-8; spreadsheets save that as "CSV UTF-8"' }
  }
}
