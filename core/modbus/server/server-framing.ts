/** One request frame, without checksum. */
export interface RequestFrame {
  /** 0 on framings without transaction ids. */
  readonly transaction: number
  readonly unit: number
  readonly pdu: Buffer
}

export interface RequestDecoder {
  /** Whole, checked requests. @throws Error where the stream can no longer be followed */
  push(bytes: Buffer): readonly RequestFrame[]
  /** True while bytes wait that are no whole request yet. */
  readonly unsettled: boolean
  /** After a silence: what is whole behind unfinished bytes. What stays unfinished is dropped at the next silence. */
  settle(): readonly RequestFrame[]
}

/** The slave's side of a framing. */
export interface ServerFraming {
  readonly hasTransactionIds: boolean
  decoder(): RequestDecoder
  encode(transaction: number, unit: number, pdu: Uint8Array): Buffer
  /** `frame` as a line with a flipped bit would deliver it. */
  corrupt(frame: Buffer): Buffer
}
