import type { ErrorShape } from '../support/errors.js'
import type { Actor, WriteItem, WriteOutcome } from './field.js'

/** One item of one write, carried out or refused: who, what, last known before, after, outcome, how long. */
export interface WriteAuditRecord {
  /** Of what was begun: the record that says how it ended has the same. */
  readonly id?: string
  /** Wall clock milliseconds when the write was asked for. */
  readonly at: number
  readonly device_id: string
  /** Null where the device is unknown. */
  readonly bus: string | null
  readonly unit: number | null
  readonly actor: Actor
  readonly item: WriteItem
  /** Null where the item was refused before it came to registers. */
  readonly register_type: 'holding' | 'coil' | null
  readonly address: number | null
  /** Last known values of the addresses, null where none are known. */
  readonly before: readonly (number | boolean)[] | null
  /** What was to be written; null for a mask write of bits, and for a function of the device's own. */
  readonly after: readonly (number | boolean)[] | null
  readonly outcome: WriteOutcome
  /** `not_sent` by a rule and not by the wire: nobody tried. */
  readonly refused: boolean
  readonly error: ErrorShape | null
  readonly duration_ms: number
}

/** Takes the records; `ready` is asked before anything is done, `begin` before anything goes to a device. */
export interface WriteAudit {
  (record: WriteAuditRecord): Promise<void> | void
  /** Undefined where a record will be kept; rejects where it cannot be. */
  readonly ready?: () => Promise<void> | undefined
  /**
   * Notes a write that is about to go out, as it stands if nobody lives to say how it ended. Resolves when that is durable,
   * with what is to be called when its records are. Never rejects.
   */
  readonly begin?: (records: readonly WriteAuditRecord[]) => Promise<() => void>
}
