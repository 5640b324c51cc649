import type { TargetRecord } from '../modbus/device-record.js'
import type { FieldValue } from '../modbus/field.js'
import type { TargetOptions } from '../modbus/target-schema.js'

type Triggered = Pick<TargetRecord, 'id' | 'device_id' | 'register_type' | 'publish' | 'options'>

/** A record that a trigger made: the value it was made for. */
export interface TriggerRecord {
  /** Which field of which device the trigger watched. */
  readonly field: string
  readonly value: FieldValue
}

/** Keeps the last records of triggers for the next life of this installation, and for others that may poll its buses. */
export interface TriggerBook {
  /** The last records of these targets, as far as they are known for certain. Never rejects. */
  recall(ids: readonly number[]): Promise<ReadonlyMap<number, TriggerRecord>>
  /** Targets are about to have another record: resolves when nobody would take an earlier one for their last. Never rejects. */
  begin(ids: readonly number[]): Promise<void>
  /** This record is durable, and the last of its target. */
  settle(id: number, record: TriggerRecord): void
}

/** A target whose trigger has another value. */
export interface Fired {
  readonly target: Triggered
  readonly value: FieldValue
}

/**
 * The values for which triggers made their last record. It outlives changes of a target that are none of its trigger: those
 * who keep the records must not get the same operation twice because somebody changed an interval. With a book it outlives
 * the process too.
 */
export class TriggerMemory {
  readonly #book: TriggerBook | undefined
  /** Undefined where it is certain that nothing is known. */
  readonly #last = new Map<number, { readonly deviceId: string; readonly record: TriggerRecord | undefined }>()
  /** Grows whenever what is being recalled may be out of date. */
  #generation = 0
  #recalling: Promise<void> | undefined

  constructor(book?: TriggerBook) {
    this.#book = book
  }

  last(target: Triggered): FieldValue | undefined {
    const record = this.#last.get(target.id)?.record
    return record?.field === fieldOf(target) ? record.value : undefined
  }

  /** True where the book is to be asked before what is read of one of these can be judged. */
  isToAsk(targets: readonly Triggered[]): boolean {
    return this.#book !== undefined && targets.some((target) => this.#isUnknown(target))
  }

  /** Asks about those of the targets of which nothing is known; one question at a time, so ask {@link isToAsk} again. */
  recall(targets: readonly Triggered[]): Promise<void> {
    this.#recalling ??= this.#recall(targets.filter((target) => this.#isUnknown(target))).finally(() => {
      this.#recalling = undefined
    })
    return this.#recalling
  }

  /** Notes records at once; resolves when they may go out, with what is to be called when they are durable. */
  async begin(fired: readonly Fired[]): Promise<() => void> {
    const noted = fired.map(({ target, value }) => {
      const record = { field: fieldOf(target), value }
      this.#last.set(target.id, { deviceId: target.device_id, record })
      return { id: target.id, record }
    })
    await this.#book?.begin(noted.map(({ id }) => id))
    return () => {
      // One that was followed by another says nothing of what is the last.
      for (const { id, record } of noted) if (this.#last.get(id)?.record === record) this.#book?.settle(id, record)
    }
  }

  /** Records that are not made now are made by whoever reads their target next. */
  undo(fired: readonly Fired[]): void {
    for (const { target } of fired) this.#last.set(target.id, { deviceId: target.device_id, record: undefined })
  }

  /** Forgets all targets but these. */
  keep(ids: ReadonlySet<number>): void {
    const gone = [...this.#last.keys()].filter((id) => !ids.has(id))
    for (const id of gone) this.#last.delete(id)
    if (gone.length > 0) void this.#book?.begin(gone)
  }

  /** Others may have polled these devices meanwhile: the book is asked again. */
  askAgain(isMeant: (deviceId: string) => boolean): void {
    this.#generation += 1
    for (const [id, { deviceId }] of this.#last) if (isMeant(deviceId)) this.#last.delete(id)
  }

  #isUnknown({ id, publish }: Triggered): boolean {
    return publish === 'trigger' && !this.#last.has(id)
  }

  async #recall(asked: readonly Triggered[]): Promise<void> {
    const generation = this.#generation
    const known = await this.#book?.recall(asked.map(({ id }) => id))
    if (generation !== this.#generation) return
    for (const { id, device_id } of asked) this.#last.set(id, { deviceId: device_id, record: known?.get(id) })
  }
}

function fieldOf({ device_id, register_type, options }: Triggered): string {
  return JSON.stringify([device_id, register_type, (options as TargetOptions).trigger])
}
