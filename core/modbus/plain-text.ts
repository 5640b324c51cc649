import { z } from 'zod'

/** False for half of a surrogate pair: neither a database nor a topic can carry one, both would make another text of it. */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text)
}

/** A text from outside that may become part of a statement: no database takes a NUL in one. */
export function plainText(min: number, max: number) {
  return z
    .string()
    .min(min)
    .max(max)
    .refine((text) => !text.includes('\u0000'), 'must not contain NUL')
    .refine(isWellFormed, 'must be whole characters')
}
