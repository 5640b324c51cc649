import { parseDuration } from '../support/duration.js'

/** How the text of a setting becomes a value. */
export interface Kind<T> {
  /** What would be right, for the list of mistakes: `an integer from 1 to 65535`. */
  readonly want: string
  /** The value, or undefined where the text is none. Never called with an empty text. */
  parse(text: string): T | undefined
}

export const text = (want = 'a text'): Kind<string> => ({ want, parse: (value) => value })

export const matching = (pattern: RegExp, want: string): Kind<string> => ({
  want,
  parse: (value) => (pattern.test(value) ? value : undefined),
})

/** An address of the web. */
export const url = (want: string): Kind<string> => ({
  want,
  parse: (value) => (/^https?:\/\/[^\s/]+\S*$/.test(value) && URL.canParse(value) ? value : undefined),
})

export const integer = (min: number, max: number): Kind<number> => ({
  want: max === Number.MAX_SAFE_INTEGER ? `an integer of at least ${min}` : `an integer from ${min} to ${max}`,
  parse(value) {
    const number = /^[+-]?\d+$/.test(value) ? Number(value) : Number.NaN
    return number >= min && number <= max ? number : undefined
  },
})

/** 0 lets the system choose a free port. */
export const port = (): Kind<number> => integer(0, 65_535)

/** A number of seconds, with a fraction where wanted, kept in milliseconds. */
export const seconds = (min: number, max: number): Kind<number> => ({
  want: `seconds from ${min} to ${max}`,
  parse(value) {
    const number = /^\d+(\.\d+)?$/.test(value) ? Number(value) : Number.NaN
    return number >= min && number <= max ? Math.round(number * 1_000) : undefined
  },
})

/** `500ms`, `30s`, `5m`, or a plain number of milliseconds; kept in milliseconds. */
export const duration = (minMs: number, maxMs: number): Kind<number> => ({
  want: `a duration such as 500ms, 2s or 5m, from ${minMs} ms to ${maxMs} ms`,
  parse(value) {
    const ms = /^\d+$/.test(value) ? Number(value) : parseDuration(value)
    return ms !== undefined && ms >= minMs && ms <= maxMs ? ms : undefined
  },
})

const BYTE_UNITS: Readonly<Record<string, number>> = { '': 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }

/** `1048576`, `512KiB`, `8MiB`, `1GB`; units are powers of 1024 either way. */
export const bytes = (min: number, max: number): Kind<number> => ({
  want: `a size such as 65536, 512KiB or 8MiB, from ${min} to ${max} bytes`,
  parse(value) {
    const found = /^(\d+)\s*(?:b|([kmg])(?:i?b)?)?$/i.exec(value)
    if (found === null) return undefined
    const size = Number(found[1]) * BYTE_UNITS[(found[2] ?? '').toLowerCase()]!
    return size >= min && size <= max ? size : undefined
  },
})

const YES = new Set(['true', '1', 'yes', 'on'])
const NO = new Set(['false', '0', 'no', 'off'])

export const flag = (): Kind<boolean> => ({
  want: 'true or false',
  parse(value) {
    const word = value.toLowerCase()
    if (YES.has(word)) return true
    return NO.has(word) ? false : undefined
  },
})

/** Texts separated by commas; spaces around them do not count. */
export const list = (item: (value: string) => boolean = () => true, want = 'texts separated by commas') =>
  ({
    want,
    parse(value) {
      const items = value
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== '')
      return items.every(item) ? items : undefined
    },
  }) satisfies Kind<readonly string[]>

/** One of some words, any case; `words` maps what may be written to what it means. */
export const choice = <T extends string | number>(words: Readonly<Record<string, T>>, want?: string): Kind<T> => ({
  want: want ?? `one of ${Object.keys(words).join(', ')}`,
  parse: (value) => (Object.hasOwn(words, value.toLowerCase()) ? words[value.toLowerCase()] : undefined),
})

/** `100/10s`, `6000/1m`, or `off`. */
export const rate = (): Kind<{ readonly max: number; readonly windowMs: number } | 'off'> => ({
  want: 'a number and a time such as 100/10s or 6000/1m, or off',
  parse(value) {
    if (value.toLowerCase() === 'off') return 'off'
    const found = /^(\d{1,9})\s*\/\s*(\S+)$/.exec(value)
    if (found === null) return undefined
    const max = Number(found[1])
    const windowMs = parseDuration(found[2]!)
    return max > 0 && windowMs !== undefined && windowMs > 0 && windowMs <= 86_400_000 ? { max, windowMs } : undefined
  },
})

/** Whether a text is an origin as browsers send it: scheme, host and port, and nothing after them. */
export function isOrigin(value: string): boolean {
  return URL.canParse(value) && new URL(value).origin === value
}
