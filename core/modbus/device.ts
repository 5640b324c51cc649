import { sleep } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import type { Bus, BusAnswer } from './bus/bus.js'
import { BusError } from './bus/bus-error.js'
import type { ReadCache } from './cache.js'
import { DeviceHealth, type DeviceHealthContext } from './device-health.js'
import type { DeviceRecord } from './device-record.js'
import type { DeviceOptions } from './device-schema.js'
import { unitOf } from './endpoint.js'
import type { BlockReading, ReadBlock, RegisterType } from './field.js'
import { BUSY, exceptionOf, quarantinedError, toFieldError, verdictOf, wasTried } from './field-failure.js'
import type { RequestCounter } from './field-metrics.js'
import type { Patience } from './patience.js'
import { LearnedRanges } from './planner/learned-ranges.js'
import { DevicePoints } from './points.js'
import { SharedReads } from './shared-reads.js'
import type { ModbusCall } from './transport/transport.js'

const READ_FUNCTION: Readonly<Record<RegisterType, 1 | 2 | 3 | 4>> = { coil: 1, discrete: 2, holding: 3, input: 4 }
/** First pause after "server busy"; it doubles up to ten times itself. */
const BUSY_PAUSE_MS = 100

export interface DeviceContext extends DeviceHealthContext {
  readonly bus: Bus
  readonly cache: ReadCache
  readonly counter: RequestCounter
}

export interface PollTiming {
  readonly kind: 'poll' | 'probe'
  readonly timeoutMs: number
  /** Monotonic milliseconds of the slot, and the interval of its grid. */
  readonly dueAt: number
  readonly intervalMs: number
  readonly signal?: AbortSignal | undefined
  /** Runs when the request goes to the wire. */
  readonly onSent?: () => void
}

export interface AttemptOptions extends Patience {
  /** Runs when the request goes to the wire. */
  readonly onSent?: () => void
  /** Why it may not go to the wire any more, beside what the state of the device says. */
  readonly refusal?: () => RouteMQError | undefined
  /** A read that is tried again: see {@link DeviceHealth.wait}. @default false */
  readonly mayRepeat?: boolean
}

/** One unit on a bus and how it is read. Writes go through the writer, over {@link attempt}. */
export class Device {
  readonly record: DeviceRecord
  readonly options: DeviceOptions
  readonly unit: number
  readonly points: DevicePoints
  readonly health: DeviceHealth
  readonly learned = new LearnedRanges()
  readonly #context: DeviceContext
  readonly #shared: SharedReads

  constructor(record: DeviceRecord, context: DeviceContext) {
    this.record = record
    this.options = record.options as DeviceOptions
    this.unit = unitOf(record)
    this.points = new DevicePoints(record)
    this.health = new DeviceHealth(record.device_id, context.bus.id, context)
    this.#context = context
    this.#shared = new SharedReads(record.device_id, context.clock)
  }

  get id(): string {
    return this.record.device_id
  }

  get bus(): Bus {
    return this.#context.bus
  }

  /** What the cache calls this unit: two devices may be one unit. */
  get space(): string {
    return `${this.bus.id}#${this.unit}`
  }

  /** Whether what goes to this device reaches the unit that the cache calls `space`: a broadcast reaches all of its bus. */
  reaches(space: string): boolean {
    return this.broadcast ? space.startsWith(`${this.bus.id}#`) : space === this.space
  }

  /** The spaces whose writes reach this unit: its own, and everybody's where there is one. */
  get reachedBy(): readonly string[] {
    const { bus, space } = this
    return bus.broadcasts && !this.broadcast ? [space, `${bus.id}#0`] : [space]
  }

  /** Whether its bus has no other device. */
  get isAlone(): boolean {
    return this.#context.isAlone()
  }

  /** Milliseconds an answer to a read on demand or a write may take. */
  get timeoutMs(): number {
    return this.record.timeout_ms ?? this.record.timeout * 1_000
  }

  /** True where unit 0 is everybody and nobody answers. */
  get broadcast(): boolean {
    return this.unit === 0 && this.bus.broadcasts
  }

  /** Milliseconds an answer to a poll may take: at most a second (unless the record says more) and half its interval. */
  pollTimeoutMs(intervalMs: number): number {
    return Math.max(1, Math.min(this.#longestPollMs, intervalMs / 2))
  }

  get #longestPollMs(): number {
    return this.record.poll_timeout_ms ?? Math.min(this.timeoutMs, 1_000)
  }

  /**
   * Reads for somebody who waits: with the record's time-out and retries. Equal reads that are not on the wire yet are
   * one request.
   */
  async read(block: ReadBlock, patience: Patience = {}): Promise<BlockReading> {
    this.#refuseBroadcastRead(block)
    return this.#shared.read(block, patience, (signal, onSent) => this.#readWithRetries(block, signal, onSent))
  }

  /** One attempt of the poller: no retry, no breaker. */
  async poll(
    block: ReadBlock,
    { kind, timeoutMs, dueAt, intervalMs, signal, ...more }: PollTiming,
  ): Promise<BlockReading> {
    this.#refuseBroadcastRead(block)
    const { bus, clock } = this.#context
    const call = readCall(block)
    const type = typeOf(block)
    const wait = { timeoutMs }
    let sentAt = Number.NEGATIVE_INFINITY
    try {
      return await this.#readOnce(block, timeoutMs, (onSent) =>
        bus.submit({
          device: this.id,
          unit: this.unit,
          kind,
          call,
          wait: () => wait,
          delayMs: this.options.delay_ms,
          limit: 10_000,
          dueAt,
          intervalMs,
          signal,
          onSent: () => {
            sentAt = clock.monotonic()
            onSent()
            more.onSent?.()
          },
          onEnd: (end) => {
            this.#count(type, call, end)
            if (end instanceof BusError) this.health.pollFailed(end, sentAt)
            else this.health.alive()
          },
          refusal: kind === 'poll' ? this.#withheld : undefined,
        }),
      )
    } catch (error) {
      throw toFieldError(error, { device: this.id, bus: this.bus.id, unit: this.unit, call, timeoutMs })
    }
  }

