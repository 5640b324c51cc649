import type { RegisterType } from './field.js'

export const POINT_TYPES = [
  'uint16',
  'int16',
  'uint32',
  'int32',
  'uint64',
  'int64',
  'float32',
  'float64',
  'bool',
  'bit',
  'string',
  'bcd',
  'raw',
] as const
export type PointType = (typeof POINT_TYPES)[number]

/** Byte order of values of more than one register, A being the most significant byte. */
export type ByteOrder = 'ABCD' | 'CDAB' | 'BADC' | 'DCBA'

/** A typed value in the registers of a device. */
export interface PointDefinition {
  /** Unique on its device; a level of its topic. */
  readonly name: string
  /** @default holding */
  readonly register_type?: RegisterType
  /** PDU address, 0-based. */
  readonly address: number
  /** @default uint16 (bool for coils and discrete inputs) */
  readonly type?: PointType
  /** For values of more than one register. @default ABCD */
  readonly order?: ByteOrder
  /** Bit number for `bit` (required there), 0 = least significant, to 15. */
  readonly bit?: number
  /** Bits of a field that begins at `bit`; more than one make a number of it. Written by mask write. @default 1 */
  readonly width?: number
  /** Registers for `string` and `raw` (required), and `bcd` (1 to 4). @default 1 for bcd */
  readonly length?: number
  /** value = raw * scale + offset. @default 1 */
  readonly scale?: number
  /** @default 0 */
  readonly offset?: number
  /** For people: `°C`. @default none */
  readonly unit?: string
  /** Scaled; a write below is `VALUE_OUT_OF_RANGE`, a reading below `uncertain`. @default no bound */
  readonly min?: number
  /** The same above. @default no bound */
  readonly max?: number
  /** Scaled; a write goes to the nearest multiple of it, counted from `min`, else from 0. @default the scale's */
  readonly step?: number
  /** @default r for input and discrete, rw otherwise */
  readonly access?: 'r' | 'w' | 'rw'
  /** Raw values that mean "no value"; beyond 2^53 as decimal text. @default none */
  readonly invalid?: readonly (number | string)[]
  /** Names of raw values, for enumerations. @default none */
  readonly enum?: Readonly<Record<string, number>>
  /** `safe`: repeating a write does no harm, so that it may be sent again when its outcome is unknown. @default never */
  readonly retry?: 'safe' | 'never'
}

/** Every field of a definition, in the order people list them. */
export const POINT_FIELDS = [
  'name',
  'register_type',
  'address',
  'type',
  'order',
  'bit',
  'width',
  'length',
  'scale',
  'offset',
  'unit',
  'min',
  'max',
  'step',
  'access',
  'invalid',
  'enum',
  'retry',
] as const satisfies readonly (keyof PointDefinition)[]
/** Fails to compile where a field of the definition is not in the list. */
type Unlisted = Exclude<keyof PointDefinition, (typeof POINT_FIELDS)[number]>
true satisfies Unlisted extends never ? true : never
