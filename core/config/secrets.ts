import type { Config } from './config.js'

/** The texts of all secrets of a configuration. */
export function secretsOf({ app, mqtt, http, database, trace }: Config): readonly string[] {
  const found = [
    ...app.apiKeys,
    mqtt.password,
    passwordIn(mqtt.url),
    ...http.apiKeys,
    http.jwt?.secret,
    'url' in database ? passwordIn(database.url) : undefined,
    ...Object.values(trace?.headers ?? {}),
  ]
  return found.filter((text) => text !== undefined && text !== '') as string[]
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
