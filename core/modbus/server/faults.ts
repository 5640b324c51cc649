/** What a virtual unit does wrong. Each is something that real devices, converters and networks do. */
export type FaultKind =
  /** Carries the request out and answers nothing. */
  | { readonly kind: 'silence' }
  /** Does not see the request at all. */
  | { readonly kind: 'deaf' }
  | { readonly kind: 'delay'; readonly ms: number }
  /** Answers this exception and changes nothing. */
  | { readonly kind: 'exception'; readonly code: number }
  | { readonly kind: 'wrong_unit' }
  /** Another transaction id, where frames carry one. */
  | { readonly kind: 'wrong_transaction' }
  /** Another function code than asked for. */
  | { readonly kind: 'wrong_function' }
  | { readonly kind: 'duplicate' }
  /** The answer in two pieces, `ms` apart. */
  | { readonly kind: 'split'; readonly ms: number; readonly at?: number }
  /** Carries the request out, then drops the connection without a word. */
  | { readonly kind: 'reset' }
  /** Random bytes before the answer. */
  | { readonly kind: 'babble'; readonly bytes?: number }
  /** The answer with a wrong checksum, where frames carry one. */
  | { readonly kind: 'bad_checksum' }

export type Fault = FaultKind & {
  /** Requests it applies to, then it is over. @default all until cleared */
  readonly times?: number
  /** Function codes it applies to. @default all */
  readonly functions?: readonly number[]
}

/** Decides for each request; used where a fixed fault for a unit is not enough. */
export type FaultChooser = (request: { readonly unit: number; readonly functionCode: number }) => Fault | undefined

/** The faults of a virtual device, by unit; `*` for units without their own. */
export class Faults {
  readonly #byUnit = new Map<number | '*', { fault: Fault; left: number }>()
  #chooser: FaultChooser | undefined

  set(unit: number | '*', fault: Fault): void {
    this.#byUnit.set(unit, { fault, left: fault.times ?? Number.POSITIVE_INFINITY })
  }

  /** Without a unit, all of them and the chooser. */
  clear(unit?: number | '*'): void {
    if (unit !== undefined) {
      this.#byUnit.delete(unit)
    } else {
      this.#byUnit.clear()
      this.#chooser = undefined
    }
  }

  choose(chooser: FaultChooser): void {
    this.#chooser = chooser
  }

  /** The fault for the next request, counted as used. */
  take(unit: number, functionCode: number): Fault | undefined {
    if (this.#chooser !== undefined) return this.#chooser({ unit, functionCode })
    if (this.#byUnit.size === 0) return undefined
    const key = this.#byUnit.has(unit) ? unit : '*'
    const entry = this.#byUnit.get(key)
    if (entry === undefined || entry.fault.functions?.includes(functionCode) === false) return undefined
    entry.left -= 1
    if (entry.left <= 0) this.#byUnit.delete(key)
    return entry.fault
  }
}
