import type { PointDefinition } from '../modbus/point.js'
import { valueArgument } from './parse-arguments.js'

/**
 * What a text on the command line is to a point: digits are a text to one that holds texts, and the name to one whose
 * enumeration has it; a number that a double would change stays as it was typed where the point takes that.
 */
export function pointValue({ type, length, enum: names }: PointDefinition, text: string) {
  const value = valueArgument(text)
  if (typeof value === 'string') return value
  const isText = type === 'string' || type === 'raw'
  if (isText || (names !== undefined && Object.hasOwn(names, text))) return text
  const isWide = type === 'uint64' || type === 'int64' || (type === 'bcd' && length === 4)
  return isWide && typeof value === 'number' && String(value) !== text ? text : value
}
