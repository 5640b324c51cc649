import type { TargetRecord } from '../modbus/device-record.js'
import type { BlockReading } from '../modbus/field.js'
import type { PollPort } from '../modbus/field-polling.js'
import type { PlannedBlock } from '../modbus/planner/plan-device.js'
import { badReading, PointReader } from '../modbus/points.js'
import { RouteMQError, toErrorShape } from '../support/errors.js'
import type { FieldChanges } from './field-changes.js'
import { TargetOutput, type TargetResult } from './target-output.js'
import type { TriggerMemory } from './trigger-memory.js'

export interface GroupOptions {
  readonly deviceId: string
  readonly intervalMs: number
  readonly topicPrefix: string
  readonly field: PollPort
  /** Of all groups: a target may move from one to another. */
  readonly triggers?: TriggerMemory
  readonly changes?: FieldChanges
  /** Wall clock milliseconds. */
  readonly now: () => number
}

export interface CycleResult {
  readonly results: readonly TargetResult[]
  readonly succeeded: number
  readonly failed: number
}

interface Item {
  readonly output: TargetOutput
  readers: readonly PointReader[]
}

/** A planned read, and how it fares. */
interface Read {
  readonly block: PlannedBlock
  /** Refusals (exceptions 1 to 3) in a row. */
  refusals: number
  /** First slot in which it is asked again. */
  resumeAt: number
  /** Why it is asked less often. */
  refusal: RouteMQError | undefined
}

/** Refusals in a row after which a read is asked less often: at least in one slot of these, and about each minute. */
const SLOW_AFTER = 3
const SLOWEST = 64
const LONGEST_PAUSE_MS = 60_000

/** The targets of one device with one interval: read together, by one plan, in one slot. */
export class PollGroup {
  readonly #options: GroupOptions
  #items: Item[] = []
  #outputs: ReadonlySet<TargetOutput> = new Set()
  #targets: readonly TargetRecord[] = []
  #reads: Read[] = []
  #unplanned = new Map<number, RouteMQError>()
  #version = Number.NaN

  constructor(options: GroupOptions) {
    this.#options = options
  }

  get deviceId(): string {
    return this.#options.deviceId
  }

  get intervalMs(): number {
    return this.#options.intervalMs
  }

  get targets(): readonly TargetRecord[] {
    return this.#targets
  }

  /** Topics the targets may leave retained, by the points the device has now. */
  topicsToRetain(): string[] {
    if (!this.#items.some(({ output }) => output.retained)) return []
    this.#replan()
    return this.#items.flatMap(({ output, readers }) => output.retainedTopics(readers.map(({ point }) => point)))
  }

  /** Takes new targets in; what stays as it was keeps the memory of its publish rule. */
  update(targets: readonly TargetRecord[]): void {
    const known = new Map(this.#items.map((item) => [ruleKey(item.output.target), item]))
    this.#items = targets.map((target) => {
      const { topicPrefix, triggers, changes, intervalMs } = this.#options
      const output = () => new TargetOutput(target, topicPrefix, triggers, changes, intervalMs)
      return known.get(ruleKey(target)) ?? { output: output(), readers: [] }
    })
    this.#outputs = new Set(this.#items.map(({ output }) => output))
    this.#targets = targets
    this.#reads = []
    this.#version = Number.NaN
  }

  /** Whether what came of this output still belongs to a target as it is now. */
  has(output: TargetOutput): boolean {
    return this.#outputs.has(output)
  }

