import type { RegisterType } from '../field.js'
import type { PointDefinition } from '../point.js'

/** Addresses `first` to `last`, both included. */
export type AddressRange = readonly [first: number, last: number]

/**
 * How a value moves by itself. It is worked out when it is read: no timer runs, however many there are. `as` says how it
 * lies in its registers, from the address on. @default one register, its low 16 bits
 */
export type MovingValue = Movement & {
  readonly as?: Pick<PointDefinition, 'type' | 'order' | 'scale' | 'offset' | 'length'>
}

export type Movement =
  /** centre + amplitude * sin(2π t / period) */
  | { readonly kind: 'sine'; readonly centre: number; readonly amplitude: number; readonly periodMs: number }
  /** From `from` to `to` in `periodMs`, then again from the start. */
  | { readonly kind: 'ramp'; readonly from: number; readonly to: number; readonly periodMs: number }
  /** A random walk of at most `step` each `everyMs`, kept inside min and max. */
  | {
      readonly kind: 'walk'
      readonly start: number
      readonly step: number
      readonly min: number
      readonly max: number
      readonly everyMs: number
    }
  /** One recorded value after the other, `everyMs` apart, from the start again at the end. */
  | { readonly kind: 'replay'; readonly values: readonly number[]; readonly everyMs: number }

/** Initial values: by address, or in a row from address 0. */
export type Values<T> = Readonly<Record<number, T>> | readonly T[]

/** What a virtual unit holds. Addresses not named are 0 or off; which exist at all is set by `ranges`. */
export interface UnitSpec {
  readonly holding?: Values<number>
  readonly input?: Values<number>
  readonly coils?: Values<boolean | number>
  readonly discrete?: Values<boolean | number>
  /** Addresses that exist; a request that touches others gets exception 02. @default all of a type without an entry */
  readonly ranges?: Readonly<Partial<Record<RegisterType, readonly AddressRange[]>>>
  /** Addresses that can be read but refuse writes with exception 02. */
  readonly readOnly?: Readonly<Partial<Record<'holding' | 'coil', readonly AddressRange[]>>>
  /** Largest quantity of one request, above which it answers exception 03, as small devices do. @default the protocol's */
  readonly maxRead?: number
  /** Values that move by themselves until something else is written or set, by address. */
  readonly moving?: Readonly<Partial<Record<'holding' | 'input', Readonly<Record<number, MovingValue>>>>>
  /** Functions of its own, by code: from the bytes after the code to those of the answer. */
  readonly functions?: Readonly<Record<number, (data: Buffer) => Buffer>>
  /** Answer to function 17; the first byte of the answer is the unit. @default a name */
  readonly serverId?: string
  /** Objects of function 43/14 by id (0 vendor, 1 product, 2 revision …). */
  readonly identification?: Readonly<Record<number, string>>
}
