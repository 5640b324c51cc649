import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  visit,
  type YAMLMap,
} from 'yaml'
import { nearest } from '../../config/nearest.js'
import { csvRows } from '../../modbus/csv-rows.js'
import { withAddress, withDeviceAddresses, withTargetAddresses } from './addresses.js'
import { cellValue, DEVICE_COLUMNS, POINT_COLUMNS, TARGET_COLUMNS } from './columns.js'
import type { Notation } from './notation.js'
import { utf8Text } from './utf8-text.js'

/** A device of a file as it stands there, with its line. Points come with lines of their own. */
export interface DeviceEntry {
  readonly line: number
  readonly fields: Readonly<Record<string, unknown>>
  readonly points: readonly PointEntry[] | undefined
}

export interface PointEntry {
  readonly line: number
  readonly fields: Readonly<Record<string, unknown>>
}

/** A polling target as it stands in a file. */
export type TargetEntry = PointEntry

export interface LineMistake {
  readonly line: number
  readonly message: string
}

export interface PlantFile {
  readonly devices: readonly DeviceEntry[]
  /** Points by themselves, of devices that are known or stand in the same file. */
  readonly points: readonly (PointEntry & { readonly device_id: string })[]
  readonly targets: readonly TargetEntry[]
  readonly mistakes: readonly LineMistake[]
}

/** Fields that hold addresses, wherever they stand. */
const ADDRESS_FIELDS: ReadonlySet<string> = new Set(['address', 'from', 'to'])

const EMPTY: PlantFile = { devices: [], points: [], targets: [], mistakes: [] }

export function readPlant(bytes: Buffer, form: 'csv' | 'yaml', notation: Notation): PlantFile {
  const text = utf8Text(bytes)
  if (typeof text !== 'string') return { ...EMPTY, mistakes: [text] }
  return form === 'csv' ? readCsv(text, notation) : readYaml(text, notation)
}

/**
 * Reads a CSV of points (it has a column `name`), of polling targets (an `address` without one) or of devices: the header
 * first, `,` or `;` between.
 */
export function readCsv(text: string, notation: Notation): PlantFile {
  const mistakes: LineMistake[] = []
  const rows = csvRows(text)
  if ('message' in rows) return { ...EMPTY, mistakes: [rows] }
  const [head, ...body] = rows
  const header = head?.cells ?? []
  const kind = header.includes('name') ? 'point' : header.includes('address') ? 'target' : 'device'
  const known: readonly string[] = { point: POINT_COLUMNS, target: TARGET_COLUMNS, device: DEVICE_COLUMNS }[kind]
  for (const column of header.filter((one) => !known.includes(one))) {
    const near = nearest(column, known)
    mistakes.push({
      line: 1,
      message: `there is no column "${column}"${near === undefined ? '' : `; did you mean ${near}?`}`,
    })
  }
  for (const column of known.filter((one) => header.indexOf(one) !== header.lastIndexOf(one))) {
    mistakes.push({ line: 1, message: `the column ${column} stands there twice` })
  }
  if (!header.includes('device_id')) mistakes.push({ line: 1, message: 'the column device_id is missing' })
  if (mistakes.length > 0) return { ...EMPTY, mistakes }

  const targets: TargetEntry[] = []
  const devices: DeviceEntry[] = []
  const points: (PointEntry & { device_id: string })[] = []
  for (const { cells, line } of body) {
    if (cells.length !== header.length) {
      mistakes.push({ line, message: `${cells.length} cells, the header has ${header.length}` })
      continue
    }
    const fields: Record<string, unknown> = {}
    for (const [at, column] of header.entries()) {
      const cell = cells[at]!
      if (cell === '') continue
      const value = cellValue(column, cell)
      if (value instanceof Error) mistakes.push({ line, message: value.message })
      else fields[column] = value
    }
    const reader = { notation, line, mistakes }
    if (kind === 'device') devices.push({ line, fields: withDeviceAddresses(fields, reader), points: undefined })
    else if (kind === 'target') targets.push({ line, fields: withTargetAddresses(fields, reader) })
    else {
      const { device_id, ...point } = withAddress(fields, reader)
      points.push({ line, device_id: String(device_id ?? ''), fields: point })
    }
  }
  return { devices, points, targets, mistakes }
}