  /**
   * One request through the breaker, for reads on demand and writes.
   *
   * @throws BusError as the bus brought it, or RouteMQError BREAKER_OPEN.
   */
  async attempt(call: ModbusCall, kind: 'read' | 'write', type: string, how: AttemptOptions): Promise<BusAnswer> {
    const { clock, bus, probes } = this.#context
    const { health } = this
    const wasQuarantined = health.quarantine.active
    const wait = () => health.wait(kind, how.mayRepeat === true, this.timeoutMs, this.#longestPollMs)
    // A trial takes as long as was paid for.
    const trial = health.isOnTrial ? wait() : undefined
    health.pass(trial?.timeoutMs ?? 0)
    let sentAt: number | undefined
    return await bus.submit({
      device: this.id,
      unit: this.unit,
      kind,
      call,
      wait: trial === undefined ? wait : () => trial,
      delayMs: this.options.delay_ms,
      limit: this.options.queue_limit ?? 100,
      deadline: how.deadline,
      signal: how.signal,
      onSent: () => {
        sentAt = clock.monotonic()
        if (health.isSuspect) health.trialBegan()
        how.onSent?.()
      },
      refusal: () => how.refusal?.() ?? (trial === undefined ? health.refusal(kind, wasQuarantined) : undefined),
      onEnd: (end) => {
        this.#count(type, call, end)
        if (end instanceof BusError) health.failed(end, trial !== undefined)
        else if (end.isHeldUp) health.alive()
        else health.answered(end.roundTripMs)
        // What was not waited for to the end cost that much less.
        const now = clock.monotonic()
        if (trial !== undefined) probes.took(sentAt ?? now, now)
      },
    })
  }

  toError(error: unknown, call: ModbusCall): RouteMQError {
    const { id, unit, timeoutMs } = this
    return toFieldError(error, { device: id, bus: this.bus.id, unit, call, timeoutMs })
  }

  /** Polls that were queued before the device fell silent cost its bus no time-out each: they are not sent any more. */
  readonly #withheld = (): RouteMQError | undefined =>
    this.health.quarantine.active ? quarantinedError(this.id, this.bus.id) : undefined

  #count(type: string, call: ModbusCall, end: BusAnswer | BusError): void {
    const { counter } = this.#context
    if (!(end instanceof BusError)) counter.succeeded(type, end.roundTripMs)
    else if (wasTried(end)) counter.failed(type, this.toError(end, call).code)
  }

  #refuseBroadcastRead(block: ReadBlock): void {
    if (!this.broadcast) return
    throw new RouteMQError('ADDRESS_INVALID', `Unit 0 is everybody on ${this.bus.id}; nobody answers a read`, {
      details: { ...block },
    })
  }

  async #readWithRetries(block: ReadBlock, signal: AbortSignal | undefined, onSent: () => void): Promise<BlockReading> {
    const { clock } = this.#context
    const call = readCall(block)
    const busyUntil = clock.monotonic() + this.timeoutMs
    let busyPause = BUSY_PAUSE_MS
    for (let attempt = 0; ; ) {
      try {
        const mayRepeat = attempt < this.record.max_retries && attempt === 0
        return await this.#readOnce(block, this.timeoutMs, (sent) => {
          const both = () => {
            onSent()
            sent()
          }
          return this.attempt(call, 'read', typeOf(block), { signal, onSent: both, mayRepeat })
        })
      } catch (error) {
        const busy = error instanceof BusError && exceptionOf(error) === BUSY
        const failed = error instanceof BusError && verdictOf(error) === 'failed'
        const again = busy
          ? clock.monotonic() + busyPause < busyUntil
          : failed && attempt < this.record.max_retries && this.health.breaker.retryAfter(clock.monotonic()) === 0
        if (!again || signal?.aborted === true) throw this.toError(error, call)
        await sleep(busy ? busyPause : this.record.retry_delay * 1_000, signal, clock)
        if (busy) busyPause = Math.min(busyPause * 2, BUSY_PAUSE_MS * 10)
        else attempt += 1
      }
    }
  }

  /** What `ask` brings, cached unless a write came between; it calls back when its request goes to the wire. */
  async #readOnce(
    block: ReadBlock,
    timeoutMs: number,
    ask: (onSent: () => void) => Promise<BusAnswer>,
  ): Promise<BlockReading> {
    const { cache } = this.#context
    let ticket = undefined as ReturnType<ReadCache['open']> | undefined
    try {
      const answer = await ask(() => {
        ticket?.close()
        // The same id may be another unit by now.
        if (!this.health.isRetired) ticket = cache.open(block, this.space)
      })
      if (answer.isHeldUp) {
        throw new BusError(`no answer in ${timeoutMs} ms`, { kind: 'timeout' }, { timeoutMs })
      }
      const timestamp = answer.completedAt / 1_000
      ticket?.fill(answer.values, timestamp)
      const { device_id, register_type, address, count } = block
      return {
        device_id,
        register_type,
        address,
        count,
        values: answer.values,
        source: 'live',
        timestamp,
        quality: 'good',
      }
    } finally {
      ticket?.close()
    }
  }
}

/** What a request is counted as. */
function typeOf(block: ReadBlock): string {
  return `read_${block.register_type}`
}

function readCall(block: ReadBlock): ModbusCall {
  return { fc: READ_FUNCTION[block.register_type], address: block.address, count: block.count }
}
