import type { Kysely } from 'kysely'
import type { DialectName } from '../dialect.js'
import type { FrameworkTables } from '../tables.js'

/** What every repository is given. */
export interface RepositoryContext {
  readonly db: Kysely<FrameworkTables>
  /** For what may read long: it has connections of its own, so that no claim, no audit and no reading waits for it. */
  readonly reads: Kysely<FrameworkTables>
  readonly dialect: DialectName
  /** Milliseconds that a query of the history may take. */
  readonly historyMs: number
  /** Wall clock, milliseconds. */
  readonly now: () => number
}
