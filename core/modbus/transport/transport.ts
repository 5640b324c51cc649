/** One Modbus request, by function code (Modbus Application Protocol V1.1b3, section 6). Addresses are 0-based. */
export type ModbusCall =
  | { readonly fc: 1 | 2 | 3 | 4; readonly address: number; readonly count: number }
  | { readonly fc: 5; readonly address: number; readonly value: boolean }
  | { readonly fc: 6; readonly address: number; readonly value: number }
  | { readonly fc: 15; readonly address: number; readonly values: readonly boolean[] }
  | { readonly fc: 16; readonly address: number; readonly values: readonly number[] }
  | { readonly fc: 17 }
  | { readonly fc: 22; readonly address: number; readonly and: number; readonly or: number }
  | {
      readonly fc: 23
      readonly readAddress: number
      readonly readCount: number
      readonly writeAddress: number
      readonly values: readonly number[]
    }
  | { readonly fc: 43; readonly deviceIdCode: 1 | 2 | 3 | 4; readonly objectId: number }
  /** Anything else: the PDU after the function code, sent as it is. */
  | { readonly fc: 'raw'; readonly functionCode: number; readonly data: Uint8Array }

export interface ModbusAnswer {
  /** Words for 3, 4 and 23, bits for 1 and 2, empty for writes. */
  readonly values: readonly number[] | readonly boolean[]
  /** The answer's PDU after the function code, for 17, 43 and raw calls. */
  readonly data: Buffer
}

export interface CallOptions {
  /**
   * Milliseconds to the complete answer. On a line without transaction ids up to half of them may go by before the line is
   * quiet and the request goes out.
   */
  readonly timeoutMs: number
  readonly signal?: AbortSignal
  readonly gate?: SendGate
}

/** What may keep a request back until the moment its bytes go out, and not after that. It rejects as `not_sent` then. */
export interface SendGate {
  /** Ends the wait for a quiet line; its reason is the cause of the rejection. */
  readonly signal: AbortSignal
  /** Called when the bytes go out next: why they must not. */
  pass(): Error | undefined
}

/** Why a call failed, in the terms a write outcome needs. */
export type TransportFailure =
  /** The unit answered with an exception (V1.1b3, section 7). */
  | { readonly kind: 'exception'; readonly exceptionCode: number }
  /** No complete answer in time. Reached the wire. */
  | { readonly kind: 'timeout' }
  /** The connection went away after bytes were handed to it. */
  | { readonly kind: 'lost' }
  /** Provably nothing reached the wire: not connected, or aborted before sending. */
  | { readonly kind: 'not_sent' }
  /** An answer that cannot be the answer: wrong length, wrong echo, wrong function. Reached the wire. */
  | { readonly kind: 'protocol' }
  /** Aborted by the caller after sending. */
  | { readonly kind: 'aborted' }

export class TransportError extends Error {
  override readonly name = 'TransportError'
  readonly failure: TransportFailure

  constructor(message: string, failure: TransportFailure, options?: ErrorOptions) {
    super(message, options)
    this.failure = failure
  }
}

export type TransportState = 'closed' | 'connecting' | 'open' | 'lost'

/** One connection to one endpoint or line. The bus above it decides order, in-flight, silence and reconnects. */
export interface ModbusTransport {
  readonly state: TransportState
  /** True where frames carry a transaction id (TCP, UDP, TLS with MBAP): late answers are told apart, pipelining is safe. */
  readonly hasTransactionIds: boolean
  /** Highest number of calls that may be in flight. 1 without transaction ids. */
  readonly maxInFlight: number
  /** Opens a fresh connection; rejects within `timeoutMs`. Calling it again while open resolves at once. */
  connect(options: CallOptions): Promise<void>
  /** Unit 0 is broadcast on serial framing: resolves when the bytes are out. Rejects with {@link TransportError}. */
  call(unit: number, call: ModbusCall, options: CallOptions): Promise<ModbusAnswer>
  /** Throws away bytes that came in and have no taker; used after a time-out on lines without transaction ids. */
  discardInput(): void
  /**
   * Runs once for each open connection that goes away by itself, never after `close()`. There is one listener; a later
   * call replaces it.
   */
  onLost(listener: (cause: Error) => void): void
  /** Closes with FIN, rejects what is pending as `lost`, resolves within a second whatever the peer does. */
  close(): Promise<void>
}

/** Where a bus is and how it frames. */
export type BusEndpoint =
  | { readonly kind: 'tcp' | 'rtu_tcp' | 'ascii_tcp' | 'udp'; readonly host: string; readonly port: number }
  | {
      readonly kind: 'tls'
      readonly host: string
      readonly port: number
      readonly ca?: string
      readonly cert?: string
      readonly key?: string
      readonly servername?: string
    }
  | {
      readonly kind: 'serial_rtu' | 'serial_ascii'
      readonly path: string
      readonly baudRate: number
      readonly parity: 'none' | 'even' | 'odd'
      readonly dataBits: 7 | 8
      readonly stopBits: 1 | 2
    }
