import { type Clock, sleep } from '../support/clock.js'
import { RouteMQError, toErrorShape } from '../support/errors.js'
import type { BusAnswer } from './bus/bus.js'
import { BusError } from './bus/bus-error.js'
import type { ReadCache } from './cache.js'
import type { Device } from './device.js'
import type { WriteOutcome } from './field.js'
import { ACKNOWLEDGE, BUSY, describeCall, exceptionOf, FAILED_MIDWAY, GATEWAY_TARGET } from './field-failure.js'
import type { Patience } from './patience.js'
import type { ModbusCall } from './transport/transport.js'
import type { WriteStep, WrittenRange } from './write-plan.js'

export interface StepResult {
  readonly outcome: WriteOutcome
  readonly error?: RouteMQError
  /** What the device said, where that is more than yes. */
  readonly answer?: BusAnswer
}

export interface StepContext {
  readonly device: Device
  readonly cache: ReadCache
  readonly clock: Clock
  readonly patience: Patience
  /** Runs each time the request goes to the wire. */
  readonly onSent: () => void
  /** Why the device may not be written any more; asked each time the request is about to go to the wire. */
  readonly refusal: () => RouteMQError | undefined
}

const PAUSE_MS = 100
const MAX_PAUSE_MS = 1_000
/** So long units take to answer a write at most, nearly all of them. */
const ANSWER_MS = 200

/**
 * Carries one request of a write out and says truthfully how it ended. It is sent again only on "server busy", where
 * it provably never reached the wire, or where its points say so. Once its outcome is unknown only a confirmed
 * repetition or a read-back makes it `ok`; a later refusal proves nothing about the first copy.
 */
export async function runStep(step: WriteStep, context: StepContext): Promise<StepResult> {
  const result = await send(step, context)
  const { device } = context
  const policy = device.options.read_back ?? 'never'
  const wanted =
    policy === 'always'
      ? result.outcome === 'ok' || result.outcome === 'unknown'
      : policy === 'unknown' && result.outcome === 'unknown'
  if (!step.readable || step.range === null || device.broadcast) return result
  if (wanted) return readBack(step, step.range, context, result)
  return result.outcome === 'ok' && mayBeEcho(step, device) ? checkEcho(step, step.range, context, result) : result
}

/** True where the answer is the request once more, and nobody knows yet whether the line gives back what is sent. */
function mayBeEcho({ call }: WriteStep, { bus }: Device): boolean {
  const isMirrored = call.fc === 5 || call.fc === 6 || call.fc === 22
  return isMirrored && bus.echo?.state === 'unknown' && 'path' in bus.endpoint
}

/**
 * The first write of a serial line that was not read yet: reading back shows what the line does, whatever the value. What
 * was taken for the answer may have been the echo: the unit is given the time to answer before it is asked again.
 */
async function checkEcho(
  step: WriteStep,
  { register_type, address, count }: WrittenRange,
  { device, clock }: StepContext,
  sent: StepResult,
): Promise<StepResult> {
  await sleep(ANSWER_MS, undefined, clock)
  const call: ModbusCall = { fc: register_type === 'coil' ? 1 : 3, address, count }
  try {
    const { values } = await device.attempt(call, 'read', `read_${register_type}`, {})
    if (step.holds(values)) return sent
  } catch (error) {
    // Its silence or refusal shows the line as well.
    if (!(error instanceof BusError || error instanceof RouteMQError)) throw error
  }
  if (device.bus.echo?.state !== 'present') return sent
  const why = 'the line gives back what is sent to it, which cannot be told from a confirmation'
  return { outcome: 'unknown', error: unknownOutcome(step, device, why) }
}

