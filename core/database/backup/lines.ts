import type { FrameworkTables } from '../tables.js'

/** What stands in a backup, a line of JSON each: the header, then tables, then the readings series by series. */
export type BackupLine = BackupHeader | TableLine | SourcesLine | ReadingsLine

export interface BackupHeader {
  /** Version of this format. */
  readonly routemq_backup: 1
  /** ISO 8601 UTC. */
  readonly created_at: string
  readonly dialect: string
  /** Migrations of the framework that had run. */
  readonly schema: readonly string[]
}

export interface TableLine {
  readonly table: PlainTable
  readonly rows: readonly Readonly<Record<string, unknown>>[]
}

/** Who measured, by the numbers that the readings name. */
export interface SourcesLine {
  readonly sources: Readonly<Record<number, readonly [instance: string, boot: string]>>
}

export interface ReadingsLine {
  readonly series: { readonly device_id: string; readonly point: string; readonly unit: string | null }
  readonly readings: readonly PackedReading[]
}

export type PackedReading = readonly [
  time_us: number,
  source: number,
  sequence: number,
  value: number | null,
  text: string | null,
  kind: number,
  quality: number,
  reason: string | null,
]

interface PlainTableOf {
  readonly table: keyof FrameworkTables
  readonly key: string
  readonly keepsKey: boolean
  /** Columns that may be of megabytes. */
  readonly large: readonly string[]
}

/**
 * Tables that are kept as they are, with their key. The leases are not: they say who runs now. Where the database counts
 * the key up and nobody knows it, the rows get new ones.
 */
export const PLAIN_TABLES = [
  { table: 'routemq_meta', key: 'name', keepsKey: true, large: ['value'] },
  { table: 'routemq_devices', key: 'device_id', keepsKey: true, large: ['points', 'options'] },
  { table: 'routemq_targets', key: 'id', keepsKey: true, large: ['options'] },
  { table: 'routemq_api_keys', key: 'prefix', keepsKey: true, large: [] },
  { table: 'routemq_claims', key: 'claim_key', keepsKey: true, large: ['outcome'] },
  { table: 'routemq_dead_letters', key: 'id', keepsKey: true, large: ['record', 'body'] },
  { table: 'routemq_parked', key: 'id', keepsKey: false, large: ['record', 'body'] },
  { table: 'routemq_events', key: 'id', keepsKey: false, large: ['message', 'details'] },
  { table: 'routemq_audit', key: 'id', keepsKey: false, large: ['before_value', 'after_value', 'details'] },
] as const satisfies readonly PlainTableOf[]

export type PlainTable = (typeof PLAIN_TABLES)[number]['table']

/** Characters of JSON in a line or a statement, about: rows may be of megabytes, and MySQL takes only so much at once. */
const LINE_CHARS = 1_000_000

/** Rows in their order, in parts of at most `most` and of about a megabyte; a larger row is a part of its own. */
export function* parts<Row>(
  rows: readonly Row[],
  most: number,
  sizeOf: (row: Row) => number = (row) => JSON.stringify(row).length,
): Generator<readonly Row[]> {
  let from = 0
  let chars = 0
  for (const [at, row] of rows.entries()) {
    const size = sizeOf(row)
    if (at > from && (at - from >= most || chars + size > LINE_CHARS)) {
      yield rows.slice(from, at)
      from = at
      chars = 0
    }
    chars += size
  }
  if (from < rows.length) yield rows.slice(from)
}
