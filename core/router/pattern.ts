import { type Constraint, parseConstraint } from './constraints.js'

/** One level of a pattern. `plus` and `hash` are the bare MQTT wildcards, their values positional: `'0'`, `'1'`, … */
export type PatternLevel =
  | { readonly kind: 'literal'; readonly text: string }
  | { readonly kind: 'param'; readonly name: string; readonly constraint: Constraint | undefined }
  | { readonly kind: 'plus'; readonly name: string }
  | { readonly kind: 'rest'; readonly name: string }

export interface Pattern {
  readonly text: string
  readonly levels: readonly PatternLevel[]
  /** The MQTT filter that delivers what the pattern may match: `devices/+/control`. */
  readonly filter: string
  readonly params: readonly string[]
}

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
/** MQTT 5.0, 4.7.3: a topic is at most 65,535 bytes of UTF-8. */
const MAX_BYTES = 65_535

/** Reads a whole pattern, group prefixes included. Returns a sentence where it cannot be one. */
export function parsePattern(text: string): Pattern | string {
  if (text === '') return 'the pattern is empty'
  if (text.includes('\0')) return 'the pattern contains a NUL character'
  if (Buffer.byteLength(text) > MAX_BYTES) return `the pattern is longer than ${MAX_BYTES} bytes`
  const parts = text.split('/')
  if (/^\$(?:share|queue)$/.test(parts[0]!)) return 'share groups are asked for with `shared: true`, not in the pattern'
  const levels: PatternLevel[] = []
  const names = new Set<string>()
  let positional = 0
  for (const [index, part] of parts.entries()) {
    const level = parseLevel(part, String(positional))
    if (typeof level === 'string') return `level ${index + 1}: ${level}`
    if (level.kind === 'rest' && index < parts.length - 1)
      return `level ${index + 1}: "${part}" may only stand at the end`
    if (level.kind !== 'literal') {
      if (names.has(level.name)) return `parameter "${level.name}" is named twice`
      names.add(level.name)
      if (part === '+' || part === '#') positional += 1
    }
    levels.push(level)
  }
  return { text, levels, filter: levels.map(filterLevel).join('/'), params: [...names] }
}

function parseLevel(part: string, position: string): PatternLevel | string {
  if (part === '+') return { kind: 'plus', name: position }
  if (part === '#') return { kind: 'rest', name: position }
  if (part.startsWith('{') && part.endsWith('}')) return parseParam(part)
  if (/[{}]/.test(part)) return `"${part}" mixes a parameter with text; a parameter takes a whole level`
  if (/[+#]/.test(part)) return `"${part}" has a wildcard inside a level`
  return { kind: 'literal', text: part }
}

function parseParam(part: string): PatternLevel | string {
  const inner = part.slice(1, -1)
  const rest = inner.endsWith('*')
  const [name, ...more] = (rest ? inner.slice(0, -1) : inner).split(':')
  if (name === undefined || !NAME.test(name) || name === '__proto__') {
    return `"${part}" needs a name of letters, digits and _ that does not begin with a digit`
  }
  if (rest) return more.length === 0 ? { kind: 'rest', name } : `"${part}": the rest of a topic has no type`
  if (more.length === 0) return { kind: 'param', name, constraint: undefined }
  const constraint = parseConstraint(more.join(':'))
  return typeof constraint === 'string' ? constraint : { kind: 'param', name, constraint }
}

function filterLevel(level: PatternLevel): string {
  if (level.kind === 'literal') return level.text
  return level.kind === 'rest' ? '#' : '+'
}
