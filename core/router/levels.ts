/** What may not stand inside one topic level, and the `%` that would be taken for an escape of it. */
const UNSAFE = /[+#/]|%(?=2[5bfBF3])/g
const ESCAPES = /%(25|2[bfBF]|23)/g

/**
 * A value as one topic level: `/`, `+` and `#` become `%2F`, `%2B`, `%23`; a `%` is escaped only where it
 * would otherwise read as one of these. {@link unescapeLevel} gives the value back.
 */
export function escapeLevel(value: string): string {
  return value.replace(UNSAFE, (character) => percent(character))
}

/** The reverse of {@link escapeLevel}; anything else is left as it came. */
export function unescapeLevel(level: string): string {
  // Nearly no level has one, and indexOf costs less than a replace that finds nothing.
  if (!level.includes('%')) return level
  return level.replace(ESCAPES, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
}

function percent(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`
}
