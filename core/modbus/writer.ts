import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError, toErrorShape } from '../support/errors.js'
import type { BusAnswer } from './bus/bus.js'
import type { ReadCache } from './cache.js'
import type { Device, Patience } from './device.js'
import type { Actor, WriteItem, WriteOutcome, WriteResult } from './field.js'
import { describeAddress } from './field-failure.js'
import { Turns } from './turns.js'
import type { WriteAudit, WriteAuditRecord } from './write-audit.js'
import { type EncodedItem, MAX_WRITE_REGISTERS, type WriteRules } from './write-item.js'
import { planWrite, type WriteStep } from './write-plan.js'
import { encodeItem, writtenValue } from './write-rules.js'
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

/** What the writes of one unit share, whatever record they come by. */
interface Lane {
  readonly turns: Turns
  /** Monotonic milliseconds of the last write of an address that has a shortest interval. */
  readonly lastAt: Map<string, number>
}

interface Progress {
  readonly outcomes: (WriteOutcome | undefined)[]
  readonly errors: (RouteMQError | undefined)[]
  readonly before: (readonly (number | boolean)[] | null)[]
  readonly answers: (BusAnswer | undefined)[]
  encoded: readonly EncodedItem[]
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
    const progress: Progress = {
      outcomes: order.items.map(() => undefined),
      errors: order.items.map(() => undefined),
      before: order.items.map(() => null),
      answers: order.items.map(() => undefined),
      encoded: [],
    }
    let failure: RouteMQError | undefined
    try {
      // What nobody could trace afterwards is not done.
      await audit.ready?.()
      progress.encoded = this.#check(device, order.items, progress)
      await this.#inTurn(device, order.patience, () => this.#run(device, order, progress))
    } catch (error) {
      failure = device.toError(error, { fc: 'raw', functionCode: 16, data: new Uint8Array() })
    }
    const results = finish(order.items, progress, failure)
    await this.#audit(device, order, progress, results, at, clock.monotonic() - startedAt)
    const first = results.find((result) => result.outcome !== 'ok')
    if (first === undefined) return results.map((result, index) => withWritten(result, progress.encoded[index]))
    throw verdict(device, results, failure ?? progress.errors.find((error) => error !== undefined))
  }

  /** A write of a device nobody knows or may use is a refusal like any other. */
  async refuse(deviceId: string, order: WriteOrder, error: RouteMQError): Promise<RouteMQError> {
    const shape = toErrorShape(error)
    const results = order.items.map((item): WriteResult => ({ item, outcome: 'not_sent', error: shape }))
    const at = this.#options.clock.now()
    for (const item of order.items) {
      await this.#record({
        at,
        device_id: deviceId,
        bus: null,
        unit: null,
        actor: order.actor,
        item,
        register_type: null,
        address: null,
        before: null,
        after: null,
        outcome: 'not_sent',
        refused: true,
        error: shape,
        duration_ms: 0,
      })
    }
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
      maxRegisters: device.options.max_write_registers ?? MAX_WRITE_REGISTERS,
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
    const done = await this.#lane(device).turns.take(patience)
    if (typeof done !== 'function') throw turnError(device, done)
    try {
      await run()
    } finally {
      done()
    }
  }

  async #run(device: Device, { patience }: WriteOrder, progress: Progress): Promise<void> {
    const { cache, clock } = this.#options
    const steps = planWrite(progress.encoded, device.options.max_write_registers ?? MAX_WRITE_REGISTERS)
    for (const step of steps) {
      const lane = this.#lane(device)
      this.#refuseDisabled(device)
      this.#refuseEarly(device, lane, step)
      for (const index of step.items) progress.before[index] = this.#lastKnown(device, progress.encoded[index]!)
      let isSent = false
      const onSent = () => {
        isSent = true
        remember(device, lane, step, clock.monotonic())
      }
      const refusal = () => this.#options.refusal(device)
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
    const why = this.#options.refusal(device)
    if (why === undefined) return
    throw new RouteMQError('WRITE_DISABLED', why, { details: { device_id: device.id, bus: device.bus.id } })
  }

  #refuseEarly(device: Device, lane: Lane, step: WriteStep): void {
    const interval = device.options.min_interval_ms ?? 0
    if (interval === 0 || step.range === null) return
    const { register_type, address, count } = step.range
    const now = this.#options.clock.monotonic()
    for (let at = address; at < address + count; at += 1) {
      const last = lane.lastAt.get(`${register_type}:${at}`)
      if (last === undefined || now - last >= interval) continue
      const wait = Math.ceil(last + interval - now)
      const where = describeAddress(register_type, at)
      throw new RouteMQError('THROTTLED', `Device ${device.id} takes a write of ${where} once in ${interval} ms`, {
        details: { device_id: device.id, min_interval_ms: interval, retry_after_ms: wait },
      })
    }
  }

  #lane(device: Device): Lane {
    let lane = this.#lanes.get(device.space)
    if (lane === undefined) {
      lane = { turns: new Turns(device.options.queue_limit ?? WAITING_WRITES, this.#options.clock), lastAt: new Map() }
      this.#lanes.set(device.space, lane)
    }
    return lane
  }

  #lastKnown(device: Device, item: EncodedItem): readonly (number | boolean)[] | null {
    if (item.register_type === null) return null
    const { register_type, address } = item
    const block = { device_id: device.id, register_type, address, count: countOf(item) }
    return this.#options.cache.lastKnown(block)?.values ?? null
  }

  async #audit(
    device: Device,
    order: WriteOrder,
    progress: Progress,
    results: readonly WriteResult[],
    at: number,
    duration: number,
  ): Promise<void> {
    for (const [index, { item, outcome, error }] of results.entries()) {
      const encoded = progress.encoded[index]
      await this.#record({
        at,
        device_id: device.id,
        bus: device.bus.id,
        unit: device.unit,
        actor: order.actor,
        item,
        register_type: encoded?.register_type ?? null,
        address: encoded?.address ?? null,
        before: progress.before[index] ?? null,
        after:
          encoded === undefined ? null : 'words' in encoded ? encoded.words : 'bits' in encoded ? encoded.bits : null,
        outcome,
        refused:
          outcome === 'not_sent' &&
          (encoded === undefined || error?.code === 'THROTTLED' || error?.code === 'WRITE_DISABLED'),
        error: error ?? null,
        duration_ms: Math.round(duration * 1_000) / 1_000,
      })
    }
  }

  /** What happened at the device is true whether or not it could be noted, so a failing audit changes no outcome. */
  async #record(record: WriteAuditRecord): Promise<void> {
    const { audit, clock, logger } = this.#options
    let cancel = () => {}
    try {
      const late = new Promise<never>((_, reject) => {
        cancel = clock.after(AUDIT_WAIT_MS, () => reject(new Error(`no answer in ${AUDIT_WAIT_MS} ms`)))
      })
      await Promise.race([audit(record), late])
    } catch (error) {
      logger.error({ err: error, record }, 'a write could not be audited')
    } finally {
      cancel()
    }
  }
}

