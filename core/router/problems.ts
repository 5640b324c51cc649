import type { ErrorCode } from '../support/error-codes.js'
import { RouteMQError } from '../support/errors.js'

/** One mistake in the router files. */
export interface RouteProblem {
  readonly code: ErrorCode
  /** Router file, and the other one where two disagree. */
  readonly files: readonly string[]
  /** Pattern or name of the route. */
  readonly route: string
  readonly message: string
}

/** Throws everything that was found at once; nothing found, nothing thrown. */
export function throwProblems(problems: readonly RouteProblem[]): void {
  const first = problems[0]
  if (first === undefined) return
  const lines = problems.map(({ files, route, message }) => `${files.join(' and ')}: ${route}: ${message}`)
  const text = lines.length === 1 ? lines[0]! : `${lines.length} mistakes in the routes:\n  ${lines.join('\n  ')}`
  // One kind of mistake keeps its own code; a mixture is about the router files as such.
  const code = problems.every((problem) => problem.code === first.code) ? first.code : 'ROUTER_INVALID'
  throw new RouteMQError(code, text, { details: { problems } })
}
