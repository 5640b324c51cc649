import type { z } from 'zod'
import { problemSchema } from '../problem.js'

const PROBLEM_WORDS: Readonly<Record<number, string>> = {
  400: 'Malformed',
  401: 'No or a wrong credential',
  403: 'Not allowed',
  404: 'Unknown',
  408: 'Too slow',
  409: 'In conflict with what is there',
  410: 'Expired',
  413: 'Too large',
  415: 'Not JSON',
  422: 'Bad input, each field named',
  429: 'Too many requests',
  500: 'A defect',
  502: 'The device refused or answered nonsense',
  503: 'Not now; see Retry-After',
  504: 'No answer in time',
}

/** What any call may be refused with: its body, credentials, limits, shutting down, a defect. */
const ALWAYS = [400, 401, 403, 408, 413, 415, 422, 429, 500, 503] as const

/**
 * The answers of a route for its schema: those that succeed, and the problem documents it may send. Handlers are not
 * typed by it: what is sent is checked against it in the tests, where the sidecar runs with `checkAnswers`.
 */
export function answers(success: Readonly<Record<number, unknown>>, problems: readonly number[] = []) {
  const refused = [...new Set([...ALWAYS, ...problems])].sort((a, b) => a - b)
  return {
    ...Object.fromEntries(
      refused.map((status) => [
        status,
        {
          description: PROBLEM_WORDS[status] ?? 'Refused',
          content: { 'application/problem+json': { schema: problemSchema } },
        },
      ]),
    ),
    ...success,
  } as Record<number, z.ZodType<unknown>>
}
