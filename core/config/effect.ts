import { differInPassword } from './database-password.js'
import type { ConfigFlags } from './load-config.js'
import type { Values } from './resolve.js'
import { type Effect, SETTINGS, type SettingKey } from './settings.js'

/** They name a database together. */
const DATABASE = ['enableMysql', 'dbKind', 'dbHost', 'dbPort', 'dbName', 'dbUser'] as const satisfies SettingKey[]

/** Whether nothing of where the database is, and who uses it, differs but a password. */
function sameDatabase(running: Values, fresh: Values): boolean {
  const [before, after] = [running.databaseUrl, fresh.databaseUrl]
  const sameUrl = before === after || (before !== undefined && after !== undefined && differInPassword(before, after))
  const bothHavePassword = (running.dbPass === undefined) === (fresh.dbPass === undefined)
  return sameUrl && bothHavePassword && DATABASE.every((key) => running[key] === fresh[key])
}

/** What a setting needs so that its new value holds in a product that runs with `running`. */
export function effectOf(key: SettingKey, running: Values, fresh: Values, flags: ConfigFlags): Effect {
  const { effect }: { effect: Effect } = SETTINGS[key]
  if (key === 'databaseUrl' || key === 'dbPass') return sameDatabase(running, fresh) ? 'live' : 'restart'
  if (effect !== 'workers') return effect
  const slots = flags.workers ?? running.workers
  // All in one process: its route code is only new with a restart, and its log is the gateway's.
  if (slots === 0) return key === 'logLevel' ? 'live' : 'restart'
  // Without worker processes, or with their number given by a flag, the product runs in another way than it does now.
  return key === 'workers' && (flags.workers !== undefined || fresh.workers === 0) ? 'restart' : effect
}
