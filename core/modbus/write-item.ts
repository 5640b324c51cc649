import type { ResolvedPoint } from './codec/point-codec.js'
import type { DeviceOptions } from './device-schema.js'
import type { DevicePoints } from './points.js'

/** Function 16 carries at most 123 registers, 23 writes 121, function 15 at most 1968 coils (V1.1b3, 6.12, 6.17, 6.11). */
const MAX_WRITE_REGISTERS = 123
export const MAX_EXCHANGE_REGISTERS = 121
const MAX_WRITE_COILS = 1_968
/** Items of one write: each is a result of the answer and a row of the audit. */
export const MAX_WRITE_ITEMS = 1_000

/** What one request to a device may carry, and how. */
export interface WriteLimits {
  readonly maxRegisters: number
  readonly maxCoils: number
  /** Functions 15 and 16 also for one: it knows no 5 and 6. */
  readonly alwaysMultiple: boolean
}

export function writeLimitsOf({ max_write_registers, max_write_coils, write_multiple }: DeviceOptions): WriteLimits {
  return {
    maxRegisters: max_write_registers ?? MAX_WRITE_REGISTERS,
    maxCoils: max_write_coils ?? MAX_WRITE_COILS,
    alwaysMultiple: write_multiple ?? false,
  }
}

export interface WriteRules extends WriteLimits {
  readonly device_id: string
  readonly points: DevicePoints
  readonly raw_write: 'allow' | 'points' | 'deny'
  /** Nobody answers: what wants an answer cannot be sent. */
  readonly broadcast: boolean
}

/** What one item comes to on the wire, all rules passed. */
export type EncodedItem = {
  /** The point behind it; null for raw registers and coils. */
  readonly point: ResolvedPoint | null
  /** Sending it twice does no harm. */
  readonly safe: boolean
  /** False where reading the addresses back could have an effect. */
  readonly readable: boolean
} & (
  | {
      readonly register_type: 'holding'
      readonly address: number
      readonly words: readonly number[]
      readonly read?: { readonly address: number; readonly count: number } | undefined
    }
  | {
      readonly register_type: 'holding'
      readonly address: number
      readonly mask: { readonly and: number; readonly or: number }
    }
  | { readonly register_type: 'coil'; readonly address: number; readonly bits: readonly boolean[] }
  | {
      readonly register_type: null
      readonly address: null
      readonly custom: { readonly functionCode: number; readonly data: Uint8Array }
    }
)
