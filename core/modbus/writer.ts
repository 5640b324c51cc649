import { randomUUID } from 'node:crypto'
import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError, toErrorShape } from '../support/errors.js'
import type { ReadCache } from './cache.js'
import type { Device } from './device.js'
import type { Actor, WriteItem, WriteResult } from './field.js'
import { describeAddress } from './field-failure.js'
import type { Patience } from './patience.js'
import { Turns } from './turns.js'
import type { WriteAudit, WriteAuditRecord } from './write-audit.js'
import { WriteIntervals } from './write-intervals.js'
import { type EncodedItem, type WriteRules, writeLimitsOf } from './write-item.js'
import { planWrite, type WriteStep } from './write-plan.js'
import { finish, newProgress, type Progress, verdict, withResults, withWritten } from './write-results.js'
import { encodeItem } from './write-rules.js'
import { runStep, type StepResult, unknownOutcome } from './write-step.js'

export interface WriterOptions {
  readonly cache: ReadCache
  readonly clock: Clock
  readonly logger: Logger
  /** Why a device may not be written just now; undefined where it may. Asked again before every request. */
  readonly refusal: (device: Device) => string | undefined
  readonly audit: WriteAudit
}

export interface WriteOrder {
  readonly items: readonly WriteItem[]
  readonly actor: Actor
  readonly patience: Patience
}

/** A write from the moment it may be on the wire. */
interface BegunWrite {
  /** Of the records of its items; none before. */
  ids: readonly string[]
  end: (() => void) | undefined
}

interface OneWrite {
  readonly device: Device
  readonly order: WriteOrder
  readonly progress: Progress
  /** Wall clock milliseconds when it was asked for. */
  readonly at: number
  readonly begun: BegunWrite
}

/** What the writes of one unit share, whatever record they come by. */
interface Lane {
  readonly turns: Turns
  readonly intervals: WriteIntervals
}

const WAITING_WRITES = 100
/** An audit that takes longer than this is no reason to keep a caller waiting. */
const AUDIT_WAIT_MS = 5_000

/** Writes: rules first, then the wire, one write of a unit at a time, every item and every refusal audited. */
export class Writer {
  readonly #options: WriterOptions
  readonly #lanes = new Map<string, Lane>()

  constructor(options: WriterOptions) {
    this.#options = options
  }

  /**
   * Carries the items out in their order and stops at the first that does not end `ok`.
   *
   * @throws RouteMQError with `details.results`: WRITE_OUTCOME_UNKNOWN where any item is unknown, WRITE_PARTIAL where
   * some were written and a later one was not, else the code of the item that failed.
   */
  async write(device: Device, order: WriteOrder): Promise<readonly WriteResult[]> {
    const { clock, audit } = this.#options
    const at = clock.now()
    const startedAt = clock.monotonic()
    const progress = newProgress(order.items.length)
    const begun: BegunWrite = { ids: [], end: undefined }
    let failure: RouteMQError | undefined
    try {
      // What nobody could trace afterwards is not done.
      await audit.ready?.()
      progress.encoded = this.#check(device, order.items, progress)
      await this.#inTurn(device, order.patience, () => this.#run({ device, order, progress, at, begun }))
    } catch (error) {
      failure = device.toError(error, { fc: 'raw', functionCode: 16, data: new Uint8Array() })
    }
    const results = finish(order.items, progress, failure)
    await this.#audit({ device, order, progress, at, begun }, results, clock.monotonic() - startedAt)
    const first = results.find((result) => result.outcome !== 'ok')
    if (first === undefined) return results.map((result, index) => withWritten(result, progress.encoded[index]))
    throw verdict(device, results, failure ?? progress.errors.find((error) => error !== undefined))
  }

