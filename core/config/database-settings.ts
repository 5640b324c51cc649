import type { DatabaseConfig } from './config.js'
import { type Mistakes, maskUrl } from './mistakes.js'
import type { Resolved } from './resolve.js'
import { type DatabaseAddress, databaseUrlOf, parseDatabaseUrl } from './urls.js'

export interface DatabaseChoice {
  readonly config: DatabaseConfig
  /** Whether a database was configured; `none` is none. */
  readonly named: boolean
}

/** Which database is meant by DATABASE_URL, ENABLE_MYSQL and DB_* together; else SQLite in the data folder. */
export function chooseDatabase(
  resolved: Resolved,
  root: string,
  embeddedFile: string,
  mistakes: Mistakes,
  warnings: string[],
): DatabaseChoice {
  const { values, origins } = resolved
  const url = origins.get('databaseUrl')
  const server = serverAddress(resolved, mistakes)
  const finish = (address: DatabaseAddress): DatabaseConfig =>
    address.kind === 'none' || address.kind === 'sqlite'
      ? address
      : { ...address, poolSize: values.dbPool ?? 5, echo: values.dbEcho ?? false }

  if (url !== undefined && (server === undefined || url.rank <= server.rank)) {
    const address = parseDatabaseUrl(url.text, root)
    if (address === undefined) {
      const want = 'sqlite:///file, postgres://user:password@host/name, mysql://… or none'
      mistakes.add({ key: url.name, got: maskUrl(url.text), want })
      return { config: { kind: 'none' }, named: true }
    }
    if (server !== undefined && (address.kind === 'none' || address.kind === 'sqlite' || address.url !== server.url)) {
      warnings.push(`${url.name} (${url.from}) names the database; the DB_* settings differ and are not used.`)
    }
    return { config: finish(address), named: address.kind !== 'none' }
  }
  if (server !== undefined) {
    if (url !== undefined) {
      warnings.push(`The DB_* settings (${server.from}) name the database; ${url.name} (${url.from}) is not used.`)
    }
    return { config: finish({ kind: server.kind, url: server.url }), named: true }
  }
  return { config: { kind: 'sqlite', file: embeddedFile }, named: false }
}

function serverAddress({ values, origins }: Resolved, mistakes: Mistakes) {
  const enabled = values.enableMysql
  const host = origins.get('dbHost')
  // RouteMQ ships ENABLE_MYSQL=false beside filled DB_* settings: then they are not meant.
  if (enabled === false || (enabled === undefined && host === undefined && values.dbKind === undefined))
    return undefined
  if (enabled === true && values.dbKind === 'postgres') {
    mistakes.add({ key: 'DB_CONNECTION', got: 'postgres beside ENABLE_MYSQL=true', want: 'one of the two' })
  }
  const kind = enabled === true ? 'mysql' : (values.dbKind ?? (values.dbPort === 5_432 ? 'postgres' : 'mysql'))
  const sources = [origins.get('enableMysql'), host, origins.get('dbKind')].filter((one) => one !== undefined)
  const first = sources.reduce((best, one) => (one.rank < best.rank ? one : best))
  const url = databaseUrlOf({
    kind,
    host: values.dbHost ?? 'localhost',
    port: values.dbPort,
    name: values.dbName ?? 'routemq',
    user: values.dbUser ?? (kind === 'mysql' ? 'root' : 'postgres'),
    password: values.dbPass,
  })
  return { kind, url, rank: first.rank, from: first.from } as const
}
