import { join } from 'node:path'
import { loadConfig } from '../config/load-config.js'
import { prepareTypeScript } from '../config/typescript-loader.js'
import type { OpenOptions } from '../database/open.js'
import type { Store } from '../database/store.js'
import { silentLogger } from '../observability/logger.js'
import { RouteMQError } from '../support/errors.js'
import type { CliContext } from './context.js'

/** Opens the configured database without migrating it; undefined where there is none. The caller closes it. */
export async function openStore(
  { root, env }: CliContext,
  limits: Pick<OpenOptions, 'statementMs'> = {},
): Promise<Store | undefined> {
  await prepareTypeScript(root)
  const { config } = loadConfig({ root, env, keepInstance: false })
  const [{ openDatabase }, { loadApp }] = await Promise.all([
    import('../database/open.js'),
    import('../kernel/application.js'),
  ])
  const { folders } = await loadApp(root)
  return openDatabase(config.database, {
    logger: silentLogger,
    instance: config.app.instance,
    appMigrationsDir: join(root, folders.migrations),
    migrate: false,
    ...limits,
  })
}

/** @throws DATABASE_UNAVAILABLE where there is none, or it does not answer. */
export async function withStore<T>(
  context: CliContext,
  work: (store: Store) => Promise<T>,
  limits: Pick<OpenOptions, 'statementMs'> = {},
): Promise<T> {
  const store = await openStore(context, limits)
  if (store === undefined) {
    throw new RouteMQError('DATABASE_UNAVAILABLE', 'There is no database: DATABASE_URL=none.')
  }
  try {
    const { state, address } = store
    if (state.name !== 'ok') {
      throw new RouteMQError('DATABASE_UNAVAILABLE', `The database at ${address} cannot be used: ${state.reason}`)
    }
    return await work(store)
  } finally {
    await store.close()
  }
}