function countOf(item: EncodedItem): number {
  return 'words' in item ? item.words.length : 'bits' in item ? item.bits.length : 1
}

function remember(device: Device, lane: Lane, step: WriteStep, now: number): void {
  if ((device.options.min_interval_ms ?? 0) === 0 || step.range === null) return
  const { register_type, address, count } = step.range
  for (let at = address; at < address + count; at += 1) lane.lastAt.set(`${register_type}:${at}`, now)
}

/** One result an item. What the loop never came to was not sent. */
function finish(items: readonly WriteItem[], progress: Progress, failure: RouteMQError | undefined): WriteResult[] {
  const blamed = progress.errors.some((error) => error !== undefined)
  return items.map((item, index) => {
    const outcome = progress.outcomes[index]
    const error = progress.errors[index]
    if (outcome !== undefined) {
      const answer = answerOf(item, progress.answers[index])
      return error === undefined ? { item, outcome, ...answer } : { item, outcome, error: toErrorShape(error) }
    }
    if (error !== undefined) return { item, outcome: 'not_sent', error: toErrorShape(error) }
    if (failure !== undefined && !blamed) return { item, outcome: 'not_sent', error: toErrorShape(failure) }
    return {
      item,
      outcome: 'not_sent',
      error: { code: 'WRITE_PARTIAL', message: 'Not sent, because another item failed' },
    }
  })
}

/** What the device said besides yes: registers that were read with the write, or the bytes of its own function. */
function answerOf(item: WriteItem, answer: BusAnswer | undefined): Pick<WriteResult, 'values' | 'data'> {
  if (answer === undefined) return {}
  if ('function' in item) return { data: answer.data.toString('hex') }
  return 'read' in item && item.read !== undefined ? { values: answer.values as readonly number[] } : {}
}

/** Says what a point holds now, where rounding made it another value than was asked for. */
function withWritten(result: WriteResult, encoded: EncodedItem | undefined): WriteResult {
  if (!('point' in result.item) || encoded === undefined) return result
  const written = writtenValue(encoded)
  return written === undefined || written === result.item.value ? result : { ...result, written }
}

/** The one error of a write that did not wholly succeed. */
function verdict(device: Device, results: readonly WriteResult[], cause: RouteMQError | undefined): RouteMQError {
  const of = (outcome: WriteOutcome) => results.filter((result) => result.outcome === outcome)
  const unknown = of('unknown')
  const message = cause?.message ?? `A write of device ${device.id} failed`
  if (unknown.length > 0) {
    const accepted = unknown.every((result) => result.error?.code === 'MODBUS_ACKNOWLEDGE')
    const code = accepted ? 'MODBUS_ACKNOWLEDGE' : 'WRITE_OUTCOME_UNKNOWN'
    return withResults(cause, code, unknown[0]!.error?.message ?? message, results)
  }
  const written = of('ok').length
  if (written > 0) {
    const sentence = `Device ${device.id} took ${written} of ${results.length} items: ${message}`
    return withResults(cause, 'WRITE_PARTIAL', sentence, results)
  }
  return withResults(cause, cause?.code ?? 'INTERNAL', message, results)
}

function withResults(
  cause: RouteMQError | undefined,
  code: RouteMQError['code'],
  message: string,
  results: readonly WriteResult[],
): RouteMQError {
  return new RouteMQError(code, message, {
    details: { ...cause?.details, results },
    ...(cause === undefined ? {} : { cause }),
  })
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