  /** Others may have published for these targets meanwhile. */
  forget(): void {
    for (const { output } of this.#items) output.forget()
  }

  /** The reads of a slot, as planned now. */
  plan(): readonly PlannedBlock[] {
    this.#replan()
    return this.#reads.map(({ block }) => block)
  }

  /** Reads everything once. Never rejects for what a device does. */
  async cycle(slot: number, dueAt: number, signal: AbortSignal): Promise<CycleResult> {
    this.#replan()
    // Targets may change while the device is read: what an index means is what it meant when the slot began.
    const items = this.#items
    const targets = this.#targets
    const unplanned = this.#unplanned
    const skipped = this.#reads.filter((read) => read.resumeAt > slot)
    const asked = skipped.length === 0 ? this.#reads : this.#reads.filter((read) => read.resumeAt <= slot)
    const answers = await Promise.all(asked.map((read) => this.#read(read, targets, slot, dueAt)))
    if (signal.aborted) return { results: [], succeeded: 0, failed: 0 }
    const readings = new Map<number, BlockReading | RouteMQError>(unplanned)
    for (const [nth, answer] of answers.entries()) {
      for (const index of asked[nth]!.block.wanted) {
        const before = readings.get(index)
        // A torn target is good where all its parts are.
        if (before instanceof RouteMQError) continue
        readings.set(index, answer instanceof RouteMQError ? answer : part(answer, targets[index]!, before))
      }
    }
    // A torn target one part of which is not asked just now has no value, whatever its other parts brought.
    for (const { block, refusal } of skipped) {
      for (const index of block.wanted) if (readings.has(index)) readings.set(index, refusal!)
    }
    let succeeded = 0
    const results = [...readings].flatMap(([index, reading]) => {
      const item = items[index]!
      if (!this.has(item.output)) return []
      const { output, readers } = item
      if (!(reading instanceof RouteMQError)) {
        succeeded += 1
        return output.good(
          reading,
          readers.map((reader) => reader.read(reading)),
          slot,
          dueAt,
        )
      }
      const timestamp = this.#options.now() / 1_000
      const reason = toErrorShape(reading).code
      return output.bad(
        reason,
        readers.map(({ point }) => badReading(point, reason, timestamp)),
        slot,
        dueAt,
        timestamp,
      )
    })
    return { results, succeeded, failed: results.length - succeeded }
  }

  async #read(
    read: Read,
    wanted: readonly TargetRecord[],
    slot: number,
    dueAt: number,
  ): Promise<BlockReading | RouteMQError> {
    const { field, intervalMs } = this.#options
    try {
      const reading = await field.poll({ block: read.block, wanted, dueAt, intervalMs })
      read.refusals = 0
      return reading
    } catch (error) {
      if (!(error instanceof RouteMQError)) throw error
      const exception = error.details?.exception
      if (exception === 1 || exception === 2 || exception === 3) {
        read.refusals += 1
        const slowest = Math.min(SLOWEST, Math.max(1, Math.floor(LONGEST_PAUSE_MS / intervalMs)))
        const slower = Math.min(slowest, 2 ** (read.refusals - SLOW_AFTER))
        if (read.refusals > SLOW_AFTER) read.resumeAt = slot + slower
        read.refusal = error
      }
      return error
    }
  }

  /** The device is back, perhaps with other registers: what it refused is asked in each slot again. */
  deviceIsBack(): void {
    for (const read of this.#reads) {
      read.refusals = 0
      read.resumeAt = 0
    }
  }

  /** Plans again where targets, the device or what is known about it changed; reads that stay go on as they fare. */
  #replan(): void {
    const { deviceId, field, intervalMs } = this.#options
    const version = field.planVersion(deviceId)
    if (version === this.#version) return
    this.#version = version
    this.#unplanned = new Map()
    const targets = this.targets
    const known = new Map(this.#reads.map((read) => [keyOf(read.block), read]))
    const readOf = (block: PlannedBlock) => ({ ...(known.get(keyOf(block)) ?? fresh), block })
    for (const item of this.#items) {
      const points = field.points(deviceId, item.output.target)
      item.readers = points.map((point) => new PointReader(point))
      item.output.pointsAre(points)
    }
    try {
      this.#reads = field.plan(deviceId, targets, intervalMs).map(readOf)
    } catch {
      // One target that cannot be planned must not cost the others their values: each alone.
      this.#reads = targets.flatMap((target, index) => {
        try {
          return field.plan(deviceId, [target], intervalMs).map((block) => readOf({ ...block, wanted: [index] }))
        } catch (error) {
          if (!(error instanceof RouteMQError)) throw error
          this.#unplanned.set(index, error)
          return []
        }
      })
    }
  }
}

const fresh = { refusals: 0, resumeAt: 0, refusal: undefined }

function keyOf({ register_type, address, count }: PlannedBlock): string {
  return `${register_type}:${address}+${count}`
}

function ruleKey(target: TargetRecord): string {
  const { id, device_id, register_type, address, count, publish, options } = target
  return JSON.stringify([id, device_id, register_type, address, count, publish, options])
}

/** The part of a reading that is a target's; torn targets are put together, as old as their oldest part. */
function part(reading: BlockReading, target: TargetRecord, before: BlockReading | undefined): BlockReading {
  const { device_id, register_type, address, count } = target
  // Most are read just as they are wanted.
  if (reading.address === address && reading.count === count) return reading
  const from = Math.max(address, reading.address)
  const to = Math.min(address + count, reading.address + reading.count)
  const own = reading.values.slice(from - reading.address, to - reading.address)
  const block = { ...reading, device_id, register_type, address, count }
  if (own.length === count) return { ...block, values: own }
  const values = [...(before?.values ?? Array.from({ length: count }, () => 0))]
  values.splice(from - address, own.length, ...own)
  return { ...block, values, timestamp: Math.min(reading.timestamp, before?.timestamp ?? reading.timestamp) }
}
