import { type InsertQueryBuilder, type InsertResult, sql } from 'kysely'
import { isDuplicate } from '../connection-errors.js'
import type { DialectName } from '../dialect.js'
import type { FrameworkTables } from '../tables.js'

/** Runs an insert; false where a row with that key stands there already. */
export async function insertOnce<T extends keyof FrameworkTables>(
  dialect: DialectName,
  insert: InsertQueryBuilder<FrameworkTables, T, InsertResult>,
): Promise<boolean> {
  if (dialect !== 'mysql') {
    const result = await insert.onConflict((conflict) => conflict.doNothing()).executeTakeFirst()
    return result.numInsertedOrUpdatedRows === 1n
  }
  // Not `insert ignore`: that turns other errors into warnings as well.
  try {
    await insert.execute()
    return true
  } catch (error) {
    if (isDuplicate(error)) return false
    throw error
  }
}

/** Inserts entries; one whose `entry_id` stands there already changes nothing. */
export async function insertNew<T extends 'routemq_audit' | 'routemq_events'>(
  dialect: DialectName,
  insert: InsertQueryBuilder<FrameworkTables, T, InsertResult>,
): Promise<void> {
  if (dialect === 'mysql') await insert.modifyEnd(sql`on duplicate key update entry_id = entry_id`).execute()
  else await insert.onConflict((conflict) => conflict.doNothing()).execute()
}
