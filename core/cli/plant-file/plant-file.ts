import { parse as parseCsv } from 'csv-parse/sync'
import { isAlias, isMap, isNode, isSeq, LineCounter, parseDocument, type YAMLMap } from 'yaml'
import { nearest } from '../../config/nearest.js'
import { withAddress, withDeviceAddresses, withTargetAddresses } from './addresses.js'
import { cellValue, DEVICE_COLUMNS, POINT_COLUMNS, TARGET_COLUMNS } from './columns.js'
import type { Notation } from './notation.js'

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

const EMPTY: PlantFile = { devices: [], points: [], targets: [], mistakes: [] }

/**
 * Reads a CSV of points (it has a column `name`), of polling targets (an `address` without one) or of devices: the header
 * first, `,` or `;` between.
 */
export function readCsv(text: string, notation: Notation): PlantFile {
  const mistakes: LineMistake[] = []
  let rows: { record: string[]; info: { lines: number } }[]
  try {
    const firstLine = text.split('\n', 1)[0] ?? ''
    rows = parseCsv(text, {
      bom: true,
      info: true,
      delimiter: firstLine.includes(';') && !firstLine.includes(',') ? ';' : ',',
      relax_column_count: true,
      skip_empty_lines: true,
      trim: true,
    }) as unknown as typeof rows
  } catch (error) {
    const { lines = 1 } = error as { lines?: number }
    return { ...EMPTY, mistakes: [{ line: lines, message: (error as Error).message }] }
  }
  const [head, ...body] = rows
  const header = head?.record ?? []
  const kind = header.includes('name') ? 'point' : header.includes('address') ? 'target' : 'device'
  const known: readonly string[] = { point: POINT_COLUMNS, target: TARGET_COLUMNS, device: DEVICE_COLUMNS }[kind]
  for (const column of header.filter((one) => !known.includes(one))) {
    const near = nearest(column, known)
    mistakes.push({
      line: 1,
      message: `there is no column "${column}"${near === undefined ? '' : `; did you mean ${near}?`}`,
    })
  }
  if (!header.includes('device_id')) mistakes.push({ line: 1, message: 'the column device_id is missing' })
  if (mistakes.length > 0) return { ...EMPTY, mistakes }

  const targets: TargetEntry[] = []
  const devices: DeviceEntry[] = []
  const points: (PointEntry & { device_id: string })[] = []
  for (const { record, info } of body) {
    const line = info.lines
    if (record.length !== header.length) {
      mistakes.push({ line, message: `${record.length} cells, the header has ${header.length}` })
      continue
    }
    const fields: Record<string, unknown> = {}
    for (const [at, column] of header.entries()) {
      const cell = record[at]!
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
  const mistakes: LineMistake[] = document.errors.map(({ message, pos }) => ({
    line: lineAt(pos[0]),
    message: shortened(message.split('\n')[0]!),
  }))
  if (mistakes.length > 0) return { ...EMPTY, mistakes }
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

/** What a parser quotes may be a whole file that is no text. */
function shortened(message: string): string {
  return message.length <= 200 ? message : `${message.slice(0, 200)}…`
}

/** Where a node of the document begins. */
function rangeOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined
}
