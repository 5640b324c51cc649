import { type Kysely, type SqlBool, sql } from 'kysely'
import type { Logger } from '../../observability/logger.js'
import type { Store } from '../store.js'
import type { FrameworkTables } from '../tables.js'

/** Letters deleted at once: each may be of a megabyte. */
const CHUNK = 100

export interface LetterTrimOptions {
  readonly store: Store
  readonly logger: Logger
  /** Letters kept. */
  readonly most: number
  /** Bytes that they may take together; one letter always may. */
  readonly bytes: number
  /** True while the round should end. */
  readonly stopping: () => boolean
}

/** Removes the oldest letters over either bound and tells of them: each was a message that nobody will handle now. */
export async function trimDeadLetters({ store, logger, most, bytes, stopping }: LetterTrimOptions): Promise<number> {
  const db = store.kysely as Kysely<FrameworkTables>
  const first = await firstTooMany(db, most, bytes)
  if (first === undefined) return 0
  let removed = 0
  while (!stopping()) {
    const rows = await db
      .selectFrom('routemq_dead_letters')
      .select('id')
      .where('failed_us', '<=', first.failed_us)
      // Of those that failed in the same moment as the first one too many, the others stay.
      .where(({ or, eb }) => or([eb('failed_us', '<', first.failed_us), eb('id', '<=', first.id)]))
      .orderBy('failed_us')
      .orderBy('id')
      .limit(CHUNK)
      .execute()
    if (rows.length === 0) break
    const ids = rows.map(({ id }) => id)
    const result = await db.deleteFrom('routemq_dead_letters').where('id', 'in', ids).executeTakeFirst()
    removed += Number(result.numDeletedRows)
  }
  if (removed === 0) return 0
  const message = `${removed} of the oldest dead letters were removed: at most ${most} and ${bytes} bytes are kept`
  logger.warn({ removed, most, bytes }, message)
  await store.events.append([
    { kind: 'dead_letters.removed', level: 'warn', message, details: { removed, most, bytes } },
  ])
  return removed
}

/** The newest letter that has no place any more. */
async function firstTooMany(db: Kysely<FrameworkTables>, most: number, bytes: number) {
  const { rows } = await sql<{ failed_us: number; id: string }>`select failed_us, id from (
      select failed_us, id, bytes, row_number() over (order by failed_us desc, id desc) as n,
        sum(bytes) over (order by failed_us desc, id desc) as total from routemq_dead_letters
    ) as letters where ${sql<SqlBool>`n > ${most} or (total > ${bytes} and n > 1)`}
    order by failed_us desc, id desc limit 1`.execute(db)
  return rows[0]
}
