import { isAbsolute, join } from 'node:path'

export interface BrokerAddress {
  /** Without credentials. */
  readonly url: string
  readonly username: string | undefined
  readonly password: string | undefined
}

const BROKER_SCHEMES: Readonly<Record<string, { scheme: string; port: number }>> = {
  mqtt: { scheme: 'mqtt', port: 1883 },
  tcp: { scheme: 'mqtt', port: 1883 },
  mqtts: { scheme: 'mqtts', port: 8883 },
  ssl: { scheme: 'mqtts', port: 8883 },
  tls: { scheme: 'mqtts', port: 8883 },
  ws: { scheme: 'ws', port: 80 },
  wss: { scheme: 'wss', port: 443 },
}

/** Takes a broker URL apart; undefined where it is none. `port` is used where the URL names none. */
export function parseBrokerUrl(text: string, port?: number): BrokerAddress | undefined {
  const found = /^([a-z]+):\/\//i.exec(text)
  const known = BROKER_SCHEMES[found?.[1]?.toLowerCase() ?? '']
  if (found === null || known === undefined) return undefined
  // `mqtt:` is no scheme that URL parses ports and hosts for; `http:` is. Its own default port would vanish: see below.
  const rest = text.slice(found[0].length)
  const url = tryUrl(`http://${rest}`)
  if (url === undefined || url.hostname === '') return undefined
  const explicit = url.port !== '' || /^[^/?#]*:80(?:[/?#]|$)/.test(rest.replace(/^[^/?#]*@/, ''))
  const chosen = explicit ? url.port || '80' : String(port ?? known.port)
  const path = known.scheme.startsWith('ws') ? `${url.pathname}${url.search}` : ''
  return {
    url: `${known.scheme}://${url.hostname}:${chosen}${path === '/' ? '' : path}`,
    username: url.username === '' ? undefined : decode(url.username),
    password: url.password === '' ? undefined : decode(url.password),
  }
}

/** `mqtt://host:port` of a plain host name or address, IPv6 included; undefined where it is none. */
export function brokerUrlOfHost(host: string, port: number | undefined): string | undefined {
  const bare = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
  if (!/^(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+)$/.test(bare)) return undefined
  return `mqtt://${bare}:${port ?? 1_883}`
}

export type DatabaseAddress =
  | { readonly kind: 'none' }
  | { readonly kind: 'sqlite'; readonly file: string }
  | { readonly kind: 'postgres' | 'mysql'; readonly url: string }

const DATABASE_SCHEMES: Readonly<Record<string, 'sqlite' | 'postgres' | 'mysql'>> = {
  sqlite: 'sqlite',
  sqlite3: 'sqlite',
  postgres: 'postgres',
  postgresql: 'postgres',
  pgsql: 'postgres',
  mysql: 'mysql',
  mariadb: 'mysql',
}

/**
 * A database URL as RouteMQ, NexusBus and SQLAlchemy write it: `postgresql+asyncpg://…` loses its driver,
 * `sqlite:///file` is relative to `root` and `sqlite:////file` absolute. Undefined where it is none.
 */
export function parseDatabaseUrl(text: string, root: string): DatabaseAddress | undefined {
  if (text.toLowerCase() === 'none') return { kind: 'none' }
  const found = /^([a-z0-9]+)(?:\+[a-z0-9_]+)?:(.*)$/is.exec(text)
  const kind = DATABASE_SCHEMES[found?.[1]?.toLowerCase() ?? '']
  if (found === null || kind === undefined) return undefined
  const rest = found[2]!
  if (kind === 'sqlite') {
    const file = rest.replace(/^\/\/\/?/, '').replace(/\?.*$/s, '')
    if (file === '' || file === ':memory:') return { kind, file: ':memory:' }
    return { kind, file: isAbsolute(file) ? file : join(root, file) }
  }
  const url = rest.startsWith('//') ? tryUrl(`http:${rest}`) : undefined
  if (url === undefined || url.hostname === '' || url.pathname.length < 2) return undefined
  return { kind, url: `${kind}:${rest}` }
}

export interface ServerSettings {
  readonly kind: 'postgres' | 'mysql'
  readonly host: string
  readonly port: number | undefined
  readonly name: string
  readonly user: string
  readonly password: string | undefined
}

export function databaseUrlOf(server: ServerSettings): string {
  const { kind, host, name, user, password } = server
  const port = server.port ?? (kind === 'mysql' ? 3_306 : 5_432)
  const secret = password === undefined ? '' : `:${encodeURIComponent(password)}`
  const login = `${encodeURIComponent(user)}${secret}@`
  const bare = host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
  return `${kind}://${login}${bare}:${port}/${encodeURIComponent(name)}`
}

function tryUrl(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // A stray % in a password that nobody encoded: it means itself.
  }
}