async function send(
  step: WriteStep,
  { device, cache, clock, patience, onSent, refusal: refusalNow }: StepContext,
): Promise<StepResult> {
  const startedAt = clock.monotonic()
  const busyUntil = Math.min(patience.deadline ?? Number.POSITIVE_INFINITY, startedAt + device.timeoutMs)
  let doubt: RouteMQError | undefined
  let refusal: RouteMQError | undefined
  let pause = PAUSE_MS
  let lostBefore = false
  let repeats = 0
  const end = (outcome: WriteOutcome, error: RouteMQError): StepResult => {
    if (doubt !== undefined) return { outcome: 'unknown', error: doubt }
    if (outcome === 'not_sent' && refusal !== undefined) return { outcome: 'rejected', error: refusal }
    return { outcome, error }
  }
  for (;;) {
    let isOnWire = false
    const dropCached = () => {
      if (isOnWire) cache.drop((space) => device.reaches(space), step.range)
    }
    try {
      const answer = await device.attempt(step.call, 'write', `write_${step.range?.register_type ?? 'custom'}`, {
        ...patience,
        refusal: refusalNow,
        onSent: () => {
          isOnWire = true
          onSent()
        },
      })
      dropCached()
      if (!device.broadcast) return { outcome: 'ok', answer }
      return { outcome: 'unknown', error: unknownOutcome(step, device, 'a broadcast is confirmed by nobody') }
    } catch (error) {
      dropCached()
      const failed = device.toError(error, step.call)
      if (!(error instanceof BusError)) return end('not_sent', failed)
      const exception = exceptionOf(error)
      if (exception === BUSY) {
        refusal = failed
        if (doubt !== undefined || clock.monotonic() + pause >= busyUntil) return end('rejected', failed)
      } else if (exception === ACKNOWLEDGE) {
        return end('unknown', failed)
      } else if (exception !== undefined && FAILED_MIDWAY.has(exception)) {
        return end('unknown', withDetails(unknownOutcome(step, device, failed.message, error), { exception }))
      } else if (exception !== undefined && exception !== GATEWAY_TARGET) {
        return end('rejected', explainMask(step, failed))
      } else if (error.notSent) {
        // The connection may have been closed by the device since the last request: worth one fresh one.
        if (error.failure.kind !== 'not_sent' || lostBefore) return end('not_sent', failed)
        lostBefore = true
      } else {
        doubt = unknownOutcome(step, device, failed.message, error)
        repeats += 1
        if (!step.safe || repeats > device.record.max_retries) return end('unknown', doubt)
        // The first copy may have been carried out: a second one this soon is what the interval forbids.
        if ((device.options.min_interval_ms ?? 0) > pause) return end('unknown', doubt)
        if (device.health.breaker.retryAfter(clock.monotonic()) > 0) return end('unknown', doubt)
      }
      const again = await rest(pause, patience, clock)
      if (!again) return end('not_sent', failed)
      pause = Math.min(pause * 2, MAX_PAUSE_MS)
    }
  }
}

/** False where the caller went away meanwhile. */
async function rest(ms: number, { signal }: Patience, clock: Clock): Promise<boolean> {
  try {
    await sleep(ms, signal, clock)
    return true
  } catch (error) {
    if (signal?.aborted === true) return false
    throw error
  }
}

/** Reads what was written, until it shows or the time-out of the device has passed. */
async function readBack(
  step: WriteStep,
  { register_type, address, count }: WrittenRange,
  { device, clock }: StepContext,
  sent: StepResult,
): Promise<StepResult> {
  const call: ModbusCall = { fc: register_type === 'coil' ? 1 : 3, address, count }
  const until = clock.monotonic() + device.timeoutMs
  let pause = PAUSE_MS
  let found: readonly (number | boolean)[] | undefined
  let failure: unknown
  do {
    try {
      const answer = await device.attempt(call, 'read', `read_${register_type}`, { deadline: until })
      found = answer.values
      if (step.holds(found)) {
        // What made it doubtful is settled.
        const { error: _, ...settled } = sent
        return { ...settled, outcome: 'ok' }
      }
    } catch (error) {
      failure = error
      if (error instanceof RouteMQError) break
    }
    if (isOver(sent)) break
    await sleep(pause, undefined, clock)
    pause = Math.min(pause * 2, MAX_PAUSE_MS)
  } while (clock.monotonic() < until)
  if (found === undefined) {
    return sent.outcome === 'ok'
      ? sent
      : { ...sent, error: withDetails(sent.error!, { read_back: toErrorShape(failure) }) }
  }
  const error = unknownOutcome(step, device, 'reading back brought something else')
  return { outcome: 'unknown', error: withDetails(sent.error ?? error, { read_back: found }) }
}

/** The device is done with it: what reads differently now will not change by waiting. */
function isOver({ outcome, error }: StepResult): boolean {
  return outcome === 'ok' || (error?.code === 'WRITE_OUTCOME_UNKNOWN' && error.details?.exception !== undefined)
}

/** The error of a write that may or may not have been carried out. */
export function unknownOutcome(step: WriteStep, device: Device, why: string, cause?: unknown): RouteMQError {
  return new RouteMQError(
    'WRITE_OUTCOME_UNKNOWN',
    `Device ${device.id} may or may not have carried out ${describeCall(step.call)}: ${why}`,
    {
      details: { device_id: device.id, bus: device.bus.id, unit: device.unit },
      ...(cause === undefined ? {} : { cause }),
    },
  )
}

function explainMask(step: WriteStep, error: RouteMQError): RouteMQError {
  if (step.call.fc !== 22 || error.code !== 'MODBUS_ILLEGAL_FUNCTION') return error
  return new RouteMQError(
    error.code,
    `${error.message}; single bits are only written by mask write, because reading and writing the whole register could undo what somebody else changed`,
    { ...(error.details === undefined ? {} : { details: error.details }), cause: error },
  )
}

function withDetails(error: RouteMQError, more: Record<string, unknown>): RouteMQError {
  return new RouteMQError(error.code, error.message, { details: { ...error.details, ...more }, cause: error.cause })
}
