/**
 * A JSON object without one of its members, every other byte as it was: numbers beyond 2^53 and the order of the fields
 * stay what the sender wrote, which parsing and writing again would not promise. The text must be valid JSON; undefined
 * where it is no object or does not have the member.
 */
export function withoutMember(text: string, name: string): string | undefined {
  const open = skipSpace(text, 0)
  if (text[open] !== '{') return undefined
  const kept: string[] = []
  let removed = false
  let at = skipSpace(text, open + 1)
  while (at < text.length && text[at] !== '}') {
    const start = at
    const keyEnd = endOfString(text, at)
    const key: unknown = JSON.parse(text.slice(at, keyEnd))
    at = endOfValue(text, skipSpace(text, skipSpace(text, keyEnd) + 1))
    // Twice the same name is legal JSON; a second copy of a credential is still a credential.
    if (key === name) removed = true
    else kept.push(text.slice(start, at))
    at = skipSpace(text, at)
    if (text[at] === ',') at = skipSpace(text, at + 1)
  }
  return removed ? `{${kept.join(',')}}` : undefined
}

function skipSpace(text: string, from: number): number {
  let at = from
  while (at < text.length && ' \t\n\r'.includes(text[at]!)) at += 1
  return at
}

function endOfString(text: string, quote: number): number {
  let at = quote + 1
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1
  return at + 1
}

function endOfValue(text: string, from: number): number {
  let depth = 0
  let at = from
  while (at < text.length) {
    const character = text[at]!
    if (character === '"') {
      at = endOfString(text, at)
      continue
    }
    if (depth === 0 && (character === ',' || character === '}')) break
    if (character === '{' || character === '[') depth += 1
    if (character === '}' || character === ']') depth -= 1
    at += 1
  }
  // Space between the value and what follows belongs to neither.
  return text.slice(0, at).trimEnd().length
}