  /** A write of a device nobody knows or may use is a refusal like any other. */
  async refuse(deviceId: string, order: WriteOrder, error: RouteMQError): Promise<RouteMQError> {
    const shape = toErrorShape(error)
    const results = order.items.map((item): WriteResult => ({ item, outcome: 'not_sent', error: shape }))
    const at = this.#options.clock.now()
    const base = { at, device_id: deviceId, bus: null, unit: null, actor: order.actor }
    const refused = {
      before: null,
      after: null,
      outcome: 'not_sent',
      refused: true,
      error: shape,
      duration_ms: 0,
    } as const
    await Promise.all(
      order.items.map((item) => this.#record({ ...base, item, register_type: null, address: null, ...refused })),
    )
    return withResults(error, error.code, error.message, results)
  }

  /** Every item against every rule, before the first goes out: a write that is wrong in its third item does nothing. */
  #check(device: Device, items: readonly WriteItem[], progress: Progress): EncodedItem[] {
    if (items.length === 0) {
      throw new RouteMQError('VALUE_INVALID', `A write of device ${device.id} names nothing to write`, {
        details: { device_id: device.id },
      })
    }
    const rules: WriteRules = {
      device_id: device.id,
      points: device.points,
      raw_write: device.record.raw_write,
      ...writeLimitsOf(device.options),
      broadcast: device.broadcast,
    }
    this.#refuseDisabled(device)
    return items.map((item, index) => {
      try {
        return encodeItem(item, rules)
      } catch (error) {
        if (error instanceof RouteMQError) progress.errors[index] = error
        throw error
      }
    })
  }

  async #inTurn(device: Device, patience: Patience, run: () => Promise<void>): Promise<void> {
    const done = await this.#lane(device.space).turns.take(device.options.queue_limit ?? WAITING_WRITES, patience)
    if (typeof done !== 'function') throw turnError(device, done)
    try {
      await run()
    } finally {
      done()
    }
  }

  async #run(write: OneWrite): Promise<void> {
    const { device, order, progress, begun } = write
    const { patience } = order
    const { cache, clock } = this.#options
    const steps = planWrite(progress.encoded, writeLimitsOf(device.options))
    for (const step of steps) {
      const { intervals } = this.#lane(device.space)
      this.#refuseDisabled(device)
      for (const space of device.reachedBy) refuseEarly(device, this.#lane(space), step, clock.monotonic())
      for (const index of step.items) progress.before[index] = this.#lastKnown(device, progress.encoded[index]!)
      if (begun.end === undefined) await this.#begin(write)
      let isSent = false
      const onSent = () => {
        isSent = true
        intervals.wrote(step.range, clock.monotonic())
      }
      const refusal = () => this.#disabled(device)
      const result = await runStep(step, { device, cache, clock, patience, onSent, refusal }).catch(
        (error: unknown): StepResult => {
          // A defect of ours must not turn a write that may have happened into one that was not sent.
          if (!isSent) throw error
          return { outcome: 'unknown', error: unknownOutcome(step, device, 'RouteMQ failed after sending it', error) }
        },
      )
      for (const index of step.items) {
        progress.outcomes[index] = result.outcome
        progress.errors[index] = result.error
        progress.answers[index] = result.answer
      }
      // Nobody confirms a broadcast, so it is no failure that stops the rest.
      if (result.outcome !== 'ok' && !(device.broadcast && result.outcome === 'unknown')) return
    }
  }

  #refuseDisabled(device: Device): void {
    const error = this.#disabled(device)
    if (error !== undefined) throw error
  }

  #disabled(device: Device): RouteMQError | undefined {
    const why = this.#options.refusal(device)
    if (why === undefined) return undefined
    return new RouteMQError('WRITE_DISABLED', why, { details: { device_id: device.id, bus: device.bus.id } })
  }

  #lane(space: string): Lane {
    let lane = this.#lanes.get(space)
    if (lane === undefined) {
      lane = { turns: new Turns(this.#options.clock), intervals: new WriteIntervals() }
      this.#lanes.set(space, lane)
    }
    return lane
  }

  #lastKnown(device: Device, item: EncodedItem): readonly (number | boolean)[] | null {
    if (item.register_type === null) return null
    const { register_type, address } = item
    const block = { device_id: device.id, register_type, address, count: countOf(item) }
    return this.#options.cache.lastKnown(block)?.values ?? null
  }

  /** A gateway that is killed from here on leaves a trace. */
  async #begin(write: OneWrite): Promise<void> {
    const { begin } = this.#options.audit
    const { order, begun } = write
    if (begin === undefined) return
    begun.ids = order.items.map(() => randomUUID())
    const error = {
      code: 'WRITE_OUTCOME_UNKNOWN',
      message: 'The gateway ended while this write was under way',
    } as const
    begun.end = await begin(
      order.items.map((item, index) => recordOf(write, index, { item, outcome: 'unknown', error })),
    )
  }

  async #audit(write: OneWrite, results: readonly WriteResult[], duration: number): Promise<void> {
    // Together: an audit that stands still is waited for once, however many items there are.
    const kept = await Promise.all(
      results.map((result, index) => this.#record(recordOf(write, index, result, duration))),
    )
    // What is not kept is told as unknown by the next life: rather than not at all.
    if (kept.every(Boolean)) write.begun.end?.()
  }

  /** What happened at the device is true whether or not it could be noted, so a failing audit changes no outcome. */
  async #record(record: WriteAuditRecord): Promise<boolean> {
    const { audit, clock, logger } = this.#options
    let cancel = () => {}
    try {
      const audited = audit(record)
      if (audited === undefined) return true
      const late = new Promise<never>((_, reject) => {
        cancel = clock.after(AUDIT_WAIT_MS, () => reject(new Error(`no answer in ${AUDIT_WAIT_MS} ms`)))
      })
      await Promise.race([audited, late])
      return true
    } catch (error) {
      logger.error({ err: error, record }, 'a write could not be audited')
      return false
    } finally {
      cancel()
    }
  }
}

