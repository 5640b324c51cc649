import type { TargetRecord } from '../modbus/device-record.js'
import type { BlockReading, FieldValue, PointReading } from '../modbus/field.js'
import type { TargetOptions } from '../modbus/target-schema.js'
import { watchedValue } from './publish-rule.js'

/** A watched field of a target changed its value. */
export interface FieldChange {
  readonly device_id: string
  readonly target_id: number
  /** Name of the point, or `holding-10` for a register. */
  readonly field: string
  readonly from: FieldValue
  readonly to: FieldValue
  /** Unix seconds with a fraction. */
  readonly timestamp: number
}

const NONE: readonly FieldChange[] = []

/** Tells when watched fields of one target change. The first value seen is no change. */
export class FieldChanges {
  readonly #target: TargetRecord
  readonly #last = new Map<string, FieldValue>()

  constructor(target: TargetRecord) {
    this.#target = target
  }

  check(block: BlockReading, points: readonly PointReading[]): readonly FieldChange[] {
    const { events } = this.#target.options as TargetOptions
    if (events === undefined) return NONE
    const changes: FieldChange[] = []
    for (const watched of events) {
      const field = 'point' in watched ? watched.point : `${block.register_type}-${watched.address}`
      const to = watchedValue(watched, block, points)
      if (to === null) continue
      const from = this.#last.get(field)
      this.#last.set(field, to)
      if (from === undefined || from === to) continue
      const { device_id, id } = this.#target
      changes.push({ device_id, target_id: id, field, from, to, timestamp: block.timestamp })
    }
    return changes
  }
}
