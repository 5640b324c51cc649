import { POINT_FIELDS } from '../../modbus/point.js'

export const DEVICE_COLUMNS = [
  'device_id',
  'profile',
  'host',
  'port',
  'slave_id',
  'unit_id',
  'timeout',
  'timeout_ms',
  'poll_timeout_ms',
  'framer',
  'transport',
  'path',
  'baud_rate',
  'parity',
  'data_bits',
  'stop_bits',
  'max_retries',
  'retry_delay',
  'write_enabled',
  'raw_write',
  'is_active',
  'options',
] as const
export const POINT_COLUMNS = ['device_id', ...POINT_FIELDS] as const
export const TARGET_COLUMNS = [
  'device_id',
  'register_type',
  'address',
  'count',
  'description',
  'is_active',
  'interval_ms',
  'publish',
  'options',
] as const

const NUMBERS: ReadonlySet<string> = new Set([
  'port',
  'slave_id',
  'unit_id',
  'timeout',
  'timeout_ms',
  'poll_timeout_ms',
  'baud_rate',
  'data_bits',
  'stop_bits',
  'max_retries',
  'retry_delay',
  'bit',
  'width',
  'length',
  'scale',
  'offset',
  'min',
  'max',
  'step',
  'count',
  'interval_ms',
])
/** Fields of devices and targets that may be unset; an empty cell says nothing of them. */
const MAY_BE_NULL: ReadonlySet<string> = new Set([
  'host',
  'port',
  'unit_id',
  'timeout_ms',
  'poll_timeout_ms',
  'path',
  'baud_rate',
  'parity',
  'data_bits',
  'stop_bits',
  'interval_ms',
])
const BOOLEANS: ReadonlySet<string> = new Set(['write_enabled', 'is_active'])
const UNSET = 'null'
const YES_AND_NO: Readonly<Record<string, boolean>> = {
  true: true,
  yes: true,
  1: true,
  false: false,
  no: false,
  0: false,
}

/** What a cell of a column means. */
export function cellValue(column: string, cell: string): unknown {
  if (cell === UNSET && MAY_BE_NULL.has(column)) return null
  if (NUMBERS.has(column)) {
    const number = Number(cell)
    if (Number.isFinite(number)) return number
    const hint = /^[+-]?\d+,\d+$/.test(cell) ? `; a decimal point, please: ${cell.replace(',', '.')}` : ''
    return new Error(`${column}: "${cell}" is no number${hint}`)
  }
  if (BOOLEANS.has(column))
    return YES_AND_NO[cell.toLowerCase()] ?? new Error(`${column}: "${cell}" is neither true nor false`)
  if (column === 'invalid') return rawValues(cell)
  if (column === 'enum' && !cell.startsWith('{')) return namesOfValues(cell)
  if (column === 'options' || ((column === 'profile' || column === 'enum') && cell.startsWith('{'))) {
    try {
      return JSON.parse(cell) as unknown
    } catch {
      return new Error(`${column}: "${cell}" is no JSON`)
    }
  }
  return cell
}

/** Raw values with `;` or blanks between; what a number cannot hold stays text. Excel leaves separators at the end. */
function rawValues(cell: string): (number | string)[] | Error {
  const parts = cell.split(/[;\s]+/).filter((part) => part !== '')
  const wrong = parts.find((part) => !Number.isFinite(Number(part)))
  if (wrong !== undefined) return new Error(`invalid: "${wrong}" is no number`)
  return parts.map((part) => (/^-?\d+$/.test(part) && !Number.isSafeInteger(Number(part)) ? part : Number(part)))
}

function namesOfValues(cell: string): Record<string, number> | Error {
  const names: Record<string, number> = Object.create(null)
  for (const pair of cell.split(';').filter((part) => part.trim() !== '')) {
    const [, name, value] = /^\s*(\S.*?)\s*=\s*([^\s=]+)\s*$/s.exec(pair) ?? []
    if (name === undefined || !Number.isFinite(Number(value))) {
      return new Error(`enum: "${pair}" is no name with a number, as off=0`)
    }
    if (name in names) return new Error(`enum: "${name}" stands there twice`)
    names[name] = Number(value)
  }
  return { ...names }
}

/** The cell of a field that is null: such that an import unsets it where it can be. */
export function nullCell(column: string): string {
  return MAY_BE_NULL.has(column) ? UNSET : ''
}

/** An enumeration as a cell: `off=0;heat=1`, or JSON where its names would not come back from that. */
export function enumCell(names: Readonly<Record<string, number>>): string {
  const isPlain = Object.keys(names).every((name) => name !== '' && name.trim() === name && !/[;{]/.test(name))
  if (!isPlain) return JSON.stringify(names)
  return Object.entries(names)
    .map(([name, value]) => `${name}=${value}`)
    .join(';')
}