function recordOf(
  { device, order, progress, at, begun }: OneWrite,
  index: number,
  { item, outcome, error }: WriteResult,
  duration = 0,
): WriteAuditRecord {
  const encoded = progress.encoded[index]
  const id = begun.ids[index]
  return {
    ...(id !== undefined && { id }),
    at,
    device_id: device.id,
    bus: device.bus.id,
    unit: device.unit,
    actor: order.actor,
    item,
    register_type: encoded?.register_type ?? null,
    address: encoded?.address ?? null,
    before: progress.before[index] ?? null,
    after: encoded === undefined ? null : 'words' in encoded ? encoded.words : 'bits' in encoded ? encoded.bits : null,
    outcome,
    refused:
      outcome === 'not_sent' &&
      (encoded === undefined || error?.code === 'THROTTLED' || error?.code === 'WRITE_DISABLED'),
    error: error ?? null,
    duration_ms: Math.round(duration * 1_000) / 1_000,
  }
}

function countOf(item: EncodedItem): number {
  return 'words' in item ? item.words.length : 'bits' in item ? item.bits.length : 1
}

function turnError(device: Device, why: 'full' | 'expired' | 'cancelled'): RouteMQError {
  const details = { device_id: device.id, bus: device.bus.id }
  switch (why) {
    case 'full':
      return new RouteMQError('BUS_OVERLOADED', `Too many writes wait for device ${device.id}`, { details })
    case 'expired':
      return new RouteMQError('COMMAND_EXPIRED', `The deadline passed while other writes of device ${device.id} ran`, {
        details,
      })
    case 'cancelled':
      return new RouteMQError('REQUEST_CANCELLED', `The caller gave up while other writes of device ${device.id} ran`, {
        details,
      })
  }
}

function refuseEarly(device: Device, lane: Lane, step: WriteStep, now: number): void {
  const interval = device.options.min_interval_ms ?? 0
  const soon = lane.intervals.tooSoon(step.range, interval, now)
  if (soon === undefined) return
  const what =
    soon.at === null
      ? `a function of its own and any other write no sooner than ${interval} ms after each other`
      : `a write of ${describeAddress(soon.at.register_type, soon.at.address)} once in ${interval} ms`
  throw new RouteMQError('THROTTLED', `Device ${device.id} takes ${what}`, {
    details: { device_id: device.id, min_interval_ms: interval, retry_after_ms: Math.ceil(soon.waitMs) },
  })
}
