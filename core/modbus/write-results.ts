import { RouteMQError, toErrorShape } from '../support/errors.js'
import type { BusAnswer } from './bus/bus.js'
import type { Device } from './device.js'
import type { WriteItem, WriteOutcome, WriteResult } from './field.js'
import type { EncodedItem } from './write-item.js'
import { writtenValue } from './write-rules.js'

/** How far a write has come, item by item. */
export interface Progress {
  readonly outcomes: (WriteOutcome | undefined)[]
  readonly errors: (RouteMQError | undefined)[]
  readonly before: (readonly (number | boolean)[] | null)[]
  readonly answers: (BusAnswer | undefined)[]
  encoded: readonly EncodedItem[]
}

/** Of a write nothing of which has happened yet. */
export function newProgress(items: number): Progress {
  const each = <T>(value: T): T[] => Array.from({ length: items }, () => value)
  return {
    outcomes: each(undefined),
    errors: each(undefined),
    before: each(null),
    answers: each(undefined),
    encoded: [],
  }
}

/** One result an item. What the loop never came to was not sent. */
export function finish(
  items: readonly WriteItem[],
  progress: Progress,
  failure: RouteMQError | undefined,
): WriteResult[] {
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
export function withWritten(result: WriteResult, encoded: EncodedItem | undefined): WriteResult {
  if (!('point' in result.item) || encoded === undefined) return result
  const written = writtenValue(encoded)
  return written === undefined || written === result.item.value ? result : { ...result, written }
}

/** The one error of a write that did not wholly succeed. */
export function verdict(
  device: Device,
  results: readonly WriteResult[],
  cause: RouteMQError | undefined,
): RouteMQError {
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

export function withResults(
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
