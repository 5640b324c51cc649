import { userInfo } from 'node:os'

/** Who types, for the audit. */
export function userName(): string {
  try {
    return userInfo().username
  } catch {
    return 'unknown' // A user id without an entry, as in containers.
  }
}
