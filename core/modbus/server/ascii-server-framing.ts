import { AsciiDecoder, asciiFrame } from '../transport/ascii-framing.js'
import type { ServerFraming } from './server-framing.js'

/** ASCII frames carry their own beginning and end, so foreign traffic needs no care beyond the unit. */
export const asciiServerFraming: ServerFraming = {
  hasTransactionIds: false,
  decoder() {
    const decoder = new AsciiDecoder()
    return {
      unsettled: false,
      push: (bytes) => decoder.push(bytes).map(({ unit, pdu }) => ({ transaction: 0, unit, pdu })),
      settle: () => [],
    }
  },
  encode: (_, unit, pdu) => asciiFrame(Buffer.concat([Uint8Array.of(unit), pdu])),
  corrupt(frame) {
    const broken = Buffer.from(frame)
    const last = broken.length - 3
    broken[last] = broken[last] === 0x30 ? 0x31 : 0x30
    return broken
  },
}
