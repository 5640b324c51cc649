import { z } from 'zod'

/** A whole number in a query string: `10`, never `1e1`, `0x0a` or nothing at all. */
export function queryInteger(min: number, max: number) {
  return z.preprocess(
    (value) => (typeof value === 'string' && /^[+-]?\d+$/.test(value) ? Number(value) : value),
    z.number().int().min(min).max(max),
  )
}

/** A decimal number in a query string. */
export function queryNumber() {
  return z.preprocess(
    (value) => (typeof value === 'string' && /^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(value) ? Number(value) : value),
    z.number(),
  )
}

/** `true` or `false` in a query string. */
export function queryBoolean() {
  return z.preprocess((value) => (value === 'true' ? true : value === 'false' ? false : value), z.boolean())
}

/** An ISO 8601 time with its zone. */
export const queryTime = z.iso.datetime({
  offset: true,
  error: ({ input }) =>
    typeof input === 'string' && WITHOUT_ZONE.test(input)
      ? 'has no zone: end it with Z, or such as +01:00 (%2B01:00 in a URL)'
      : undefined,
})

/** Also one whose `+` became a space on its way. */
const WITHOUT_ZONE = /^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?( \d\d:?\d\d)?)?$/
