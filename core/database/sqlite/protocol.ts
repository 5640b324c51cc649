/** What goes between the main thread and the thread that owns the SQLite file. */
export type SqlValue = null | number | bigint | string | Uint8Array

export type Durability =
  /** Synced at commit: survives loss of power. */
  | 'full'
  /** Synced at least once a second: survives the end of the process at once, loss of power but for the last second. */
  | 'relaxed'

/**
 * Rows of `width` values each, one after the other. Numbers move between threads without being copied one by one; NaN
 * stands for what is in `others` under the same index, or null.
 */
export interface PackedRows {
  readonly width: number
  readonly numbers: Float64Array<ArrayBuffer>
  readonly others: ReadonlyMap<number, SqlValue>
}

/** An insert without its values: `into` comes before them, `after` behind them. */
export interface InsertRows {
  readonly into: string
  readonly after: string
}

export type SqliteRequest =
  | { readonly id: number; readonly op: 'query'; readonly sql: string; readonly params: readonly SqlValue[] }
  /** Many rows in one transaction. */
  | {
      readonly id: number
      readonly op: 'rows'
      readonly insert: InsertRows
      readonly rows: PackedRows
      readonly durability: Durability
    }
  /** Rows of queries, told by their digest alone. */
  | { readonly id: number; readonly op: 'digest'; readonly queries: readonly string[] }
  | { readonly id: number; readonly op: 'backup'; readonly file: string }
  | { readonly id: number; readonly op: 'close' }

export interface SqliteResult {
  readonly rows: readonly Record<string, unknown>[]
  readonly changes: number
  readonly lastId: number | bigint
}

export type SqliteResponse =
  | { readonly id: number; readonly ok: true; readonly result: SqliteResult }
  | { readonly id: number; readonly ok: false; readonly error: SqliteFailure }
  /** The first message: the file is open, or why not. */
  | { readonly id: 0; readonly ok: true; readonly driver: string }
  | { readonly id: 0; readonly ok: false; readonly error: SqliteFailure }

export interface SqliteFailure {
  readonly message: string
  /** SQLite's own code (`SQLITE_BUSY`), or `DRIVER_MISSING`. */
  readonly code: string
}