/** Reads YAML (or JSON): `devices` with records as the API has them, points inside, and `targets`. */
export function readYaml(text: string, notation: Notation): PlantFile {
  const counter = new LineCounter()
  const document = parseDocument(text, { lineCounter: counter, merge: true })
  const lineAt = (offset: number | undefined) => (offset === undefined ? 1 : counter.linePos(offset).line)
  const mistakes: LineMistake[] = document.errors.map(({ code, message, pos }) => ({
    line: lineAt(pos[0]),
    message: code === 'MULTIPLE_DOCS' ? 'a second document begins here; want one' : sentenceOf(message),
  }))
  if (mistakes.length > 0) return { ...EMPTY, mistakes }
  if (notation !== 'pdu') keepDigits(document)
  const { contents } = document
  /** What people wrote once and refer to. */
  const resolved = (node: unknown) => (isAlias(node) ? node.resolve(document) : node)
  const fieldsOf = (map: YAMLMap, line: number) => {
    try {
      return map.toJS(document) as Record<string, unknown>
    } catch (error) {
      // The library ends aliases of aliases that would fill the memory.
      mistakes.push({ line, message: (error as Error).message })
      return undefined
    }
  }
  const partOf = (part: 'devices' | 'targets'): readonly unknown[] => {
    const list = isMap(contents) ? contents.get(part) : part === 'devices' ? contents : undefined
    if (isSeq(list)) return list.items
    if (list !== undefined) mistakes.push({ line: lineAt(rangeOf(list)), message: `\`${part}\` must be a list` })
    return []
  }
  for (const part of isMap(contents) ? contents.items : []) {
    const name = String(part.key)
    if (name === 'devices' || name === 'targets') continue
    mistakes.push({
      line: lineAt(rangeOf(part.key)),
      message: `there is no list \`${name}\`; want devices and targets`,
    })
  }
  if (isMap(contents) && !contents.has('devices') && !contents.has('targets')) {
    mistakes.push({ line: 1, message: 'a list `devices` or `targets` is missing' })
  }
  const devices = partOf('devices').flatMap((node): DeviceEntry[] => {
    const line = lineAt(rangeOf(node))
    const item = resolved(node)
    if (!isMap(item)) {
      mistakes.push({ line, message: 'a device is a map of fields' })
      return []
    }
    const written = fieldsOf(item, line)
    if (written === undefined) return []
    const { points: listed, ...given } = written
    const fields = withDeviceAddresses(given, { notation, line, mistakes })
    const own = resolved(item.get('points', true))
    if (listed === undefined) return [{ line, fields, points: undefined }]
    if (!Array.isArray(listed)) {
      mistakes.push({ line, message: 'points: must be a list' })
      return [{ line, fields, points: undefined }]
    }
    const points = listed.flatMap((point: unknown, index): PointEntry[] => {
      // Points that a merge key brought in stand in no line of this device.
      const at = isSeq(own) ? lineAt(rangeOf(own.items[index])) : line
      if (typeof point === 'object' && point !== null && !Array.isArray(point)) {
        const reader = { notation, line: at, mistakes }
        return [{ line: at, fields: withAddress(point as Record<string, unknown>, reader) }]
      }
      mistakes.push({ line: at, message: 'a point is a map of fields' })
      return []
    })
    return [{ line, fields, points }]
  })
  const targets = partOf('targets').flatMap((node): TargetEntry[] => {
    const line = lineAt(rangeOf(node))
    const item = resolved(node)
    if (!isMap(item)) {
      mistakes.push({ line, message: 'a target is a map of fields' })
      return []
    }
    const fields = fieldsOf(item, line)
    return fields === undefined ? [] : [{ line, fields: withTargetAddresses(fields, { notation, line, mistakes }) }]
  })
  return { devices, points: [], targets, mistakes }
}

/** What a parser found, without the place, which is told beside it. It may quote a whole file that is no text. */
function sentenceOf(message: string): string {
  const sentence = message.split('\n')[0]!.replace(/ at line \d+, column \d+:?$/, '')
  return sentence.length <= 200 ? sentence : `${sentence.slice(0, 200)}…`
}

/** In the notations of manuals a leading zero says what is meant: 040001 is a coil, and as a number it is 40001. */
function keepDigits(document: Document): void {
  visit(document, {
    Pair(_, { key, value }) {
      const isAddress = isScalar(key) && ADDRESS_FIELDS.has(String(key.value))
      if (isAddress && isScalar(value) && /^0\d+$/.test(value.source ?? '')) value.value = value.source
    },
  })
}

/** Where a node of the document begins. */
function rangeOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined
}
