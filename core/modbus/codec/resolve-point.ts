import { RouteMQError } from '../../support/errors.js'
import { REGISTER_TYPES, type RegisterType } from '../field.js'
import { type ByteOrder, POINT_FIELDS, POINT_TYPES, type PointDefinition, type PointType } from '../point.js'
import { parseDecimal } from './decimal.js'
import { rawBounds } from './limits.js'

/** A point with every default filled in and every rule checked. */
export interface ResolvedPoint {
  readonly name: string
  readonly register_type: RegisterType
  /** PDU address, 0-based. */
  readonly address: number
  readonly type: PointType
  readonly order: ByteOrder
  /** Registers, or bits (1) for coils and discrete inputs. */
  readonly words: number
  /** Lowest bit for `bit`, else 0. */
  readonly bit: number
  /** Bits of a bit field, else 1. */
  readonly width: number
  readonly scale: number
  readonly offset: number
  /** True where value and raw value are the same. */
  readonly unscaled: boolean
  readonly unit: string | null
  readonly min: number | null
  readonly max: number | null
  readonly step: number | null
  readonly access: 'r' | 'w' | 'rw'
  readonly invalid: readonly (number | bigint)[]
  /** Raw values by name, null where the point is no enumeration. */
  readonly enum: ReadonlyMap<string, number> | null
  readonly retry: 'safe' | 'never'
}

const ORDERS: readonly ByteOrder[] = ['ABCD', 'CDAB', 'BADC', 'DCBA']
const WORDS: Readonly<Record<PointType, number>> = {
  uint16: 1,
  int16: 1,
  uint32: 2,
  int32: 2,
  uint64: 4,
  int64: 4,
  float32: 2,
  float64: 4,
  bool: 1,
  bit: 1,
  string: 0,
  bcd: 1,
  raw: 0,
}
const FIELDS: ReadonlySet<string> = new Set(POINT_FIELDS)

/**
 * Fills in defaults and checks a definition, from whatever file or table it came.
 * @throws RouteMQError POINT_INVALID; `details.field` is the first bad field, `details.problems` are all of them
 */
