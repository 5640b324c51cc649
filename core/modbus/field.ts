import type { ErrorShape } from '../support/errors.js'

export const REGISTER_TYPES = ['holding', 'input', 'coil', 'discrete'] as const
export type RegisterType = (typeof REGISTER_TYPES)[number]

/** What one register or point can hold, as JSON carries it; 64-bit integers beyond 2^53 are decimal strings. */
export type FieldValue = number | boolean | string | null
/**
 * good: as read. uncertain: read, and outside what its point may be. bad: there is no value. stale: not read now, the last one
 * that was known.
 */
export type Quality = 'good' | 'uncertain' | 'bad' | 'stale'

/** One address range to read; addresses are PDU addresses, 0-based. */
export interface ReadBlock {
  readonly device_id: string
  readonly register_type: RegisterType
  readonly address: number
  readonly count: number
}

/** What a range held. */
export interface BlockReading extends ReadBlock {
  /** In the order of their addresses: numbers of registers, booleans of coils and discrete inputs. */
  readonly values: readonly (number | boolean)[]
  readonly source: 'live' | 'cache'
  /** Unix seconds with a fraction, when the answer was complete. */
  readonly timestamp: number
  readonly quality: Quality
  /** Why it is not good. */
  readonly reason?: string
}

/** What a point held. */
export interface PointReading {
  /** Its name. */
  readonly point: string
  /** Scaled; null where the quality is bad. */
  readonly value: FieldValue
  readonly unit: string | null
  readonly quality: Quality
  /** Why it is not good. */
  readonly reason?: string
  /** Unix seconds with a fraction, when the answer was complete. */
  readonly timestamp: number
}

/** One thing to write: raw registers or coils by address, a point by name, or a request of another function. */
export type WriteItem =
  | RegisterWrite
  | MaskWrite
  | CustomRequest
  | { readonly point: string; readonly value: FieldValue }

/** Neighbouring registers (0 to 65535 each) or coils, from a PDU address on. */
export interface RegisterWrite {
  readonly register_type: 'holding' | 'coil'
  readonly address: number
  readonly values: readonly (number | boolean)[]
  /** Holding registers to be read in the same request, after the write (function 23); they come as `values` of the result. */
  readonly read?: { readonly address: number; readonly count: number }
}

/** Some bits of one holding register (function 22): it becomes `(now & and) | (or & ~and)`. */
export interface MaskWrite {
  readonly register_type?: 'holding'
  readonly address: number
  readonly and: number
  readonly or: number
}

/** A function of which only the device knows what it does: so it counts as a write. The answer comes as `data` of the result. */
export interface CustomRequest {
  /** 1 to 127, but none of those that read or write registers and coils. */
  readonly function: number
  /** The bytes after the function code, as hexadecimal digits. @default none */
  readonly data?: string
}

/**
 * ok: the device confirmed. rejected: it answered no. not_sent: it provably never reached the wire.
 * unknown: it may have been carried out; never repeated by itself.
 */
export type WriteOutcome = 'ok' | 'rejected' | 'not_sent' | 'unknown'

/** What became of one item of a write. */
export interface WriteResult {
  readonly item: WriteItem
  readonly outcome: WriteOutcome
  /** What the registers of a point mean now, where that is not to the digit what was asked for: 21.6 for 21.55. */
  readonly written?: FieldValue
  /** What an item with `read` found; absent where only reading back showed that it was written. */
  readonly values?: readonly number[]
  /** What a custom function answered after its code, as hexadecimal digits. */
  readonly data?: string
  /** Why it is not `ok`. */
  readonly error?: ErrorShape
}

/** What a unit says of itself; a part it does not know is null, with the reason. */
export interface Identity {
  readonly device_id: string
  /** Function 17 (V1.1b3, 6.13): the bytes as hexadecimal digits, and what of them is text. */
  readonly server_id: { readonly hex: string; readonly text: string } | null
  /** Function 43/14 (V1.1b3, 6.21): vendor, product, revision and further objects. */
  readonly objects: Readonly<Record<string, string>> | null
  readonly errors: readonly ErrorShape[]
}

/** Who asked, for the audit: a topic, an HTTP key, the command line. */
export interface Actor {
  readonly kind: 'mqtt' | 'http' | 'cli' | 'app'
  /** Topic, key or user; never a credential. */
  readonly name: string
  /** The request that asked, as its sender and the logs call it. */
  readonly request_id?: string
}

/**
 * What devices can be asked for. `deadline`, in all of them: wall clock milliseconds, past which a read, and a write that is
 * not on the wire yet, ends with `COMMAND_EXPIRED`; of handlers never later than that of their message. @default none
 */
export type FieldRequest =
  | {
      readonly op: 'read'
      readonly device_id: string
      readonly register_type: RegisterType
      readonly address: number
      readonly count: number
      /** `cache` answers from the last values and falls back to a live read. @default live */
      readonly source?: 'live' | 'cache'
      /** Where the device cannot be asked, its last known value as `stale`. @default false */
      readonly allow_stale?: boolean
      readonly deadline?: number
    }
  | {
      readonly op: 'read_points'
      readonly device_id: string
      /** Names of points of the device. */
      readonly points: readonly string[]
      /** As for `read`. @default live */
      readonly source?: 'live' | 'cache'
      /** Where the device cannot be asked, its last known value as `stale`. @default false */
      readonly allow_stale?: boolean
      readonly deadline?: number
    }
  /** What the unit says of itself: functions 17 and 43/14. */
  | { readonly op: 'identify'; readonly device_id: string; readonly deadline?: number }
  | {
      readonly op: 'write'
      readonly device_id: string
      readonly items: readonly WriteItem[]
      /** Filled in from the message for requests of handlers. @default { kind: 'app', name: 'application' } */
      readonly actor?: Actor
      readonly deadline?: number
    }

/** The answer of each `op`. A write that did not end `ok` for every item rejects instead (see {@link FieldPort}). */
export type FieldResponse<R extends FieldRequest = FieldRequest> = R extends { op: 'read' }
  ? BlockReading
  : R extends { op: 'read_points' }
    ? { readonly device_id: string; readonly points: readonly PointReading[] }
    : R extends { op: 'identify' }
      ? Identity
      : R extends { op: 'write' }
        ? { readonly device_id: string; readonly results: readonly WriteResult[] }
        : never

/**
 * The one way code reaches devices: serialisable, local in the gateway and over IPC in workers. It addresses a device,
 * not a bus, because devices move between buses while the product runs; the owner of the bus is found behind it.
 *
 * Rejects with a RouteMQError: DEVICE_*, BREAKER_OPEN, BUS_OVERLOADED, POINT_*, VALUE_*, ADDRESS_INVALID, READ_ONLY,
 * WRITE_DISABLED, MODBUS_*, COMMAND_EXPIRED. A failed write carries `details.results` (one WriteResult an item) and is
 * WRITE_OUTCOME_UNKNOWN when any item is unknown.
 */
export interface FieldPort {
  request<R extends FieldRequest>(request: R, signal?: AbortSignal): Promise<FieldResponse<R>>
}
