import type { Kysely } from 'kysely'
import type { DialectName } from '../dialect.js'
import type { FrameworkTables } from '../tables.js'

/** What every repository is given. */
export interface RepositoryContext {
  readonly db: Kysely<FrameworkTables>
  readonly dialect: DialectName
  /** Wall clock, milliseconds. */
  readonly now: () => number
}
