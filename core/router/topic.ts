import { RouteMQError } from '../support/errors.js'
import { converter } from './constraints.js'
import type { ParamValue } from './context.js'
import { escapeLevel } from './levels.js'
import { type PatternLevel, parsePattern } from './pattern.js'

/** MQTT 5.0, 4.7.3. */
const MAX_BYTES = 65_535

/**
 * The topic that a pattern describes with these parameters. A value may not be empty and must fit the constraint of its
 * parameter; `/`, `+` and `#` inside a level are escaped, and matching gives the value back. The rest of a topic
 * (`{rest*}`) may hold several levels.
 */
export function buildTopic(patternText: string, params: Readonly<Record<string, ParamValue | undefined>>): string {
  const pattern = parsePattern(patternText)
  if (typeof pattern === 'string') throw new RouteMQError('ROUTE_PATTERN_INVALID', `"${patternText}": ${pattern}`)
  const unknown = Object.keys(params).filter((name) => !pattern.params.includes(name))
  if (unknown.length > 0) refuse(patternText, `it has no parameter ${unknown.map((name) => `"${name}"`).join(', ')}`)
  const levels = pattern.levels.flatMap((level, index) => levelText(patternText, level, index, params))
  const topic = levels.join('/')
  if (Buffer.byteLength(topic) > MAX_BYTES) refuse(patternText, `the topic would be longer than ${MAX_BYTES} bytes`)
  return topic
}

function levelText(
  pattern: string,
  level: PatternLevel,
  index: number,
  params: Readonly<Record<string, ParamValue | undefined>>,
): string | string[] {
  if (level.kind === 'literal') return level.text
  const value = Object.hasOwn(params, level.name) ? params[level.name] : undefined
  if (value === undefined) return refuse(pattern, `the parameter "${level.name}" is missing`)
  const text = String(value)
  if (text.includes('\0')) refuse(pattern, `the parameter "${level.name}" contains a NUL character`)
  if (index === 0 && text.startsWith('$')) refuse(pattern, `"${text}" would lead into the broker's own $ topics`)
  // `a/#` matches `a` too (MQTT 5.0, 4.7.1.2): an empty rest is the parent itself.
  if (level.kind === 'rest') return text === '' && index > 0 ? [] : text.split('/').map(escapeLevel)
  if (text === '') refuse(pattern, `the parameter "${level.name}" is empty`)
  if (level.kind === 'param' && level.constraint !== undefined && converter(level.constraint)(text) === undefined) {
    refuse(pattern, `"${text}" does not fit the parameter "${level.name}"`)
  }
  return escapeLevel(text)
}

function refuse(pattern: string, reason: string): never {
  throw new RouteMQError('TOPIC_INVALID', `no topic for "${pattern}": ${reason}`)
}
