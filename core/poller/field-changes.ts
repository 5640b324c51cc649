import type { TargetRecord } from '../modbus/device-record.js'
import type { BlockReading, FieldValue, PointReading } from '../modbus/field.js'
import type { TargetOptions } from '../modbus/target-schema.js'
import { type Watched, watchedValue } from './publish-rule.js'

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

type Watching = Pick<TargetRecord, 'id' | 'device_id' | 'register_type' | 'options'>

const NONE: readonly FieldChange[] = []

/**
 * Tells when watched fields of targets change. The first value seen is no change. What was seen outlives changes of a target
 * that are none of its fields: nobody may miss a change because somebody edits an interval.
 */
export class FieldChanges {
  /** By target and {@link keyOf}. */
  readonly #last = new Map<number, Map<string, FieldValue>>()

  check(target: Watching, block: BlockReading, points: readonly PointReading[]): readonly FieldChange[] {
    const { events } = target.options as TargetOptions
    if (events === undefined) return NONE
    const { device_id, id } = target
    const last = this.#last.get(id) ?? new Map<string, FieldValue>()
    this.#last.set(id, last)
    const changes: FieldChange[] = []
    for (const watched of events) {
      const to = watchedValue(watched, block, points)
      if (to === null) continue
      const field = fieldOf(target, watched)
      const from = last.get(keyOf(device_id, field))
      last.set(keyOf(device_id, field), to)
      if (from === undefined || from === to) continue
      changes.push({ device_id, target_id: id, field, from, to, timestamp: block.timestamp })
    }
    return changes
  }

  /** Changes that are not told now are told by whoever reads their target next. */
  undo(changes: readonly FieldChange[]): void {
    for (const { target_id, device_id, field, from, to } of changes) {
      const last = this.#last.get(target_id)
      if (last?.get(keyOf(device_id, field)) === to) last.set(keyOf(device_id, field), from)
    }
  }

  /** Forgets all but what these targets watch. */
  keep(targets: readonly Watching[]): void {
    const watched = new Map(
      targets.map((target) => {
        const { events = [] } = target.options as TargetOptions
        return [target.id, new Set(events.map((one) => keyOf(target.device_id, fieldOf(target, one))))]
      }),
    )
    for (const [id, last] of this.#last) {
      for (const key of last.keys()) if (watched.get(id)?.has(key) !== true) last.delete(key)
      if (last.size === 0) this.#last.delete(id)
    }
  }
}

function fieldOf({ register_type }: Watching, watched: Watched): string {
  return 'point' in watched ? watched.point : `${register_type}-${watched.address}`
}

/** A target may be given to another device. */
function keyOf(deviceId: string, field: string): string {
  return `${deviceId}/${field}`
}
