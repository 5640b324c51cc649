import { RouteMQError, toErrorShape } from '../support/errors.js'
import type { CliContext } from './context.js'
import { EXIT, exitCodeOf } from './exit-codes.js'

/** Says what went wrong on stderr, as one readable message or as JSON, and gives the exit code. */
export function reportError(error: unknown, context: Pick<CliContext, 'err'>, json: boolean): number {
  if (json) {
    context.err(JSON.stringify({ error: toErrorShape(error) }))
  } else if (error instanceof RouteMQError) {
    context.err(`routemq: ${error.code}: ${error.message}${because(error)}`)
    context.err(error.facts.advice)
  } else {
    // Not one of ours: a defect, or the system. The stack is what a report of it needs.
    context.err(`routemq: INTERNAL: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
  }
  return error instanceof RouteMQError ? exitCodeOf(error.code) : EXIT.failure
}

/** The causes below an error, where they say something that its message does not. */
function because(error: RouteMQError): string {
  let said = error.message
  let text = ''
  for (let cause = error.cause; cause instanceof Error; cause = cause.cause) {
    const first = cause.message.split('\n')[0] ?? ''
    if (first !== '' && !said.includes(first)) text += `\n  because: ${first}`
    said += cause.message
  }
  return text
}
