import { nearest } from '../config/nearest.js'
import type { ParamValue } from './context.js'

/** Converts the text of a level, or says undefined where it does not fit. */
export type Convert = (level: string) => ParamValue | undefined

const MINUS = 45
const ZERO = 48
const NINE = 57
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
const matching =
  (shape: RegExp): Convert =>
  (level) =>
    shape.test(level) ? level : undefined

/** The types a parameter may have. What converts to numbers accepts plain decimal notation only. */
export const PARAM_TYPES = {
  int: toInt,
  number: toNumber,
  bool: (level) => (level === 'true' ? true : level === 'false' ? false : undefined),
  uuid: matching(uuid),
  slug: matching(/^[a-z0-9]+(?:-[a-z0-9]+)*$/),
  alpha: matching(/^[A-Za-z]+$/),
  alnum: matching(/^[A-Za-z0-9]+$/),
  hex: matching(/^[0-9A-Fa-f]+$/),
} as const satisfies Record<string, Convert>

export type ParamType = keyof typeof PARAM_TYPES

/** What `{name:…}` says after the colon: types tried in order, or a list of literal values. */
export type Constraint =
  | { readonly kind: 'types'; readonly types: readonly ParamType[] }
  | { readonly kind: 'values'; readonly values: readonly string[] }

/** Reads the text after the colon. Returns a sentence where it makes no sense. */
export function parseConstraint(text: string): Constraint | string {
  const parts = text.split('|')
  if (parts.some((part) => part === '')) return `"${text}" has an empty alternative`
  if (new Set(parts).size < parts.length) return `"${text}" names an alternative twice`
  const types = parts.filter(isParamType)
  if (types.length === parts.length) return { kind: 'types', types }
  if (types.length > 0) return `"${text}" mixes types (${types.join(', ')}) with literal values`
  if (parts.length > 1) return { kind: 'values', values: parts }
  const meant = nearest(text, Object.keys(PARAM_TYPES))
  const hint = meant === undefined ? `known are ${Object.keys(PARAM_TYPES).join(', ')}` : `did you mean ${meant}?`
  return `"${text}" is no parameter type; ${hint}`
}

/** One text for equal constraints, so that routes share a branch of the trie. */
export function constraintKey(constraint: Constraint): string {
  return constraint.kind === 'types' ? constraint.types.join('|') : [...constraint.values].sort().join('|')
}

export function converter(constraint: Constraint): Convert {
  if (constraint.kind === 'values') {
    const values = new Set(constraint.values)
    return (level) => (values.has(level) ? level : undefined)
  }
  const converts = constraint.types.map((type): Convert => PARAM_TYPES[type])
  if (converts.length === 1) return converts[0]!
  return (level) => {
    for (const convert of converts) {
      const value = convert(level)
      if (value !== undefined) return value
    }
    return undefined
  }
}

function isParamType(text: string): text is ParamType {
  return Object.hasOwn(PARAM_TYPES, text)
}

/** `-?` and 1 to 16 digits. By hand: the regular expression took as long as the rest of a match. */
function isDecimal(level: string): boolean {
  const first = level.charCodeAt(0) === MINUS ? 1 : 0
  const digits = level.length - first
  if (digits < 1 || digits > 16) return false
  for (let at = first; at < level.length; at += 1) {
    const code = level.charCodeAt(at)
    if (code < ZERO || code > NINE) return false
  }
  return true
}

function toInt(level: string): number | undefined {
  if (!isDecimal(level)) return undefined
  const value = Number(level)
  // `-0` and `0` are one address; beyond 2^53 two levels could become one number.
  return Number.isSafeInteger(value) ? value + 0 : undefined
}

function toNumber(level: string): number | undefined {
  if (!/^-?\d+(?:\.\d+)?(?:[eE]-?\d+)?$/.test(level)) return undefined
  const value = Number(level)
  return Number.isFinite(value) ? value + 0 : undefined
}
