/** What goes between the main thread and the thread that owns the SQLite file. */
export type SqlValue = null | number | bigint | string | Uint8Array

export type Commit =
  /** A transaction of their own, synced at least once a second: loss of power takes the last second. */
  | 'relaxed'
  /** None: they are part of the transaction that is open. */
  | 'enclosing'

/**
 * Rows of one insert, `width` values each, one after the other. Numbers move between threads without being copied one by
 * one; NaN stands for what is in `others` under the same index, or null. Without `others` there is no NaN.
 */
export interface InsertedRows {
  /** What comes before the values. */
  readonly into: string
  /** The values of one row, with a `?` for each of the `width`: `(?,?,null)`. */
  readonly row: string
  /** What comes behind them. */
  readonly after: string
  readonly width: number
  readonly numbers: Float64Array<ArrayBuffer>
  readonly others: ReadonlyMap<number, SqlValue> | undefined
}

export interface SqliteStatement {
  readonly sql: string
  readonly params: readonly SqlValue[]
}

export type SqliteRequest =
  | { readonly id: number; readonly op: 'query'; readonly sql: string; readonly params: readonly SqlValue[] }
  /** Many rows, all or none. */
  | {
      readonly id: number
      readonly op: 'rows'
      readonly parts: readonly InsertedRows[]
      readonly commit: Commit
    }
  /** Statements that change nothing but readings, all or none, synced as {@link Commit} says of 'relaxed'. */
  | { readonly id: number; readonly op: 'readings'; readonly statements: readonly SqliteStatement[] }
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
