import { z } from 'zod'

/** A text from outside that may become part of a statement: no database takes a NUL in one. */
export function plainText(min: number, max: number) {
  return z
    .string()
    .min(min)
    .max(max)
    .refine((text) => !text.includes('\u0000'), 'must not contain NUL')
}
