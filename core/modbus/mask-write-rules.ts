import { RouteMQError } from '../support/errors.js'
import type { MaskWrite } from './field.js'
import { describeAddress } from './field-failure.js'
import { bitsOf, checkPoint } from './raw-write-rules.js'
import type { EncodedItem, WriteRules } from './write-item.js'

/**
 * Some bits of one register, by function 22. Bits of declared fields obey their rules; a value that fills the register,
 * or more than one, is never changed in part.
 */
export function encodeMaskItem(
  { register_type = 'holding', address, and, or }: MaskWrite,
  rules: WriteRules,
): EncodedItem {
  const details = { device_id: rules.device_id, address }
  if (register_type !== 'holding') {
    const message = `Only bits of holding registers are written by mask, not of ${String(register_type)}`
    throw new RouteMQError('ADDRESS_INVALID', message, { details })
  }
  const refuse = (code: 'POINT_TORN' | 'VALUE_INVALID' | 'WRITE_DISABLED', message: string) =>
    new RouteMQError(code, message, { details })
  if (!Number.isInteger(address) || address < 0 || address > 65_535) {
    throw new RouteMQError('ADDRESS_INVALID', `Addresses are 0 to 65535, got ${String(address)}`, { details })
  }
  for (const [name, mask] of Object.entries({ and, or })) {
    if (Number.isInteger(mask) && mask >= 0 && mask <= 0xffff) continue
    throw refuse('VALUE_INVALID', `The mask ${name} is an integer from 0 to 65535, got ${JSON.stringify(mask)}`)
  }
  const where = describeAddress('holding', address)
  const changed = ~and & 0xffff
  if (rules.raw_write === 'deny') {
    throw refuse('WRITE_DISABLED', `Device ${rules.device_id} takes writes of its points only, not of raw registers`)
  }
  const touched = rules.points
    .touching('holding', address, 1)
    .map((point) => ({ point, bits: bitsOf(point) }))
    .filter(({ bits }) => (bits & changed) !== 0)
  const named = touched.reduce((bits, one) => bits | one.bits, 0)
  if (rules.raw_write === 'points' && (changed & ~named) !== 0) {
    throw refuse(
      'WRITE_DISABLED',
      `Device ${rules.device_id} takes raw writes of declared points only; not all of these bits of ${where} are one`,
    )
  }
  for (const { point, bits } of touched) {
    if ((bits & changed) !== bits) {
      throw refuse('POINT_TORN', `Writing ${where} would change only a part of point ${point.name}`)
    }
    checkPoint(point, { register_type: 'holding', address, values: [or] }, [or], rules)
  }
  return {
    register_type: 'holding',
    address,
    mask: { and, or },
    point: null,
    safe: touched.length > 0 && (changed & ~named) === 0 && touched.every(({ point }) => point.retry === 'safe'),
    readable: touched.every(({ point }) => point.access !== 'w'),
  }
}
