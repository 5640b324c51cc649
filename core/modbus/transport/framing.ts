import type { Buffer } from 'node:buffer'

/** What is waited for on a framing without transaction ids: frames that carry no length need it to find their end. */
export interface Expected {
  readonly unit: number
  /** The request's PDU. */
  readonly request: Uint8Array
}

/** One frame as it came in, without checksum: unit and PDU. The PDU is a view of the input, good until the next. */
export interface Received {
  /** Undefined on framings without transaction ids. */
  readonly transaction: number | undefined
  readonly unit: number
  readonly pdu: Buffer
}

export interface Decoder {
  /** Takes what came in and gives the frames that are complete. @throws Error where a stream can no longer be followed */
  push(bytes: Buffer, expected: Expected | undefined): readonly Received[]
  /**
   * A frame that is complete but stands behind bytes that might begin an earlier one, or may itself go on; asked for after
   * a silence.
   * Undefined where there is none.
   */
  settle(expected: Expected): Received | undefined
  /** True while {@link settle} would give a frame. */
  readonly unsettled: boolean
  reset(): void
}

/** How requests become bytes and bytes become answers. */
export interface Framing {
  readonly hasTransactionIds: boolean
  /** `rtu` is unit, PDU and CRC, as modbus-serial hands it to a port. */
  encode(transaction: number, rtu: Buffer): Buffer
  decoder(): Decoder
}
