import { setMaxListeners } from 'node:events'

/** Many requests of one caller may listen to its signal: Node.js would report a leak from the eleventh on. */
export function expectManyListeners(signal: AbortSignal | undefined): void {
  if (signal !== undefined) setMaxListeners(0, signal)
}
