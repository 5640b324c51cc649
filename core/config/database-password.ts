/** A URL whose user has a password: what stands before it, the password, and what follows. */
const WITH_PASSWORD = /^([a-z][a-z0-9+.-]*:\/\/[^:@/?#]*):(.*)(@[^@/?#]*(?:[/?#].*)?)$/is

/** A database URL without its password, and that. */
export function splitPassword(url: string): { readonly bare: string; readonly password: string | undefined } {
  const [, before, password, after] = WITH_PASSWORD.exec(url) ?? []
  if (password === undefined || password === '') return { bare: url, password: undefined }
  return { bare: `${before}${after}`, password: decode(password) }
}

/** Whether two URLs name the same database and user, each with a password. */
export function differInPassword(a: string, b: string): boolean {
  const [one, other] = [splitPassword(a), splitPassword(b)]
  return one.bare === other.bare && one.password !== undefined && other.password !== undefined
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // a lone percent sign: meant as it stands
  }
}