export function resolvePoint(given: PointDefinition): ResolvedPoint {
  // Tables and imports write null for what is left out.
  const definition = Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== null),
  ) as object as PointDefinition
  const problems: { field: string; problem: string }[] = []
  const refuse = (field: string, problem: string) => problems.push({ field, problem })
  const integer = (field: string, value: unknown, min: number, max: number) => {
    if (!Number.isInteger(value) || (value as number) < min || (value as number) > max) {
      refuse(field, `must be an integer from ${min} to ${max}, got ${show(value)}`)
    }
  }
  const finite = (field: string, value: unknown) => {
    if (!Number.isFinite(value)) refuse(field, `must be a number, got ${show(value)}`)
  }
  const oneOf = (field: string, value: unknown, allowed: readonly unknown[]) => {
    if (!allowed.includes(value)) refuse(field, `must be one of ${allowed.join(', ')}, got ${show(value)}`)
  }

  for (const field of Object.keys(definition)) {
    if (!FIELDS.has(field)) refuse(field, 'is not a field of a point')
  }
  const { name, address, register_type = 'holding' } = definition
  const isBit = register_type === 'coil' || register_type === 'discrete'
  const type = definition.type ?? (isBit ? 'bool' : 'uint16')
  const readOnly = register_type === 'input' || register_type === 'discrete'
  const { order = 'ABCD', access = readOnly ? 'r' : 'rw', scale = 1, offset = 0, retry = 'never' } = definition
  const { min = null, max = null, step = null, invalid = [], unit = null, bit = 0, width = 1 } = definition

  // A point's name becomes an MQTT topic level.
  if (typeof name !== 'string' || name === '' || name.length > 100 || /[/+#\p{Cc}]/u.test(name)) {
    refuse('name', `must be 1 to 100 characters without /, + and #, got ${show(name)}`)
  }
  oneOf('register_type', register_type, REGISTER_TYPES)
  integer('address', address, 0, 0xffff)
  oneOf('type', type, POINT_TYPES)
  oneOf('order', order, ORDERS)
  oneOf('access', access, ['r', 'w', 'rw'])
  oneOf('retry', retry, ['safe', 'never'])
  if (isBit && type !== 'bool') refuse('type', `a ${register_type} holds bool, not ${show(type)}`)
  if (readOnly && access !== 'r') refuse('access', `a ${register_type} register cannot be written`)
  if (unit !== null && typeof unit !== 'string') refuse('unit', `must be a text, got ${show(unit)}`)

  if (type === 'bit') {
    integer('bit', definition.bit, 0, 15)
    integer('width', width, 1, 16)
    if (bit + width > 16) refuse('width', `bits ${bit} to ${bit + width - 1} do not fit into one register`)
  } else {
    if (definition.bit !== undefined) refuse('bit', `belongs to type bit, not ${type}`)
    if (definition.width !== undefined) refuse('width', `belongs to type bit, not ${type}`)
  }
  if (type === 'string' || type === 'raw') integer('length', definition.length, 1, access === 'r' ? 125 : 123)
  else if (type === 'bcd') integer('length', definition.length ?? 1, 1, 4)
  else if (definition.length !== undefined) refuse('length', `belongs to string, bcd and raw, not ${type}`)
  const words = isBit ? 1 : type === 'bcd' ? (definition.length ?? 1) : (definition.length ?? WORDS[type] ?? 1)
  if (Number.isInteger(address) && Number.isInteger(words) && address + words > 0x10000) {
    refuse('address', `${words} registers from ${address} end beyond 65535`)
  }

  const isNumber = !['bool', 'string', 'raw'].includes(type) && !(type === 'bit' && width === 1)
  finite('scale', scale)
  finite('offset', offset)
  if (scale === 0) refuse('scale', 'must not be 0')
  if ((parseDecimal(scale)?.places ?? 0) > 30) refuse('scale', `has too many decimals: ${show(scale)}`)
  if (!isNumber) {
    for (const field of ['scale', 'offset', 'min', 'max', 'step'] as const) {
      if (definition[field] !== undefined) refuse(field, `belongs to numbers, not ${type}`)
    }
  }
  if (min !== null) finite('min', min)
  if (max !== null) finite('max', max)
  if (min !== null && max !== null && min > max) refuse('min', `${min} is more than max ${max}`)
  if (step !== null && !(Number.isFinite(step) && step > 0)) refuse('step', `must be more than 0, got ${show(step)}`)
  const isFloat = type === 'float32' || type === 'float64'
  // What is no BCD is bad already, as devices mean it by 0xffff.
  const isInteger = !isFloat && !['string', 'raw', 'bcd'].includes(type)
  if (!Array.isArray(invalid)) refuse('invalid', `must be a list of numbers, got ${show(invalid)}`)
  for (const value of Array.isArray(invalid) ? invalid : []) {
    const isText = typeof value === 'string' && !isFloat
    if (isText && !/^-?\d{1,20}$/.test(value)) refuse('invalid', `has decimal digits as text, got ${show(value)}`)
    else if (!isText && !Number.isFinite(value)) refuse('invalid', `must be a list of numbers, got ${show(value)}`)
    else if (!isText && !isFloat && Number.isInteger(value) && !Number.isSafeInteger(value)) {
      // Not what was written any more: 18446744073709551615 is 2^64 by now.
      refuse('invalid', `takes what is beyond 2^53 as text, in quotes; got ${show(value)}`)
    } else if (isInteger && problems.length === 0 && !isRaw({ type, width, words }, value)) {
      refuse('invalid', `has raw values that ${type} can hold, which ${show(value)} is not`)
    }
  }
  const names = definition.enum === undefined ? null : new Map(Object.entries(definition.enum))
  if (names !== null) {
    if (['string', 'raw', 'float32', 'float64'].includes(type)) refuse('enum', `belongs to integers, not ${type}`)
    if (scale !== 1 || offset !== 0) refuse('enum', 'an enumeration has no scale and no offset')
    if (names.size === 0) refuse('enum', 'names no value')
    for (const [label, raw] of names) {
      if (!Number.isSafeInteger(raw)) refuse('enum', `${label} must be an integer, got ${show(raw)}`)
    }
    if (new Set(names.values()).size !== names.size) refuse('enum', 'two names share one value')
  }

  const first = problems[0]
  if (first !== undefined) {
    const what = problems.map(({ field, problem }) => `${field} ${problem}`).join('; ')
    throw new RouteMQError('POINT_INVALID', `Point ${show(name)}: ${what}`, {
      details: { point: typeof name === 'string' ? name : null, field: first.field, problems },
    })
  }
  return Object.freeze({
    name,
    register_type,
    address,
    type,
    order,
    words,
    bit,
    width,
    scale,
    offset,
    unscaled: scale === 1 && offset === 0,
    unit,
    min,
    max,
    step,
    access,
    invalid: invalid.map((value) => (typeof value === 'string' ? BigInt(value) : value)),
    enum: names,
    retry,
  })
}

/** Whether a register can hold it, in its signed or its unsigned form. */
function isRaw(point: Pick<ResolvedPoint, 'type' | 'width' | 'words'>, value: unknown): boolean {
  if (typeof value === 'number' && !Number.isInteger(value)) return false
  const [lowest, highest] = rawBounds(point)
  const raw = BigInt(value as number | string)
  // Below zero the unsigned form is as far above the signed ones.
  return raw >= lowest && raw <= (lowest < 0n ? highest - lowest : highest)
}

function show(value: unknown): string {
  return typeof value === 'string' ? `"${value}"` : (JSON.stringify(value) ?? String(value))
}
