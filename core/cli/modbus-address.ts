import { REGISTER_TYPES, type RegisterType } from '../modbus/field.js'
import { RouteMQError } from '../support/errors.js'

/** First digit of the five-digit notation that manuals use; its count starts at 1. */
const MODICON: Readonly<Record<RegisterType, number>> = { coil: 0, discrete: 1, input: 3, holding: 4 }

/** `holding 10 (40011)`: the PDU address, and what a manual most likely calls it. */
export function showAddress(type: RegisterType, address: number): string {
  const digits = address < 9_999 ? 4 : 5
  return `${type} ${address} (${MODICON[type]}${String(address + 1).padStart(digits, '0')})`
}

/** A PDU address, or undefined where the text is none and so names a point. */
export function addressArgument(text: string): number | undefined {
  if (!/^\d+$/.test(text)) return undefined
  const address = Number(text)
  if (address <= 65_535) return address
  throw new RouteMQError('USAGE', `${text} is no address: PDU addresses go from 0 to 65535`)
}

export function registerTypeArgument(text: string): RegisterType {
  const found = REGISTER_TYPES.find((type) => type === text.toLowerCase())
  if (found !== undefined) return found
  throw new RouteMQError('USAGE', `--type ${text}: want one of ${REGISTER_TYPES.join(', ')}`)
}
