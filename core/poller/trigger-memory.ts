import type { TargetRecord } from '../modbus/device-record.js'
import type { FieldValue } from '../modbus/field.js'
import type { TargetOptions } from '../modbus/target-schema.js'

type Triggered = Pick<TargetRecord, 'id' | 'device_id' | 'register_type' | 'options'>

/**
 * The values for which triggers made their last record. It outlives changes of a target that are none of its trigger: those
 * who keep the records must not get the same operation twice because somebody changed an interval.
 */
export class TriggerMemory {
  readonly #last = new Map<number, { readonly field: string; readonly value: FieldValue }>()

  last(target: Triggered): FieldValue | undefined {
    const known = this.#last.get(target.id)
    return known?.field === fieldOf(target) ? known.value : undefined
  }

  note(target: Triggered, value: FieldValue): void {
    this.#last.set(target.id, { field: fieldOf(target), value })
  }

  forget(id: number): void {
    this.#last.delete(id)
  }

  /** Forgets all targets but these. */
  keep(ids: ReadonlySet<number>): void {
    for (const id of this.#last.keys()) if (!ids.has(id)) this.#last.delete(id)
  }
}

function fieldOf({ device_id, register_type, options }: Triggered): string {
  return JSON.stringify([device_id, register_type, (options as TargetOptions).trigger])
}
