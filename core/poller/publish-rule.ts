import { type Decimal, digitsAt, parseDecimal } from '../modbus/codec/decimal.js'
import type { ResolvedPoint } from '../modbus/codec/point-codec.js'
import type { PublishMode, TargetRecord } from '../modbus/device-record.js'
import type { BlockReading, FieldValue, PointReading } from '../modbus/field.js'
import type { TargetOptions } from '../modbus/target-schema.js'
import { TriggerMemory } from './trigger-memory.js'

/** What one reading of a target leads to. */
export interface Decision {
  readonly block: boolean
  /** Points to publish, in their order. */
  readonly points: readonly PointReading[]
  /** Those of them whose quality is news, by name. */
  readonly qualityNews?: ReadonlySet<string>
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

const GOOD = { quality: 'good', reason: undefined } as const

/** Moments of a grid are fractions: two that lie five seconds apart may differ by a little less. */
const ROUNDING_MS = 0.5

export type Watched = NonNullable<TargetOptions['trigger']>

/**
 * Decides what of a target's readings is published: every reading, what changed, what left its deadband around the last
 * *published* value, or everything when the trigger changed; at least every so often where asked; and a change of
 * quality always. Pure but for what it remembers; what a trigger made a record of is remembered by whoever makes it.
 */
export class PublishRule {
  readonly #target: TargetRecord
  readonly #triggers: TriggerMemory
  readonly #intervalMs: number
  readonly #mode: PublishMode
  readonly #options: TargetOptions
  #block: { readonly values: readonly (number | boolean)[]; readonly at: number } | undefined
  readonly #points = new Map<string, LastPoint>()
  readonly #deadband: Decimal
  /** Points whose values lie a distance apart, also where they are decimal texts. */
  #numbers: ReadonlySet<string> = new Set()
  /** Places in the block where a register is judged by itself. */
  #bare: readonly number[]

  /** `intervalMs`: how far the readings lie apart. */
  constructor(target: TargetRecord, triggers = new TriggerMemory(), intervalMs = 0) {
    this.#target = target
    this.#triggers = triggers
    this.#intervalMs = intervalMs
    this.#mode = target.publish
    this.#options = target.options as TargetOptions
    this.#deadband = parseDecimal(this.#options.deadband ?? 0)!
    this.#bare = placesOutside(target, [])
  }

  /** What the points are whose readings come with the block. */
  pointsAre(points: readonly ResolvedPoint[]): void {
    this.#numbers = new Set(points.filter(isNumber).map(({ name }) => name))
    // A bit says nothing about the other bits of its register.
    const whole = points.filter(({ type }) => type !== 'bit')
    this.#bare = placesOutside(this.#target, this.#mode === 'deadband' ? whole : [])
  }

  /** What was published last is not known any more: whatever is read next is news. */
  forget(): void {
    this.#block = undefined
    this.#points.clear()
  }

  /** `now` is monotonic, milliseconds. */
  decide(block: BlockReading, points: readonly PointReading[], now: number): Decision {
    if (this.#mode === 'always') return { block: true, points, ...this.#newQualities(points, now) }
    const fired = this.#fired(block, points)
    const isTriggered = this.#mode === 'trigger' ? fired !== undefined : undefined
    const due = points.filter((point) => {
      const last = this.#points.get(point.point)
      if (last === undefined) return isTriggered ?? true
      if (last.quality !== point.quality || last.reason !== point.reason) return true
      return isTriggered ?? (this.#isOld(last.at, now) || this.#pointChanged(last.value, point))
    })
    // Half of a value has no distance that means anything: the points speak for their registers.
    const isPointDue = this.#mode === 'deadband' && due.length > 0
    const isBlockDue =
      isTriggered ?? (isPointDue || this.#isOld(this.#block?.at, now) || this.#blockChanged(block.values))
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

  /** Only what was not good is remembered: the rest cannot be news, fifteen thousand a second. */
  #newQualities(points: readonly PointReading[], now: number): Pick<Decision, 'qualityNews'> {
    if (this.#points.size === 0 && points.every(({ quality }) => quality === 'good')) return {}
    const before = new Map(this.#points)
    this.#points.clear()
    const news = points.filter((point) => {
      if (point.quality !== 'good') this.#remember(point, now)
      const { quality, reason } = before.get(point.point) ?? GOOD
      return quality !== point.quality || reason !== point.reason
    })
    return { qualityNews: new Set(news.map(({ point }) => point)) }
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

  /** Whether what was published then would be too old by the next reading. */
  #isOld(at: number | undefined, now: number): boolean {
    const every = this.#options.at_least_every_ms
    return at === undefined || (every !== undefined && now + this.#intervalMs - at > every + ROUNDING_MS)
  }

  #blockChanged(values: readonly (number | boolean)[]): boolean {
    const last = this.#block?.values
    if (last === undefined || last.length !== values.length) return true
    return this.#bare.some((at) => this.#differs(last[at]!, values[at]!, true))
  }

  #pointChanged(last: FieldValue, { point, value }: PointReading): boolean {
    return this.#differs(last, value, this.#numbers.has(point))
  }

  #differs(last: FieldValue, value: FieldValue, isNumber: boolean): boolean {
    if (last === value) return false
    if (this.#mode !== 'deadband' || !isNumber) return true
    if (Number.isSafeInteger(last) && Number.isSafeInteger(value)) {
      return Math.abs((last as number) - (value as number)) > this.#options.deadband!
    }
    const [from, to] = [decimalOf(last), decimalOf(value)]
    // What has no distance (booleans, a value that came or went) differs as soon as it is not the same.
    return from === undefined || to === undefined || isFurther(from, to, this.#deadband)
  }
}

function isNumber({ type, enum: names }: ResolvedPoint): boolean {
  return type !== 'string' && type !== 'raw' && names === null
}

function placesOutside({ address, count }: TargetRecord, points: readonly ResolvedPoint[]): number[] {
  return Array.from({ length: count }, (_, place) => place).filter(
    (place) =>
      !points.some((point) => point.address <= address + place && address + place < point.address + point.words),
  )
}

function decimalOf(value: FieldValue): Decimal | undefined {
  return typeof value === 'number' || typeof value === 'string' ? parseDecimal(value) : undefined
}

/** Exactly: binary fractions would call 20.3 and 20.2 further apart than 0.1, and 20.2 and 20.1 nearer. */
function isFurther(a: Decimal, b: Decimal, distance: Decimal): boolean {
  const places = Math.max(a.places, b.places, distance.places)
  const apart = digitsAt(a, places) - digitsAt(b, places)
  return (apart < 0n ? -apart : apart) > digitsAt(distance, places)
}

/** The value of a field inside a block, by point or by PDU address; null where it has none just now. */
export function watchedValue(watched: Watched, block: BlockReading, points: readonly PointReading[]): FieldValue {
  if ('point' in watched) return points.find((point) => point.point === watched.point)?.value ?? null
  return block.values[watched.address - block.address] ?? null
}
