import type { ResolvedPoint } from '../modbus/codec/point-codec.js'
import type { TargetRecord } from '../modbus/device-record.js'
import type { BlockReading, FieldValue, PointReading } from '../modbus/field.js'
import type { TargetOptions } from '../modbus/target-schema.js'
import type { PublishOptions } from '../mqtt/message.js'
import { type FieldChange, FieldChanges } from './field-changes.js'
import { PublishRule } from './publish-rule.js'
import type { Sample } from './sample.js'
import type { Fired, TriggerMemory } from './trigger-memory.js'

/** One message to publish. */
export interface Outgoing {
  readonly topic: string
  readonly payload: string
  readonly options: PublishOptions
}

export interface TargetResult {
  /** Whose result it is. */
  readonly output: TargetOutput
  readonly messages: readonly Outgoing[]
  /** What is to be kept; undefined where nothing new came. */
  readonly sample: Sample | undefined
  readonly changes: readonly FieldChange[]
  /** Where the sample is a record that a trigger makes. */
  readonly fired?: Fired
}

const NOTHING: readonly never[] = []

/** Turns the readings of one target into messages and samples, by its publish mode. Pure but for the rule's memory. */
export class TargetOutput {
  readonly target: TargetRecord
  readonly #rule: PublishRule
  readonly #changes: FieldChanges
  readonly #deviceTopic: string
  readonly #blockTopic: string
  /** What every message of the block begins with. */
  readonly #blockHead: string
  readonly #pointTopics = new Map<string, string>()
  readonly #value: PublishOptions
  /** For what the next value does not say again where this one is lost. */
  readonly #news: PublishOptions
  readonly #form: 'block' | 'points' | 'both'
  #isUntaken = false
  /** Why the last reading of a block without points failed; undefined where it did not. */
  #failedFor: string | undefined

  constructor(
    target: TargetRecord,
    topicPrefix: string,
    triggers?: TriggerMemory,
    changes = new FieldChanges(),
    intervalMs = 0,
  ) {
    const options = target.options as TargetOptions
    const { device_id, register_type, address, count } = target
    this.target = target
    this.#rule = new PublishRule(target, triggers, intervalMs)
    this.#changes = changes
    this.#deviceTopic = `${topicPrefix}/${device_id}`
    this.#blockTopic = `${this.#deviceTopic}/${register_type}/${address}`
    this.#blockHead = JSON.stringify({ device_id, register_type, address, count }).slice(0, -1)
    this.#form = options.form ?? 'both'
    this.#value = {
      qos: options.qos ?? (target.publish === 'always' ? 0 : 1),
      retain: options.retain ?? false,
      // A trigger makes records, each of which counts; all else is a value of which only the newest does.
      newestOnly: target.publish !== 'trigger',
    }
    this.#news = { ...this.#value, qos: options.qos ?? 1 }
  }

  /** What the points are whose readings come with the block. */
  pointsAre(points: readonly ResolvedPoint[]): void {
    this.#rule.pointsAre(points)
  }

  /** Somebody else may have published for this target meanwhile. */
  forget(): void {
    this.#rule.forget()
    this.#failedFor = undefined
  }

  /** Something of the last results did not get out: the next says all again. It is no news for whoever keeps samples. */
  notTaken(): void {
    this.#isUntaken = this.target.publish !== 'trigger'
  }

  get retained(): boolean {
    return this.#value.retain === true
  }

  good(block: BlockReading, points: readonly PointReading[], slot: number, now: number): TargetResult {
    const decision = this.#rule.decide(block, points, now)
    const changes = this.#changes.check(this.target, block, points)
    const messages: Outgoing[] = []
    const isAgain = this.#takeUntaken()
    if ((decision.block || isAgain) && this.#form !== 'points') messages.push(this.#blockMessage(block))
    if (this.#form !== 'block') {
      const { qualityNews } = decision
      for (const point of isAgain ? points : decision.points) {
        messages.push(this.#pointMessage(point, qualityNews?.has(point.point) === true ? this.#news : this.#value))
      }
    }
    for (const change of changes) messages.push(this.#changeMessage(change))
    // That a block is good again is kept like any change of quality; only a trigger makes records of its target.
    const isBack = this.#failedFor !== undefined && this.target.publish !== 'trigger'
    this.#failedFor = undefined
    const isNews = decision.block || decision.points.length > 0 || isBack
    const sample = isNews ? this.#sample(block, decision.points, slot) : undefined
    const { fired } = decision
    if (fired === undefined) return { output: this, messages, sample, changes }
    return { output: this, messages, sample, changes, fired: { target: this.target, value: fired } }
  }

  /** A reading that failed: no values and the points without one, told once for each new reason. */
  bad(reason: string, points: readonly PointReading[], slot: number, now: number, timestamp: number): TargetResult {
    const due = this.#rule.decideBad(points, now)
    const told = this.#takeUntaken() ? points : due
    const isNews = due.length > 0 || (points.length === 0 && reason !== this.#failedFor)
    if (points.length === 0) this.#failedFor = reason
    const messages = this.#form === 'block' ? NOTHING : told.map((point) => this.#pointMessage(point, this.#news))
    if (!isNews) return { output: this, messages, sample: undefined, changes: NOTHING }
    const { device_id, register_type, address, count } = this.target
    const block = {
      device_id,
      register_type,
      address,
      count,
      values: [],
      source: 'live',
      timestamp,
      quality: 'bad',
      reason,
    } as const
    return { output: this, messages, sample: this.#sample(block, due, slot), changes: NOTHING }
  }

  /** Topics this target may have left retained. */
  retainedTopics(points: readonly { readonly name: string }[]): string[] {
    if (!this.retained) return []
    const blocks = this.#form === 'points' ? [] : [this.#blockTopic]
    const values = this.#form === 'block' ? [] : points.map(({ name }) => `${this.#deviceTopic}/points/${name}`)
    return [...blocks, ...values]
  }

  #takeUntaken(): boolean {
    const isUntaken = this.#isUntaken
    this.#isUntaken = false
    return isUntaken
  }

  #sample(block: BlockReading, points: readonly PointReading[], slot: number): Sample {
    return { target_id: this.target.id, device_id: this.target.device_id, block, points, slot }
  }

  // The payloads are put together by hand: JSON.stringify of an object takes four times as long, and a gateway makes
  // fifteen thousand of them a second.

  #blockMessage({ values, timestamp }: BlockReading): Outgoing {
    const payload = `${this.#blockHead},"values":[${values.join(',')}],"timestamp":${timestamp}}`
    return { topic: this.#blockTopic, payload, options: this.#value }
  }

  #pointMessage({ point, value, unit, quality, reason, timestamp }: PointReading, options: PublishOptions): Outgoing {
    const because = reason === undefined ? '' : `,"reason":"${reason}"`
    const payload = `{"value":${json(value)},"unit":${json(unit)},"quality":"${quality}"${because},"timestamp":${timestamp}}`
    let topic = this.#pointTopics.get(point)
    if (topic === undefined) {
      topic = `${this.#deviceTopic}/points/${point}`
      this.#pointTopics.set(point, topic)
    }
    return { topic, payload, options }
  }

  #changeMessage({ device_id, field, from, to, timestamp }: FieldChange): Outgoing {
    const payload = JSON.stringify({ device_id, field, from, to, timestamp })
    return { topic: `${this.#deviceTopic}/events/${field}`, payload, options: { qos: 1 } }
  }
}

/** The same text as JSON.stringify; what JSON has no word for never gets this far. */
function json(value: FieldValue): string {
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}
