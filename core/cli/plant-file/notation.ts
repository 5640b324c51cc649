import type { RegisterType } from '../../modbus/field.js'

/** How a file counts addresses. */
export const NOTATIONS = ['pdu', 'one_based', 'modicon5', 'modicon6'] as const
export type Notation = (typeof NOTATIONS)[number]

const TYPE_OF_DIGIT: Readonly<Record<string, RegisterType>> = { 0: 'coil', 1: 'discrete', 3: 'input', 4: 'holding' }

/**
 * The PDU address that a file means, and the register type where the notation carries it.
 *
 * @returns a sentence where the text is no such address.
 */
export function pduAddress(
  text: string,
  notation: Notation,
): { address: number; register_type?: RegisterType } | string {
  const digits = text.trim()
  if (!/^\d+$/.test(digits)) return `"${text}" is no address`
  if (notation === 'pdu') return { address: Number(digits) }
  if (notation === 'one_based') {
    return Number(digits) > 0 ? { address: Number(digits) - 1 } : 'one_based addresses begin at 1'
  }
  const width = notation === 'modicon5' ? 5 : 6
  // Was a zero dropped, or is it the other notation? A wrong guess would be another register of another type.
  if (notation === 'modicon6' && /^[134]\d{4}$/.test(digits)) {
    return `"${text}" has five digits: write 0${digits} for coil ${digits}, or --notation modicon5`
  }
  // Spreadsheets drop the leading zeros of coils.
  const padded = digits.padStart(width, '0')
  const register_type = TYPE_OF_DIGIT[padded[0]!]
  const number = Number(padded.slice(1))
  if (padded.length !== width || register_type === undefined || number === 0) {
    return `"${text}" is no ${notation} address such as ${notation === 'modicon5' ? '40001' : '400001'}`
  }
  return { address: number - 1, register_type }
}
