import type { Kysely } from 'kysely'
import { isDuplicate } from '../connection-errors.js'
import type { FrameworkTables } from '../tables.js'

/**
 * Runs `insert` once in the life of a database: what people removed later does not come back with the next start. Of two
 * processes that seed at once, one does it and the other sees it done.
 */
export async function seedOnce(
  db: Kysely<FrameworkTables>,
  what: string,
  insert: (transaction: Kysely<FrameworkTables>) => Promise<void>,
): Promise<boolean> {
  const name = `seeded.${what}`
  const done = await db.selectFrom('routemq_meta').select('name').where('name', '=', name).executeTakeFirst()
  if (done !== undefined) return false
  try {
    await db.transaction().execute(async (transaction) => {
      await transaction.insertInto('routemq_meta').values({ name, value: new Date().toISOString() }).execute()
      await insert(transaction)
    })
    return true
  } catch (error) {
    if (isDuplicate(error)) return false
    throw error
  }
}
