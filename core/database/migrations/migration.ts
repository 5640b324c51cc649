import type { Kysely } from 'kysely'
import type { DialectTypes } from '../dialect.js'

/** One step of the framework's schema. Names sort in the order of running and never change once released. */
export interface Migration {
  readonly name: string
  /** Tables it makes: none of them may exist before, so that nobody's data is taken for ours. */
  readonly creates: readonly string[]
  up(db: Kysely<unknown>, types: DialectTypes): Promise<void>
  down(db: Kysely<unknown>, types: DialectTypes): Promise<void>
}
