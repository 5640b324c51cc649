import type { Config, DatabaseConfig } from './config.js'

/** The texts of all secrets of a configuration. */
export function secretsOf({ app, mqtt, http, database, trace }: Config): readonly string[] {
  const found = [
    ...app.apiKeys,
    mqtt.password,
    passwordIn(mqtt.url),
    ...http.apiKeys,
    http.jwt?.secret,
    passwordOf(database),
    ...Object.values(trace?.headers ?? {}),
  ]
  return found.filter((text) => text !== undefined && text !== '') as string[]
}

/** Of the user of a database server. */
export function passwordOf(database: DatabaseConfig): string | undefined {
  return 'url' in database ? passwordIn(database.url) : undefined
}

function passwordIn(url: string | undefined): string | undefined {
  if (url === undefined || !URL.canParse(url)) return undefined
  const { password } = new URL(url)
  try {
    return decodeURIComponent(password)
  } catch {
    return password // a lone percent sign: meant as it stands
  }
}
