import type { Clock } from '../support/clock.js'
import type { ResolvedPoint } from './codec/point-codec.js'
import type { Device } from './device.js'
import type { BlockReading, ReadBlock } from './field.js'
import type { DeviceState, FieldEvent } from './field-event.js'
import { quarantinedError } from './field-failure.js'
import type { Fleet } from './fleet.js'
import { costOf, type PlannedBlock, planDevice } from './planner/plan-device.js'
import { RangeLearning } from './range-learning.js'

export interface PollRead {
  readonly block: PlannedBlock
  /** The blocks that were wanted, in the order the plan's indexes mean. */
  readonly wanted: readonly ReadBlock[]
  /** Monotonic milliseconds of the slot. */
  readonly dueAt: number
  readonly intervalMs: number
  readonly signal?: AbortSignal | undefined
}

/** Milliseconds. */
export interface AnswerTime {
  /** What request and answer take on the line, if the unit needs no time at all. */
  readonly lineMs: number
  /** How long a poll waits. */
  readonly timeoutMs: number
}

/** What the poller needs of the field side. Devices are named by their id; those unknown or in conflict reject. */
export interface PollPort {
  /** The cheapest reads that bring the blocks of one device. @throws RouteMQError DEVICE_*, ADDRESS_INVALID */
  plan(deviceId: string, wanted: readonly ReadBlock[], intervalMs: number): PlannedBlock[]
  /** Changes whenever a plan of this device should be made again. */
  planVersion(deviceId: string): number
  /**
   * One attempt to read a planned block. A device in quarantine is not asked, unless it is its turn to be probed.
   * Rejects with a RouteMQError; DEVICE_TIMEOUT where the device is silent or in quarantine.
   */
  poll(read: PollRead): Promise<BlockReading>
  /** Readable points of a device that lie inside a block. */
  points(deviceId: string, block: ReadBlock): readonly ResolvedPoint[]
  point(deviceId: string, name: string): ResolvedPoint | undefined
  /** Bus of a device; undefined where it cannot be polled. */
  busOf(deviceId: string): string | undefined
  /** Predicted milliseconds that reads of one device, one after the other, take of its bus. */
  wireTime(deviceId: string, reads: readonly ReadBlock[]): number
  /** How a read of a device fits into the time a poll gives it. */
  answerTime(deviceId: string, read: ReadBlock, intervalMs: number): AnswerTime
  stateOf(deviceId: string): DeviceState
  subscribe(listener: (event: FieldEvent) => void): () => void
}

export interface FieldPollingOptions {
  readonly fleet: Fleet
  readonly clock: Clock
  readonly subscribe: PollPort['subscribe']
}

/** The poller's entry to the field: quarantine, probes and learning on top of one attempt. */
export class FieldPolling implements PollPort {
  readonly #fleet: Fleet
  readonly #clock: Clock
  readonly #learning: RangeLearning
  readonly subscribe: PollPort['subscribe']

  constructor(options: FieldPollingOptions) {
    this.#fleet = options.fleet
    this.#clock = options.clock
    this.#learning = new RangeLearning(options.clock)
    this.subscribe = options.subscribe
  }

  plan(deviceId: string, wanted: readonly ReadBlock[], intervalMs: number): PlannedBlock[] {
    const device = this.#fleet.device(deviceId)
    return planDevice(device, wanted, device.pollTimeoutMs(intervalMs))
  }

  planVersion(deviceId: string): number {
    const device = this.#fleet.find(deviceId)
    if (device === undefined) return -1
    return Math.max(device.learned.version, device.bus.planVersion)
  }

  async poll(read: PollRead): Promise<BlockReading> {
    const { block, dueAt, intervalMs, signal } = read
    const device = this.#fleet.device(block.device_id)
    const timeoutMs = device.pollTimeoutMs(intervalMs)
    const kind = device.health.quarantine.active ? 'probe' : 'poll'
    let sentAt: number | undefined
    const onSent = () => {
      sentAt = this.#clock.monotonic()
    }
    if (kind === 'probe') this.#claimProbe(device, timeoutMs, intervalMs)
    const { device_id, register_type, address, count } = block
    try {
      const reading = await device.poll(
        { device_id, register_type, address, count },
        { kind, timeoutMs, dueAt, intervalMs, signal, onSent },
      )
      this.#learning.answered(device, read)
      return reading
    } catch (error) {
      this.#learning.failed(device, read, error)
      throw error
    } finally {
      const isBack = !device.health.quarantine.active
      const now = this.#clock.monotonic()
      if (kind === 'probe' && (isBack || sentAt === undefined)) this.#fleet.probesOf(device)?.took(sentAt ?? now, now)
    }
  }

  points(deviceId: string, block: ReadBlock): readonly ResolvedPoint[] {
    return this.#fleet.find(deviceId)?.points.inside(block) ?? []
  }

  point(deviceId: string, name: string): ResolvedPoint | undefined {
    return this.#fleet.find(deviceId)?.points.find(name)
  }

  busOf(deviceId: string): string | undefined {
    return this.#fleet.find(deviceId)?.bus.id
  }

  wireTime(deviceId: string, reads: readonly ReadBlock[]): number {
    const device = this.#fleet.find(deviceId)
    if (device === undefined || reads.length === 0) return 0
    const { silenceMs, unitSwitchMs } = device.bus.settings
    // The first follows another unit, as far as there is one.
    const switchMs = device.isAlone ? 0 : Math.max(0, unitSwitchMs - Math.max(silenceMs, device.options.delay_ms ?? 0))
    return reads.reduce((sum, { register_type, count }) => {
      const cost = costOf(device, register_type, device.bus.roundTrips.turnaroundMs)
      return sum + (cost.requestMs + count * cost.addressMs) / device.bus.concurrency
    }, switchMs)
  }

  answerTime(deviceId: string, { register_type, count }: ReadBlock, intervalMs: number): AnswerTime {
    const device = this.#fleet.device(deviceId)
    const { addressMs, frameMs } = costOf(device, register_type)
    return { lineMs: frameMs + count * addressMs, timeoutMs: device.pollTimeoutMs(intervalMs) }
  }

  stateOf(deviceId: string): DeviceState {
    return this.#fleet.find(deviceId)?.health.state ?? { name: 'unknown' }
  }

  /** Probes of silent units cost their bus a bounded share of its time; who is not due fails without being asked. */
  #claimProbe(device: Device, timeoutMs: number, intervalMs: number): void {
    if (this.#fleet.probesOf(device)?.claim(device.id, timeoutMs, intervalMs, this.#clock.monotonic())) return
    throw quarantinedError(device.id, device.bus.id)
  }
}
