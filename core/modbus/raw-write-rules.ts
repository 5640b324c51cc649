import { RouteMQError } from '../support/errors.js'
import { fieldBits } from './codec/encode-point.js'
import { decodePoint, encodePoint, type PointValue, type ResolvedPoint } from './codec/point-codec.js'
import type { RegisterType, RegisterWrite } from './field.js'
import { describeAddress } from './field-failure.js'
import { checkBlock } from './field-reads.js'
import { type EncodedItem, MAX_EXCHANGE_REGISTERS, type WriteRules } from './write-item.js'

/** Registers or coils by address; with `read`, what function 23 writes. */
export function encodeRawItem(item: RegisterWrite, rules: WriteRules): EncodedItem {
  const { register_type, address, values, read } = item
  const details = { device_id: rules.device_id, register_type, address }
  if (register_type !== 'holding' && register_type !== 'coil') {
    throw new RouteMQError('READ_ONLY', `Registers of type ${String(register_type)} can only be read`, { details })
  }
  if (read !== undefined) checkExchange(item, read, rules)
  const registers = read === undefined ? rules.maxRegisters : Math.min(rules.maxRegisters, MAX_EXCHANGE_REGISTERS)
  const most = register_type === 'coil' ? rules.maxCoils : registers
  const isRange = Number.isInteger(address) && address >= 0 && values.length >= 1 && address + values.length <= 65_536
  if (!isRange || values.length > most) {
    throw new RouteMQError(
      'ADDRESS_INVALID',
      `${values.length} values from ${address} are no range that can be written at once`,
      {
        details: { ...details, count: values.length, max: most },
      },
    )
  }
  if (rules.raw_write === 'deny') {
    throw new RouteMQError(
      'WRITE_DISABLED',
      `Device ${rules.device_id} takes writes of its points only, not of raw registers`,
      {
        details,
      },
    )
  }
  const touched = rules.points.touching(register_type, address, values.length)
  if (rules.raw_write === 'points') refuseUnnamed(item, touched, rules)
  const readable = touched.every((point) => point.access !== 'w')
  const safe = touched.length > 0 && touched.every((point) => point.retry === 'safe') && isCovered(item, touched)
  if (register_type === 'coil') {
    const bits = values.map((value) => coil(value, details))
    for (const point of touched) checkPoint(point, item, bits, rules)
    return { register_type, address, bits, point: null, safe, readable }
  }
  const words = values.map((value) => register(value, details))
  for (const point of touched) checkPoint(point, item, words, rules)
  return { register_type, address, words, ...(read !== undefined && { read }), point: null, safe, readable }
}

function checkExchange(item: RegisterWrite, read: NonNullable<RegisterWrite['read']>, rules: WriteRules): void {
  const details = { device_id: rules.device_id, address: item.address }
  if (item.register_type !== 'holding') {
    throw new RouteMQError('ADDRESS_INVALID', 'Only holding registers are written and read in one request', { details })
  }
  if (rules.broadcast) {
    throw new RouteMQError('ADDRESS_INVALID', 'Unit 0 is everybody; nobody answers a read', { details })
  }
  checkBlock({ device_id: rules.device_id, register_type: 'holding', address: read.address, count: read.count })
}

/** A raw write obeys the rules of the points it touches: whole, writable, and a value the point itself would take. */
export function checkPoint(
  point: ResolvedPoint,
  item: RegisterWrite,
  values: readonly number[] | readonly boolean[],
  rules: WriteRules,
): void {
  const where = describeAddress(item.register_type, item.address, values.length)
  const details = { device_id: rules.device_id, point: point.name, address: item.address, count: values.length }
  if (point.address < item.address || point.address + point.words > item.address + values.length) {
    throw new RouteMQError('POINT_TORN', `Writing ${where} would change only a part of point ${point.name}`, {
      details,
    })
  }
  if (point.access === 'r') {
    throw new RouteMQError('READ_ONLY', `Writing ${where} would change point ${point.name}, which can only be read`, {
      details,
    })
  }
  const start = point.address - item.address
  const own = values.slice(start, start + point.words) as number[] | boolean[]
  const decoded = decodePoint(point, own)
  if (decoded.quality === 'bad') {
    throw new RouteMQError('VALUE_INVALID', `Writing ${where} would give point ${point.name} no valid value`, {
      details: { ...details, reason: decoded.reason },
    })
  }
  if (decoded.quality === 'uncertain') {
    throw new RouteMQError('VALUE_OUT_OF_RANGE', `Writing ${where} would put point ${point.name} outside its limits`, {
      details: { ...details, reason: decoded.reason, value: String(decoded.value) },
    })
  }
  if (!isOnStep(point, own, decoded.value)) {
    throw new RouteMQError(
      'VALUE_OUT_OF_RANGE',
      `Writing ${where} would put point ${point.name} between two of its steps`,
      {
        details: { ...details, value: String(decoded.value), step: point.step },
      },
    )
  }
}

/** Whether these registers are what writing their value by name would make of them. */
function isOnStep(point: ResolvedPoint, own: readonly number[] | readonly boolean[], value: PointValue): boolean {
  if (point.type === 'string' || point.type === 'raw') return true
  const again = encodePoint(point, value)
  if (!('words' in again)) return true
  // A float has many forms near one value.
  const isFloat = point.type === 'float32' || point.type === 'float64'
  if (isFloat) return point.step === null || decodePoint(point, again.words).value === value
  return again.words.every((word, i) => word === Number(own[i]))
}

function isCovered(item: RegisterWrite, touched: readonly ResolvedPoint[]): boolean {
  return item.values.every((_, i) => touched.some((point) => holds(point, item.address + i)))
}

export function holds(point: ResolvedPoint, address: number): boolean {
  return point.address <= address && address < point.address + point.words
}

/** Every bit that would be written belongs to a point: of a register with bit fields those must fill it. */
function refuseUnnamed(item: RegisterWrite, touched: readonly ResolvedPoint[], rules: WriteRules): void {
  const unnamed = item.values.findIndex((_, i) => {
    const here = touched.filter((point) => holds(point, item.address + i))
    return here.reduce((bits, point) => bits | bitsOf(point), 0) !== 0xffff
  })
  if (unnamed === -1) return
  const where = describeAddress(item.register_type as RegisterType, item.address + unnamed)
  throw new RouteMQError(
    'WRITE_DISABLED',
    `Device ${rules.device_id} takes raw writes of declared points only; ${where} is none, or not all of its bits are: write points, or a mask`,
    {
      details: { device_id: rules.device_id, address: item.address + unnamed },
    },
  )
}

/** The bits of a register that belong to a point. */
export function bitsOf(point: ResolvedPoint): number {
  return point.type === 'bit' ? fieldBits(point) : 0xffff
}

function register(value: unknown, details: Record<string, unknown>): number {
  if (typeof value !== 'number' || !Number.isInteger(value)) {
    throw new RouteMQError('VALUE_INVALID', `A register takes an integer, got ${JSON.stringify(value)}`, {
      details: { ...details, value },
    })
  }
  if (value < 0 || value > 65_535) {
    throw new RouteMQError('VALUE_OUT_OF_RANGE', `A register takes 0 to 65535, got ${value}`, {
      details: { ...details, value, min: 0, max: 65_535 },
    })
  }
  return value
}

function coil(value: unknown, details: Record<string, unknown>): boolean {
  if (value === true || value === 1) return true
  if (value === false || value === 0) return false
  throw new RouteMQError('VALUE_INVALID', `A coil takes true, false, 1 or 0, got ${JSON.stringify(value)}`, {
    details: { ...details, value },
  })
}
