import { setTimeout as pause } from 'node:timers/promises'

/** Looks until `holds`, ever less often; a hang guard ends it and says what did not happen. */
export async function until(
  holds: () => unknown,
  what: string | (() => string) = String(holds),
  limitMs = 60_000,
): Promise<void> {
  const startedAt = performance.now()
  while (!(await holds())) {
    const waitedMs = performance.now() - startedAt
    if (waitedMs > limitMs) throw new Error(`not within ${limitMs} ms: ${typeof what === 'string' ? what : what()}`)
    await pause(Math.min(50, 2 + waitedMs / 20))
  }
}
