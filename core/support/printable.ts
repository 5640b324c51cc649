/** A text for a terminal: control characters of what others sent drive none. Line ends and tabs stay. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n\t]/gu, '·')
}
