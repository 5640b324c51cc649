import type { Kysely } from 'kysely'

/**
 * The application's own tables, for `ctx.db` to check. An application adds to it:
 * `declare module 'routemq' { interface AppTables { orders: { id: Generated<number>; name: string } } }`.
 */
// biome-ignore lint/suspicious/noEmptyInterface: applications add to it by declaration merging
export interface AppTables {}

/** kysely over the application's own tables. */
export type AppDatabase = Kysely<AppTables>
