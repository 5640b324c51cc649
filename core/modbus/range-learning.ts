import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import type { Device } from './device.js'
import type { ReadBlock } from './field.js'
import { type PlannedBlock, planDevice } from './planner/plan-device.js'
import type { Wanted } from './planner/plan-reads.js'
import type { RefusalSearch } from './planner/refusal-search.js'

/** A poll whose answer or refusal says something. */
interface Polled {
  readonly block: PlannedBlock
  readonly wanted: readonly ReadBlock[]
  readonly intervalMs: number
}

/**
 * Learns what a device refuses to be read together. Its questions go to the wire as polls of their own, and nobody waits for
 * them: what is good is read as ever meanwhile. A device that falls silent ends them.
 */
export class RangeLearning {
  readonly #clock: Clock

  constructor(clock: Clock) {
    this.#clock = clock
  }

  answered(device: Device, polled: Polled): void {
    const { learned } = device
    // Nothing was ever refused: so it is with nearly every answer.
    if (learned.isBlank) return
    learned.answered(polled.block.register_type, rangesIn(polled))
    void this.#lookAgain(device, polled)
  }

  failed(device: Device, polled: Polled, error: unknown): void {
    const exception = refusalIn(error)
    if (exception === undefined) return
    const search = device.learned.refused(polled.block.register_type, rangesIn(polled), exception)
    if (search !== undefined) void this.#search(device, polled, search)
    void this.#lookAgain(device, polled)
  }

  async #search(device: Device, polled: Polled, search: RefusalSearch): Promise<void> {
    const { register_type } = polled.block
    try {
      let step = search.next()
      while (step.done !== true) step = search.next(await this.#ask(device, polled, step.value))
      device.learned.learn(register_type, rangesIn(polled), step.value, this.#clock.monotonic())
    } catch {
      device.learned.learn(register_type, rangesIn(polled), [], this.#clock.monotonic())
    }
  }

  /** Asks for a place with an old lesson as it would be read without it. */
  async #lookAgain(device: Device, polled: Polled): Promise<void> {
    const { learned } = device
    const { block, wanted, intervalMs } = polled
    const lesson = learned.due(block.register_type, block, this.#clock.monotonic())
    if (lesson === undefined) return
    const brings = ({ register_type, address, count }: PlannedBlock) =>
      register_type === lesson.type && address <= lesson.from && lesson.to < address + count
    try {
      const plan = planDevice(device, wanted, device.pollTimeoutMs(intervalMs), learned.without(lesson))
      const read = plan.find(brings)
      if (read !== undefined && (await this.#ask(device, polled, read)) === undefined) learned.forget(lesson)
    } catch {
      // It cannot be asked now; in an hour perhaps.
    }
  }

  /** The exception that refused a range, undefined where it was answered. Rejects where it was neither. */
  async #ask(device: Device, { block, intervalMs }: Polled, range: Wanted): Promise<number | undefined> {
    // What another device by the same id answers says nothing about this one.
    if (device.health.isRetired) throw new RouteMQError('DEVICE_UNKNOWN', `Device ${device.id} is another by now`)
    const { device_id, register_type } = block
    const { address, count } = range
    const timeoutMs = device.pollTimeoutMs(intervalMs)
    try {
      await device.poll(
        { device_id, register_type, address, count },
        { kind: 'poll', timeoutMs, dueAt: this.#clock.monotonic(), intervalMs },
      )
      return undefined
    } catch (error) {
      const exception = refusalIn(error)
      if (exception === undefined) throw error
      return exception
    }
  }
}

/** The wanted ranges a read brings; of one that is torn, the part it brings. */
function rangesIn({ block, wanted }: Polled): Wanted[] {
  const end = block.address + block.count
  return block.wanted.map((index) => {
    const own = wanted[index]!
    const address = Math.max(block.address, own.address)
    return { address, count: Math.min(end, own.address + own.count) - address }
  })
}

/** Exceptions 2 and 3 speak of addresses and of how many they are. */
function refusalIn(error: unknown): number | undefined {
  const exception = error instanceof RouteMQError ? error.details?.exception : undefined
  return exception === 2 || exception === 3 ? exception : undefined
}
