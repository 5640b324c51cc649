import { RouteMQError } from '../support/errors.js'
import { decodePoint, type EncodedPoint, encodePoint, toJsonValue } from './codec/point-codec.js'
import type { CustomRequest, FieldValue, WriteItem } from './field.js'
import { encodeMaskItem } from './mask-write-rules.js'
import { encodeRawItem } from './raw-write-rules.js'
import type { EncodedItem, WriteRules } from './write-item.js'

/** Functions that read or write registers and coils: they have requests of their own, under the rules of points. */
const KNOWN_FUNCTIONS: ReadonlySet<number> = new Set([1, 2, 3, 4, 5, 6, 15, 16, 22, 23])
/** A PDU has 253 bytes, one of them the function code (V1.1b3, 4.1). */
const MAX_CUSTOM_BYTES = 252

/**
 * Checks one item against type, limits and access, a raw one against the rules of every declared point it touches.
 *
 * @throws RouteMQError POINT_*, VALUE_*, ADDRESS_INVALID, READ_ONLY, WRITE_DISABLED, REQUEST_INVALID
 */
export function encodeItem(item: WriteItem, rules: WriteRules): EncodedItem {
  if ('point' in item) return encodePointItem(item.point, item.value, rules)
  if ('function' in item) return encodeCustomItem(item, rules)
  return 'values' in item ? encodeRawItem(item, rules) : encodeMaskItem(item, rules)
}

/** The value that a point holds after the write, as its registers can say it; undefined for what is no whole point. */
export function writtenValue(encoded: EncodedItem): FieldValue | undefined {
  if (encoded.point === null || 'mask' in encoded || 'custom' in encoded) return undefined
  return toJsonValue(decodePoint(encoded.point, 'words' in encoded ? encoded.words : encoded.bits).value)
}

function encodePointItem(name: string, value: unknown, rules: WriteRules): EncodedItem {
  const point = rules.points.get(name)
  const details = { device_id: rules.device_id, point: name }
  if (point.access === 'r' || point.register_type === 'input' || point.register_type === 'discrete') {
    throw new RouteMQError('READ_ONLY', `Point ${name} of device ${rules.device_id} can only be read`, { details })
  }
  const base = { address: point.address, point, safe: point.retry === 'safe', readable: point.access !== 'w' }
  const encoded: EncodedPoint = encodePoint(point, value)
  if ('bits' in encoded) return { ...base, register_type: 'coil', bits: encoded.bits }
  if ('mask' in encoded) return { ...base, register_type: 'holding', mask: encoded.mask }
  if (encoded.words.length > rules.maxRegisters) {
    throw new RouteMQError(
      'ADDRESS_INVALID',
      `Point ${name} is longer than device ${rules.device_id} takes in one write`,
      {
        details: { ...details, words: encoded.words.length, max: rules.maxRegisters },
      },
    )
  }
  return { ...base, register_type: 'holding', words: encoded.words }
}

/** A function of its own can change anything, so it goes only where raw writes of any register may. */
function encodeCustomItem({ function: functionCode, data = '' }: CustomRequest, rules: WriteRules): EncodedItem {
  const { device_id } = rules
  const wrong = (message: string) =>
    new RouteMQError('REQUEST_INVALID', message, { details: { device_id, function: functionCode } })
  if (!Number.isInteger(functionCode) || functionCode < 1 || functionCode > 127) {
    throw wrong(`Functions are 1 to 127, got ${JSON.stringify(functionCode)}`)
  }
  if (KNOWN_FUNCTIONS.has(functionCode)) {
    throw wrong(`Function ${functionCode} has a request of its own, under the rules of points: read or write instead`)
  }
  if (typeof data !== 'string' || !/^([0-9a-f]{2})*$/i.test(data) || data.length > 2 * MAX_CUSTOM_BYTES) {
    throw wrong(`The data of a function are at most ${MAX_CUSTOM_BYTES} bytes as hexadecimal digits`)
  }
  if (rules.raw_write !== 'allow') {
    const message = `Device ${device_id} takes writes of declared registers only, no function ${functionCode}`
    throw new RouteMQError('WRITE_DISABLED', message, { details: { device_id, function: functionCode } })
  }
  const custom = { functionCode, data: Buffer.from(data, 'hex') }
  return { register_type: null, address: null, custom, point: null, safe: false, readable: false }
}
