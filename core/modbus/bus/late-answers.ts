import type { ModbusCall } from '../transport/transport.js'

/**
 * On lines whose frames carry no transaction id, an answer that comes after its time-out looks like the answer to the
 * next request of the same unit and function (an exception even where lengths differ). Such a request waits until the
 * late answer can no longer come; anything that differs may go.
 */
export class LateAnswers {
  readonly #until = new Map<string, number>()

  /** Notes that an answer may still come, until `until` on the monotonic clock. */
  expect(unit: number, call: ModbusCall, until: number): void {
    this.#until.set(key(unit, call), until)
  }

  /** When a request may go: `now` or before it, or the end of the wait. */
  clearAt(unit: number, call: ModbusCall, now: number): number {
    const name = key(unit, call)
    const until = this.#until.get(name)
    if (until === undefined) return now
    if (until > now) return until
    this.#until.delete(name)
    return now
  }
}

function key(unit: number, call: ModbusCall): string {
  return `${unit}/${call.fc === 'raw' ? call.functionCode : call.fc}`
}
