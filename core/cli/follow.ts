import { sleep } from '../support/clock.js'
import { RouteMQError, toErrorShape } from '../support/errors.js'
import type { CliContext } from './context.js'
import { EXIT, exitCodeOf } from './exit-codes.js'

export interface FollowOptions {
  /** What is followed, for the line that says it does not answer. */
  readonly device: string
  /** Milliseconds between two reads. */
  readonly interval: number
  /** Ends after so many reads; Infinity goes on until it is stopped. */
  readonly count: number
  readonly json: boolean
}

/** One read: for programs, and as a person sees it. */
export interface Look {
  readonly facts: object
  readonly screen: string
}

/** Cursor home, and clear what is below: the table is drawn over itself. */
const HOME = '\x1b[H\x1b[J'

/**
 * Reads again and again: a screen that is drawn over itself, or a line of JSON each time off a terminal.
 *
 * @returns the exit code: that of the last failure where no read succeeded
 */
export async function follow(
  { out, terminal, signal }: CliContext,
  { device, interval, count, json }: FollowOptions,
  look: (time: string) => Promise<Look>,
): Promise<number> {
  const show = terminal && !json
  let code: number | undefined
  for (let read = 0; read < count && !signal.aborted; read += 1) {
    if (read > 0) await sleep(interval, signal).catch(() => {})
    if (signal.aborted) break
    try {
      const { facts, screen } = await look(new Date().toISOString())
      out(show ? `${HOME}${screen}` : JSON.stringify(facts))
      code = EXIT.ok
    } catch (error) {
      // A device that is silent for a while is what one watches for; a mistake of the caller ends it.
      if (signal.aborted) break
      if (!(error instanceof RouteMQError) || !error.facts.retry) throw error
      const { code: name, message } = toErrorShape(error)
      const line = { device_id: device, error: { code: name, message } }
      out(show ? `${HOME}${device}  ${name}: ${message}` : JSON.stringify(line))
      if (code !== EXIT.ok) code = exitCodeOf(error.code)
    }
  }
  return code ?? EXIT.ok
}
