import type { PublishMode, TargetRecord } from '../modbus/device-record.js'
import type { BlockReading, FieldValue, PointReading } from '../modbus/field.js'
import type { TargetOptions } from '../modbus/target-schema.js'
import { TriggerMemory } from './trigger-memory.js'

/** What one reading of a target leads to. */
export interface Decision {
  readonly block: boolean
  /** Points to publish, in their order. */
  readonly points: readonly PointReading[]
  /** The new value of the trigger, where it has one. */
  readonly fired?: FieldValue
}

interface LastPoint {
  readonly value: FieldValue
  readonly quality: string
  readonly reason: string | undefined
  /** Monotonic milliseconds. */
  readonly at: number
}

type Watched = NonNullable<TargetOptions['trigger']>

/**
 * Decides what of a target's readings is published: every reading, what changed, what left its deadband around the last
 * *published* value, or everything when the trigger changed; at least every so often where asked; and a change of
 * quality always. Pure but for what it remembers; what a trigger made a record of is remembered by whoever makes it.
 */
export class PublishRule {
  readonly #target: TargetRecord
  readonly #triggers: TriggerMemory
  readonly #mode: PublishMode
  readonly #options: TargetOptions
  #block: { readonly values: readonly (number | boolean)[]; readonly at: number } | undefined
  readonly #points = new Map<string, LastPoint>()

  constructor(target: TargetRecord, triggers = new TriggerMemory()) {
    this.#target = target
    this.#triggers = triggers
    this.#mode = target.publish
    this.#options = target.options as TargetOptions
  }

  /** `now` is monotonic, milliseconds. */
  decide(block: BlockReading, points: readonly PointReading[], now: number): Decision {
    if (this.#mode === 'always') {
      // Only what was not good can be no news when it fails: the rest need not be remembered, fifteen thousand a second.
      if (this.#points.size > 0) this.#points.clear()
      for (const point of points) if (point.quality !== 'good') this.#remember(point, now)
      return { block: true, points }
    }
    const fired = this.#fired(block, points)
    const isTriggered = this.#mode === 'trigger' ? fired !== undefined : undefined
    const isBlockDue = isTriggered ?? (this.#isOld(this.#block?.at, now) || this.#blockChanged(block.values))
    const due = points.filter((point) => {
      const last = this.#points.get(point.point)
      if (last === undefined) return isTriggered ?? true
      if (last.quality !== point.quality || last.reason !== point.reason) return true
      return isTriggered ?? (this.#isOld(last.at, now) || this.#pointChanged(last.value, point.value))
    })
    if (isBlockDue) this.#block = { values: block.values, at: now }
    for (const point of due) this.#remember(point, now)
    return { block: isBlockDue, points: due, ...(fired !== undefined && { fired }) }
  }

  /** What of failed points is published: those whose quality or reason is news. */
  decideBad(points: readonly PointReading[], now: number): readonly PointReading[] {
    const due = points.filter((point) => {
      const last = this.#points.get(point.point)
      return last === undefined || last.quality !== point.quality || last.reason !== point.reason
    })
    for (const point of due) this.#remember(point, now)
    return due
  }

  #remember({ point, value, quality, reason }: PointReading, at: number): void {
    this.#points.set(point, { value, quality, reason, at })
  }

  /** The trigger's value where it is not that of its last record. One without a value is no new one. */
  #fired(block: BlockReading, points: readonly PointReading[]): FieldValue | undefined {
    if (this.#mode !== 'trigger') return undefined
    const value = watchedValue(this.#options.trigger!, block, points)
    return value === null || value === this.#triggers.last(this.#target) ? undefined : value
  }

  #isOld(at: number | undefined, now: number): boolean {
    const every = this.#options.at_least_every_ms
    return at === undefined || (every !== undefined && now - at >= every)
  }

  #blockChanged(values: readonly (number | boolean)[]): boolean {
    const last = this.#block?.values
    if (last === undefined || last.length !== values.length) return true
    return values.some((value, i) => this.#differs(last[i]!, value))
  }

  #pointChanged(last: FieldValue, value: FieldValue): boolean {
    return this.#differs(last, value)
  }

  #differs(last: FieldValue, value: FieldValue): boolean {
    if (last === value) return false
    if (this.#mode !== 'deadband') return true
    const distance = distanceBetween(last, value)
    // What has no distance (texts, booleans, a value that came or went) differs as soon as it is not the same.
    return distance === undefined || distance > this.#options.deadband!
  }
}

function distanceBetween(a: FieldValue, b: FieldValue): number | undefined {
  if (typeof a === 'number' && typeof b === 'number') return Math.abs(a - b)
  const [x, y] = [integerOf(a), integerOf(b)]
  if (x === undefined || y === undefined) return undefined
  return Number(x > y ? x - y : y - x)
}

/** 64-bit integers are decimal texts where a number could not hold them. */
function integerOf(value: FieldValue): bigint | undefined {
  if (typeof value === 'number' && Number.isInteger(value)) return BigInt(value)
  return typeof value === 'string' && /^-?\d{1,20}$/.test(value) ? BigInt(value) : undefined
}

/** The value of a field inside a block, by point or by PDU address; null where it has none just now. */
export function watchedValue(watched: Watched, block: BlockReading, points: readonly PointReading[]): FieldValue {
  if ('point' in watched) return points.find((point) => point.point === watched.point)?.value ?? null
  return block.values[watched.address - block.address] ?? null
}
