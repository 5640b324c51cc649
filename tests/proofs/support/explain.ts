import { join } from 'node:path'
import Database from 'better-sqlite3'
import type { Installation } from './installation.js'

/** Where messages are that should have been handled, for the report of a proof that failed. */
export async function explain(installation: Installation): Promise<string> {
  const workers = JSON.stringify(await installation.workers().catch((error: unknown) => String(error)), undefined, 1)
  const database = new Database(join(installation.root, 'data/routemq.db'), { readonly: true })
  try {
    const claims = database.prepare('select owner, state, count(*) as n from routemq_claims group by 1, 2').all()
    const parked = database.prepare('select count(*) as n from routemq_parked').all()
    const dead = database.prepare('select count(*) as n from routemq_dead_letters').all()
    return `${workers}\n${JSON.stringify({ claims, parked, dead })}\n${installation.product.text.slice(-3_000)}`
  } finally {
    database.close()
  }
}
